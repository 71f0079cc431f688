"""Tables about libraries: what they hold, what is broken in them, what a foreign file was understood to be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lever_ray.composition.coverage import library_coverage
from lever_ray.embedding.offline import support_bits
from lever_ray.library.checking import Damage
from lever_ray.library.manifest import EMBEDDING_MODEL
from lever_ray.library.ports.understanding import Understanding
from lever_ray.library.reader import Match
from lever_ray.library.record import PolicyRecord
from lever_ray.library.store import PolicyLibrary
from lever_ray.library.stored import GroupKey

SHOWN = 20
"""Rows of a table beyond which it says how many more there are."""


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def _add(table: Table, *cells: str, style: str | None = None) -> None:
    """A row of plain text: what files say is never taken for markup."""
    table.add_row(*map(escape, cells), style=style)


def understanding_table(understood: Understanding) -> Table:
    """What every field was taken from, what was converted, what is ignored and what is not there."""
    table = _table(escape(f"{understood.source}: {understood.policies} policies"), "field", "taken from", "as", "")
    for each in understood.taken:
        _add(table, each.field, each.column or f"({each.kind})", each.kind if each.column else "", each.told)
    for name, why in understood.ignored:
        _add(table, "ignored", name, "", why, style="dim")
    for note in understood.notes:
        _add(table, "note", "", "", note, style="dim")
    for missing in understood.missing:
        _add(table, "missing", "", "", missing, style="red")
    return table


def library_table(library: PolicyLibrary, *, rows: int = SHOWN) -> Table:
    """What a library holds per environment: groups, members and coverage."""
    table = _table(
        "Policy library",
        *("environment", "cells", "gamma", "episodes", "objectives", "policies", "coverage"),
        right=("cells", "gamma", "episodes", "policies", "coverage"),
    )
    held: dict[str, dict[GroupKey, int]] = {}
    for key, count in library.census().items():
        held.setdefault(key.environment, {})[key] = count
    for name in library.environments[:rows]:
        _add(table, *_environment_cells(library, name, held.get(name, {})))
    more = len(library.environments) - rows
    if more > 0:
        table.caption, table.caption_justify = f"and {more} more environments; --rows lists more", "left"
    return table


def _environment_cells(library: PolicyLibrary, name: str, groups: dict[GroupKey, int]) -> list[str]:
    record = library.environment(name)
    coverage = library_coverage(record.layout, support_bits(record.successors >= 0))
    known = bool((record.successors >= 0).any())
    objectives = sorted({key.objective for key in groups}, key=lambda each: (each.count("-"), each))
    return [
        name,
        str(record.layout.states),
        ", ".join(f"{gamma:g}" for gamma in sorted({key.gamma for key in groups})),
        ", ".join(map(str, sorted({key.episodes for key in groups}))),
        _listed([each or "(described in words)" for each in objectives]),
        str(sum(groups.values())),
        f"{coverage:.1%}" if known else "unknown",
    ]


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def library_lines(library: PolicyLibrary) -> Iterator[str]:
    """Size, models and shards of a library, a line each."""
    manifest = library.manifest
    yield f"{len(library)} policies, {library.bytes / 1e6:.1f} MB, {library.path}"
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
    about = f", {sizes[0] / 1e6:.1f} to {sizes[-1] / 1e6:.1f} MB" if sizes else ""
    yield f"Shards: {len(sizes)}{about}; generation {manifest.generation}"


def _embed_hint(missing: bool, ours: bool) -> str:
    if not ours:
        return ", of another version; `lever-ray library embed` makes them anew"
    return "; `lever-ray library embed` makes the others" if missing else ""


def damage_table(damages: Sequence[Damage]) -> Table:
    """What is broken, and how many policies go with it."""
    table = _table("Broken", "kind", "shard", "policies lost", "what", right=("policies lost",))
    for damage in damages[:SHOWN]:
        _add(table, damage.kind, damage.shard, str(damage.policies), damage.what)
    if len(damages) > SHOWN:
        table.caption = f"and {len(damages) - SHOWN} more"
    return table


def matches_table(matches: Sequence[Match], records: Sequence[PolicyRecord]) -> Table:
    """Policies that a search found."""
    columns = ("id", "similarity", "environment", "objective", "gamma", "description", "return")
    table = _table("", *columns, right=("similarity", "gamma", "return"))
    for match, record in zip(matches, records, strict=True):
        objective = record.objective.id if record.objective else ""
        total = "" if record.total != record.total else f"{record.total:.1f}"
        _add(
            table,
            match.id,
            f"{match.similarity:.3f}",
            record.environment,
            objective,
            f"{record.gamma:g}",
            record.description,
            total,
        )
    return table
