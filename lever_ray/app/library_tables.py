"""Tables about libraries: what they hold, what is broken in them, what a foreign file was understood to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from lever_ray.composition.coverage import library_coverage
from lever_ray.console import Explained, FirstFit, Folding, add_numbers, add_words, listed, plain_table
from lever_ray.experiment.statistics import significant
from lever_ray.glossary import LIBRARY
from lever_ray.library.format.manifest import EMBEDDING_MODEL
from lever_ray.library.format.sealed import ForeignFamily
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.understanding import Understanding
from lever_ray.library.reader import Match
from lever_ray.library.record import PolicyRecord
from lever_ray.library.repair.checking import Damage
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.support import support_bits

SHOWN = 20
"""Rows of a table beyond which it says how many more there are."""


def _table(title: str, *columns: str, right: Sequence[str] = (), whole: Sequence[str] = ()) -> Table:
    table = plain_table(title)
    for name in columns:
        if name in right:
            add_numbers(table, name)
        else:
            add_words(table, name, whole=name in whole)
    return table


def in_bytes(count: float) -> str:
    """A size, e.g. ``12 kB`` or ``3.4 MB``."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{significant(count / size)} {unit}"
    return counted_as(int(count), "byte")


def counted_as(count: int, what: str) -> str:
    """A number of things, e.g. ``1 shard``, ``2 shards`` or ``3 policies``."""
    if count == 1:
        return f"1 {what}"
    return f"{count:,} {what[:-1]}ies" if what.endswith("y") else f"{count:,} {what}s"


def _add(table: Table, *cells: str, style: str | None = None) -> None:
    """A row of plain text: what files say is never taken for markup."""
    table.add_row(*map(escape, cells), style=style)


def understanding_table(understood: Understanding) -> FirstFit:
    """What every field was taken from, what was converted, what is ignored and what is not there."""
    title = f"{understood.source}: {understood.policies} policies"
    table = _table(escape(title), "field", "taken from", "as", "")
    rows = [
        (each.field, each.column or f"({each.kind})", each.kind if each.column else "", each.told, "")
        for each in understood.taken
    ]
    rows += [("ignored", name, "", why, "dim") for name, why in understood.ignored]
    rows += [("note", "", "", note, "dim") for note in understood.notes]
    rows += [("missing", "", "", missing, "red") for missing in understood.missing]
    for *cells, style in rows:
        _add(table, *cells, style=style or None)
    told = [(name, [("from", taken), ("as", kind), ("", words)]) for name, taken, kind, words, _ in rows]
    return FirstFit(Folding(table, least=_ROOMY), listed(title, told))


_ROOMY = 72
"""Columns of a terminal from which on tables of words are no worse than lists."""


def library_table(library: PolicyLibrary, *, rows: int = SHOWN) -> Explained:
    """What a library holds per environment: groups, members and coverage; as wide as there is room for."""
    held: dict[str, dict[GroupKey, int]] = {}
    for key, count in library.census().items():
        held.setdefault(key.environment, {})[key] = count
    found = [_environment_cells(library, name, held.get(name, {})) for name in library.environments[:rows]]
    more = len(library.environments) - rows
    caption = f"and {more} more environments; --rows lists more" if more > 0 else ""
    wide, middle, narrow = (_held_table(found, columns, caption) for columns in _LIBRARY_COLUMNS)
    apart = Group(FirstFit(middle, narrow), *(Text(line) for line in _objectives_told(found)))
    return Explained(FirstFit(wide, apart), LIBRARY)


_LIBRARY_COLUMNS = (
    ("environment", "states", "gamma", "episodes", "objectives", "policies", "coverage"),
    ("environment", "states", "gamma", "episodes", "policies", "coverage"),
    ("environment", "gamma", "policies", "coverage"),
)


def _held_table(found: Sequence[Mapping[str, str]], columns: Sequence[str], caption: str) -> Table:
    """Words in the place of coverage break over lines where columns are left out."""
    right = ("states", "policies", "coverage") if "states" in columns else ("policies",)
    table = _table("Policy library", *columns, right=right)
    table.caption = caption or None
    for cells in found:
        _add(table, *(cells[name] for name in columns))
    return table


def _objectives_told(found: Sequence[Mapping[str, str]]) -> list[str]:
    """Objectives on lines of their own, once for all environments that have them."""
    having: dict[str, list[str]] = {}
    for cells in found:
        having.setdefault(cells["objectives"], []).append(cells["environment"])
    if len(having) == 1:
        return [f"objectives: {told}" for told in having]
    return [f"objectives of {_listed(names, 3)}: {told or 'none'}" for told, names in having.items()]


