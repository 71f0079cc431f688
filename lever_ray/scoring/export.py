"""Exporting a benchmark: public files for everybody, private answers for its keeper alone."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import LibraryError, SettingsError
from lever_ray.executor import Executor, gathered
from lever_ray.library.record import PolicyRecord
from lever_ray.scoring.card import data_card
from lever_ray.scoring.question import events_of
from lever_ray.scoring.settings import OPERATORS, TIERS, BenchmarkSettings
from lever_ray.scoring.tables import ABOUT, FORMAT, KEEPER, from_rows, table_of, write_checksums, write_file
from lever_ray.scoring.worlds import Asked, Draw, World, every_candidate, measure_world
from lever_ray.watching import Watch


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        folder: of the public files.
        answers: of the private split's answers; None where there is no such split.
        worlds, policies, questions, candidates: how many.
        bytes: of the public files.
    """

    folder: Path
    answers: Path | None
    worlds: int
    policies: int
    questions: int
    candidates: int
    bytes: int


def export_benchmark(
    folder: Path,
    settings: BenchmarkSettings,
    *,
    executor: Executor,
    answers: Path | None = None,
    watch: Watch | None = None,
) -> Exported:
    """Train the libraries, measure every candidate, and write the benchmark.

    Equal settings and an equal secret give equal bytes. The secret decides which private layouts are drawn; it lies in
    ``keeper.json`` of ``answers``, where one that is there already is used again.

    Args:
        folder: for the public files; it must not exist, or be empty.
        settings: what is trained and asked.
        executor: where environments are trained and measured.
        answers: folder for what the keeper of the private split alone may have; without it there is no such split.
        watch: told how many environments are done.

    Raises:
        SettingsError: a folder is there and holds something, or one lies within the other.
        LibraryError, StorageError: something cannot be written.
    """
    check_places(folder, answers)
    secret = None if answers is None or not settings.private else _secret_in(answers)
    drawn = draws(settings, secret)
    worlds = gathered(executor, measure_world, drawn, shared=(settings,), watch=watch, stage="environments")
    about = _about(settings, worlds)
    with ExitStack() as open_folders:
        place = open_folders.enter_context(_new_folder(folder, mode=0o755))
        if secret is not None and answers is not None:
            kept = open_folders.enter_context(_new_folder(answers, mode=0o700))
            about["private_answers_sha256"] = _write_kept(kept, worlds, secret)
        _write_public(place, worlds, about)
        write_checksums(place)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    counts = about["sizes"]
    kept_at = answers if secret is not None else None
    return Exported(folder, kept_at, len(worlds), counts["policies"], counts["questions"], counts["candidates"], size)


def draws(settings: BenchmarkSettings, secret: str | None) -> list[Draw]:
    """The environments: public ones by their seeds, private ones by seeds that follow from the secret."""
    seeds = range(settings.first_layout, settings.first_layout + settings.layouts)
    found = [Draw(f"{family}-{seed}", "public", family, seed) for family in settings.families for seed in seeds]
    if secret is not None:
        found += [
            Draw(f"{family}-p{place:02d}", "private", family, _secret_seed(secret, family, place))
            for family in settings.families
            for place in range(settings.private)
        ]
    return found


def _secret_seed(secret: str, family: str, place: int) -> int:
    digest = hashlib.sha256(f"{secret}/{family}/{place}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _secret_in(answers: Path) -> str:
    """The secret that a keeper has already, or a new one."""
    file = answers / KEEPER
    if not file.exists():
        return secrets.token_hex(16)
    try:
        secret = str(json.loads(file.read_text(encoding="utf-8"))["secret"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{file} holds no secret ({error}); remove it to draw new private layouts") from error
    if len(secret) < 16:
        raise LibraryError(f"{file} holds a secret of {len(secret)} letters; at least 16 cannot be guessed")
    return secret


def check_places(folder: Path, answers: Path | None) -> None:
    """Refuse folders to export to, before the work.

    Raises:
        SettingsError: one is there and holds something (but a keeper's secret), or one lies within the other.
    """
    places = [(folder, set[str]())] + ([] if answers is None else [(answers, {KEEPER})])
    for place, allowed in places:
        if place.exists() and (not place.is_dir() or {each.name for each in place.iterdir()} - allowed):
            raise SettingsError(f"{place} is there and not empty; choose a new folder: exports are never mixed")
    if answers is not None:
        public, kept = folder.resolve(), answers.resolve()
        if public == kept or public in kept.parents or kept in public.parents:
            raise SettingsError(f"answers go to {answers}, and what is published to {folder}; keep them apart")


@contextmanager
def _new_folder(folder: Path, *, mode: int) -> Iterator[Path]:
    """A folder that appears once everything is in it."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise LibraryError(f"{folder} cannot be made ({error.strerror}); choose another place") from error
    try:
        yield made
        made.chmod(mode)
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _about(settings: BenchmarkSettings, worlds: Sequence[World]) -> dict[str, Any]:
    private = any(world.draw.split == "private" for world in worlds)
    given = asdict(settings) | ({} if private else {"private": 0})
    asked = [each for world in worlds for each in world.questions]
    sizes = {
        "environments": {split: sum(world.draw.split == split for world in worlds) for split in ("public", "private")},
        "policies": sum(len(world.records) for world in worlds),
        "questions": len(asked),
        "candidates": sum(len(each.returns[OPERATORS[0]]) for each in asked),
    }
    return {
        "format": FORMAT,
        "made_by": f"lever-ray {version('lever-ray')}",
        "command": command_of(settings, private=private),
        "settings": given,
        "sizes": sizes,
        "tiers": {
            tier: [f"{each}/" for each in TIERS[: place + 1] if each != "I4"] for place, tier in enumerate(TIERS)
        },
        "private_answers_sha256": None,
    }


def command_of(settings: BenchmarkSettings, *, private: bool) -> str:
    """The command that makes the same benchmark (of the private split only with the keeper's secret)."""
    usual = asdict(BenchmarkSettings())
    said = {name: value for name, value in asdict(settings).items() if value != usual[name]}
    if not private:
        said.pop("private", None)
    words = [f"{name}={_as_setting(value)}" for name, value in said.items()]
    return " ".join(["lever-ray benchmark export --to FOLDER", *(["--answers KEPT"] if private else []), *words])


def _as_setting(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_as_setting, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _write_kept(kept: Path, worlds: Sequence[World], secret: str) -> str:
    """Write what the keeper alone may have; its digest, which stands in the public files.

    The secret is among what is digested, so that no guess of the answers can be checked against it.
    """
    write_file(kept / KEEPER, _json({"format": FORMAT, "secret": secret}))
    held_out = [world for world in worlds if world.draw.split == "private"]
    _write_answers(kept, held_out, worlds_file=kept / "worlds.parquet")
    return write_checksums(kept)


def _write_public(place: Path, worlds: Sequence[World], about: dict[str, Any]) -> None:
    records = [record for world in worlds for record in world.records]
    public = [world for world in worlds if world.draw.split == "public"]
    tables = {
        "I0/environments": from_rows("I0/environments", [_environment(world) for world in worlds]),
        "I0/questions": from_rows("I0/questions", [row for world in worlds for row in _questions(world)]),
        "I0/candidates": _candidates(worlds),
        "I0/policies": _policies(records),
        "I1/transitions": _arrays("I1/transitions", "successors", records),
        "I1/starts": from_rows("I1/starts", [_starts(world) for world in worlds]),
        "I1/events": from_rows("I1/events", [_events(world) for world in public]),
        "I2/rewards": _arrays("I2/rewards", "mean_rewards", records),
    }
    for name, table in tables.items():
        write_file(place / f"{name}.parquet", table)
    _write_answers(place / "answers", public, worlds_file=place / "I3" / "worlds.parquet")
    write_file(place / ABOUT, _json(about))
    write_file(place / "README.md", data_card(about))


def _write_answers(place: Path, worlds: Sequence[World], *, worlds_file: Path) -> None:
    """What candidates of some environments earn, and the environments themselves."""
    asked = [each for world in worlds for each in world.questions]
    write_file(worlds_file, from_rows("worlds", [_document(world) for world in worlds]))
    write_file(place / "returns.parquet", _returns(asked))
    rows = [{"question": each.name, **each.yardsticks} for each in asked]
    write_file(place / "yardsticks.parquet", from_rows("yardsticks", rows))


def _environment(world: World) -> dict[str, Any]:
    draw, task = world.draw, world.task
    sizes = {"observations": task.observations, "actions": task.actions, "horizon": task.horizon}
    return {"environment": draw.name, "split": draw.split, "family": draw.family, **sizes}


def _questions(world: World) -> list[dict[str, Any]]:
    return [
        {
            "question": each.name,
            "environment": world.draw.name,
            "gamma": each.gamma,
            "mode": each.setup.mode,
            "objective": each.setup.objective,
            "groups": list(each.setup.groups),
            "pool": list(each.setup.pool),
            "candidates": len(each.returns[OPERATORS[0]]),
        }
        for each in world.questions
    ]


def _starts(world: World) -> dict[str, Any]:
    return {"environment": world.draw.name, "starts": world.task.dynamics.starts.tolist()}


def _events(world: World) -> dict[str, Any]:
    return {"environment": world.draw.name, "events": events_of(world.task)}


def _document(world: World) -> dict[str, Any]:
    document = json.dumps(world.task.encode(), sort_keys=True)
    return {"environment": world.draw.name, "seed": world.draw.seed, "document": document}


def _candidates(worlds: Sequence[World]) -> pa.Table:
    names, tuples = [], []
    for world in worlds:
        for each in world.questions:
            sizes = [sum(_is_in(record, name, each.gamma) for record in world.records) for name in each.setup.groups]
            names.append(each.name)
            tuples.append(every_candidate(sizes))
    flat = np.concatenate([each.astype(np.int16).ravel() for each in tuples])
    ends = np.cumsum(np.concatenate([[0], *(np.full(len(each), each.shape[1]) for each in tuples)]))
    columns = _numbered(names, [len(each) for each in tuples])
    columns["members"] = pa.ListArray.from_arrays(ends.astype(np.int32), flat)
    return table_of("I0/candidates", columns)


def _numbered(questions: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    """Columns ``question`` and ``candidate`` of so many candidates for each question."""
    places = pa.array(np.repeat(np.arange(len(counts), dtype=np.int32), counts))
    return {
        "question": pa.DictionaryArray.from_arrays(places, pa.array(questions, pa.string())),
        "candidate": np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
    }


def _is_in(record: PolicyRecord, objective: str, gamma: float) -> bool:
    return record.objective is not None and record.objective.id == objective and record.gamma == gamma


def _policies(records: Sequence[PolicyRecord]) -> pa.Table:
    plain = ("environment", "gamma", "seed", "label", "episodes", "snapshot", "total", "description")
    columns: dict[str, Any] = {name: [getattr(record, name) for record in records] for name in plain}
    columns["policy"] = np.arange(len(records), dtype=np.int32)
    columns["objective"] = [record.objective.id if record.objective else "" for record in records]
    columns |= {name: [getattr(record, name).ravel() for record in records] for name in ("q", "support")}
    return table_of("I0/policies", columns)


def _arrays(kind: str, name: str, records: Sequence[PolicyRecord]) -> pa.Table:
    numbers = np.arange(len(records), dtype=np.int32)
    return table_of(kind, {"policy": numbers, name: [getattr(record, name).ravel() for record in records]})


def _returns(asked: Sequence[Asked]) -> pa.Table:
    counts = [len(each.returns[OPERATORS[0]]) for each in asked]
    columns = _numbered([each.name for each in asked], counts)
    columns |= {name: np.concatenate([each.returns[name] for each in asked]) for name in OPERATORS}
    return table_of("returns", columns)