def _environment_cells(library: PolicyLibrary, name: str, groups: dict[GroupKey, int]) -> dict[str, str]:
    states, coverage = _size_and_coverage(library, name)
    objectives = sorted({key.objective for key in groups}, key=lambda each: (each.count("-"), each))
    return {
        "environment": name,
        "states": states,
        "gamma": ", ".join(f"{gamma:g}" for gamma in sorted({key.gamma for key in groups})),
        "episodes": ", ".join(map(str, sorted({key.episodes for key in groups}))),
        "objectives": _listed([each or "(described in words)" for each in objectives]),
        "policies": str(sum(groups.values())),
        "coverage": coverage,
    }


def _size_and_coverage(library: PolicyLibrary, name: str) -> tuple[str, str]:
    """How many observations an environment has, and how much of it was recorded."""
    try:
        record = library.environment(name)
    except ForeignFamily as error:
        return "unknown", f"family {error.family} is not installed"
    taken = record.successors >= 0
    coverage = f"{library_coverage(record.task, support_bits(taken)):.1%}" if taken.any() else "unknown"
    return str(record.task.observations), coverage


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def library_lines(library: PolicyLibrary) -> Iterator[str]:
    """Size, models and shards of a library, a line each."""
    manifest = library.manifest
    yield f"{len(library)} policies, {in_bytes(library.bytes)}, {library.path}"
    sources = ", ".join(f"{count} {source}" for source, count in sorted(library.support_sources().items()))
    yield f"Support from: {sources or 'nothing yet'}"
    text = manifest.text_model
    vectors = sum(shard.rows for shard in manifest.shards if shard.file("texts") is not None)
    yield "Text model: " + (f"{text['name']} {text['version']}, {vectors} policies" if text else "none yet")
    ours = manifest.embedding_model == EMBEDDING_MODEL
    psi = sum(shard.rows for shard in manifest.shards if shard.file("embeddings") is not None)
    model = manifest.embedding_model or {}
    yield f"Embedding: {model.get('name', 'none')} {model.get('version', '')}, {psi} policies" + _embed_hint(
        psi < len(library), ours
    )
    sizes = sorted(shard.bytes for shard in manifest.shards)
    yield f"Shards: {len(sizes)}{_range_of(sizes)}; generation {manifest.generation}"


def _range_of(sizes: Sequence[int]) -> str:
    if not sizes:
        return ""
    least, most = in_bytes(sizes[0]), in_bytes(sizes[-1])
    return f" of {least}" if least == most else f" of {least} to {most}"


def _embed_hint(missing: bool, ours: bool) -> str:
    if not ours:
        return ", of another version; `lever-ray library embed` makes them anew"
    return "; `lever-ray library embed` makes the others" if missing else ""


def damage_table(damages: Sequence[Damage]) -> FirstFit:
    """What is broken, and how many policies go with it."""
    table = _table("Broken", "kind", "shard", "policies lost", "what", right=("policies lost",))
    for damage in damages[:SHOWN]:
        _add(table, damage.kind, damage.shard, str(damage.policies), damage.what)
    more = f"and {len(damages) - SHOWN} more" if len(damages) > SHOWN else ""
    table.caption = more or None
    told = [
        (f"{each.kind} {each.shard}".strip(), [("policies lost", str(each.policies)), ("", each.what)])
        for each in damages[:SHOWN]
    ]
    return FirstFit(Folding(table, least=_ROOMY), listed("Broken", told, more))


def matches_table(matches: Sequence[Match], records: Sequence[PolicyRecord]) -> Explained:
    """Policies that a search found; as wide as there is room for."""
    numbers = ("similarity", "gamma", "return")
    columns = ("id", "similarity", "environment", "objective", "gamma", "description", "return")
    wide = _table("", *columns, right=numbers, whole=("id",))
    narrow = _table("", "id", *numbers, "environment, objective, description", right=numbers, whole=("id",))
    narrowest = []
    for match, record in zip(matches, records, strict=True):
        objective = record.objective.id if record.objective else ""
        total = "" if record.total != record.total else f"{record.total:.1f}"
        similarity, gamma = f"{match.similarity:.3f}", f"{record.gamma:g}"
        _add(wide, match.id, similarity, record.environment, objective, gamma, record.description, total)
        words = ", ".join(filter(None, (record.environment, objective, record.description)))
        _add(narrow, match.id, similarity, gamma, total, words)
        told = zip(numbers, (similarity, gamma, total), strict=True)
        narrowest.append((match.id, [*told, ("", words)]))
    return Explained(FirstFit(wide, Folding(narrow, least=76), listed("", narrowest)), LIBRARY)
