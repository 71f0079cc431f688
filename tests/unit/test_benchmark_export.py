"""The files of a benchmark: equal bytes, what was trained and measured, and no private answer among them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lever_ray.errors import InvalidValue, LeverError, LibraryError, SettingsError, UnknownName
from lever_ray.executor import SerialExecutor
from lever_ray.scoring import Benchmark, export_benchmark
from lever_ray.scoring.export import draws
from lever_ray.scoring.settings import BenchmarkSettings
from lever_ray.scoring.tables import ABOUT, CHECKSUMS, KEEPER, write_checksums
from lever_ray.scoring.worlds import World, measure_world
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.rollout import rollout
from tests.benchmark_files import SECRET, SETTINGS, contents, make_benchmark, numbers_of, tables_of

Folders = tuple[Path, Path]


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [measure_world(draw, SETTINGS) for draw in draws(SETTINGS, SECRET)]


@pytest.fixture
def own(made: Folders, tmp_path: Path) -> Folders:
    """A copy that a test may do with as it likes."""
    return shutil.copytree(made[0], tmp_path / "public"), shutil.copytree(made[1], tmp_path / "kept")


# What is exported.


def test_two_exports_are_equal_byte_for_byte(made: Folders, tmp_path: Path) -> None:
    again = make_benchmark(tmp_path)
    assert [contents(folder) for folder in again] == [contents(folder) for folder in made]


def test_another_secret_draws_other_private_layouts_and_the_same_public_ones(made: Folders, tmp_path: Path) -> None:
    folder, kept = make_benchmark(tmp_path, secret="f" * 32)
    before, after = (Benchmark(*each) for each in (made, (folder, kept)))
    assert [before.task(name) for name in before.environments_of("public")] == [
        after.task(name) for name in after.environments_of("public")
    ]
    assert before.task("grid8-p00") != after.task("grid8-p00")
    assert before.about["private_answers_sha256"] != after.about["private_answers_sha256"]


def test_files_hold_what_was_trained(made: Folders, worlds: list[World]) -> None:
    benchmark = Benchmark(*made)
    for world in worlds:
        assert benchmark.task(world.draw.name) == world.task
        for asked in world.questions:
            question = benchmark.question(asked.name, tier="I2")
            assert (question.gamma, question.mode, question.split) == (asked.gamma, asked.setup.mode, world.draw.split)
            assert tuple(group.objective for group in question.groups) == asked.setup.groups
            assert tuple(group.objective for group in question.pool) == asked.setup.pool
            for group in question.groups:
                records = [
                    each for each in world.records if (each.objective.id, each.gamma) == (group.objective, asked.gamma)
                ]
                for name in ("q", "support", "successors", "mean_rewards"):
                    np.testing.assert_array_equal(getattr(group, name), [getattr(each, name) for each in records])
                np.testing.assert_array_equal(group.totals, [each.total for each in records])


def test_answers_are_what_candidates_earn_in_the_environment(made: Folders) -> None:
    """Composed and played by hand, cell by cell."""
    benchmark = Benchmark(*made)
    for name in [*benchmark.questions("public"), *benchmark.questions("private")]:
        question, key = benchmark.question(name, tier="I3"), benchmark.key(name)
        for place, candidate in enumerate(question.candidates.tolist()):
            chosen = list(zip(question.groups, candidate, strict=True))
            tables = np.stack([group.q[member].astype(np.float64) for group, member in chosen])
            taken = np.any([group.successors[member] >= 0 for group, member in chosen], axis=0)
            allowed = taken | ~taken.any(axis=1, keepdims=True)
            for operator, combined in {"sum": tables.sum(axis=0), "max": tables.max(axis=0)}.items():
                table = np.where(allowed, combined.astype(np.float32), -np.inf)
                earned = rollout(question.task, objective=question.objective, q=table).total
                assert earned == pytest.approx(key.returns[operator][place], abs=1e-9)
        yard = key.yardsticks
        assert yard["optimum_exact"] and yard["random"] < yard["optimum"]
        assert max(*key.returns["sum"], yard["best_single"], yard["scratch"]) <= yard["optimum"] + 1e-9
        assert yard["scratch"] <= yard["scratch_best_snapshot"]


def test_candidates_are_the_whole_product_in_order(made: Folders) -> None:
    benchmark = Benchmark(made[0])
    for name in benchmark.questions("public"):
        question = benchmark.question(name)
        shape = [len(group) for group in question.groups]
        assert question.candidates.tolist() == [list(place) for place in np.ndindex(*shape)]


def test_the_card_names_every_file_and_the_command(made: Folders) -> None:
    card = (made[0] / "README.md").read_text()
    for name in contents(made[0]):
        assert name == "README.md" or f"`{name}`" in card
    about = json.loads((made[0] / ABOUT).read_text())
    assert about["private_answers_sha256"] in card and about["command"] in card
    assert "{" not in card


def test_a_benchmark_without_a_keeper_has_no_private_split(tmp_path: Path) -> None:
    settings = replace(SETTINGS, layouts=1)
    done = export_benchmark(tmp_path / "public", settings, executor=SerialExecutor())
    assert done.answers is None and done.worlds == 1
    benchmark = Benchmark(tmp_path / "public")
    with pytest.raises(InvalidValue, match="has no private split; it was exported without --answers"):
        benchmark.questions("private")


# The private split.

MAY_TELL = {
    "I0/environments.parquet": {"environment", "split", "family", "observations", "actions", "horizon"},
    "I0/questions.parquet": {
        "question", "environment", "gamma", "mode", "objective", "groups", "pool", "candidates",
    },
    "I0/candidates.parquet": {"question", "candidate", "members"},
    "I0/policies.parquet": {
        "policy", "environment", "objective", "gamma", "seed", "label", "episodes", "snapshot", "total", "description",
        "q", "support",
    },
    "I1/transitions.parquet": {"policy", "successors"},
    "I1/starts.parquet": {"environment", "starts"},
    "I2/rewards.parquet": {"policy", "mean_rewards"},
}  # fmt: skip
"""Files that private environments stand in, and all of their columns."""


def private_rows(table: pa.Table, policies: set[int]) -> pa.Table:
    """The rows of a table that are about a private environment."""
    for name in ("environment", "question"):
        if name in table.schema.names:
            return table.filter(pa.array(["-p" in str(each).split("/")[0] for each in table[name].to_pylist()]))
    return table.filter(pa.array([each in policies for each in table["policy"].to_pylist()]))


def leaks(folder: Path, kept: Path) -> list[str]:
    """What of the private answers the public files hold."""
    found, tables = [], tables_of(folder)
    held = tables["I0/policies.parquet"]
    policies = {*private_rows(held, set())["policy"].to_pylist()}
    answers = Benchmark(folder, kept)
    names = answers.questions("private")
    returns = {float(each) for name in names for part in answers.key(name).returns.values() for each in part}
    yardsticks = {float(answers.key(name).yardsticks["optimum"]) for name in names}
    for file, table in tables.items():
        rows = private_rows(table, policies)
        if len(rows) and {*table.schema.names} - MAY_TELL.get(file, set()):
            found.append(f"{file} has columns {table.schema.names} about private environments")
        for name, values in numbers_of(rows):
            if name != "total" and (both := (returns | yardsticks) & {*values.astype(float).tolist()}):
                found.append(f"{file} holds {sorted(both)[:3]} in {name}")
    whole = b"".join(contents(folder).values()) + b"".join(
        str(table.to_pydict()).encode() for file, table in tables.items() if "candidates" not in file
    )
    seeds = pq.read_table(kept / "worlds.parquet").to_pylist()
    secrets = [SECRET, *(str(row["seed"]) for row in seeds), *(row["document"] for row in seeds)]
    secrets += [answers.task(row["environment"]).digest for row in seeds]
    return found + [f"the files hold {secret[:20]}" for secret in secrets if secret.encode() in whole]


def test_no_private_answer_is_in_the_export(made: Folders) -> None:
    assert leaks(*made) == []


@pytest.mark.parametrize("leak", ["returns", "a column", "the seed", "the secret"])
def test_that_test_finds_what_leaks(own: Folders, leak: str) -> None:
    folder, kept = own
    if leak == "returns":
        pq.write_table(pq.read_table(kept / "returns.parquet"), folder / "answers" / "more.parquet")
    elif leak == "a column":
        file = folder / "I0" / "policies.parquet"
        table = pq.read_table(file)
        value = pq.read_table(kept / "returns.parquet")["sum"][0].as_py()
        pq.write_table(table.append_column("hint", pa.array([value] * len(table))), file)
    elif leak == "the seed":
        (folder / "notes.txt").write_text(str(pq.read_table(kept / "worlds.parquet")["seed"][0]))
    else:
        shutil.copy(kept / KEEPER, folder / "notes.txt")
    benchmark_leaks = leaks_unchecked(folder, kept)
    assert benchmark_leaks


def leaks_unchecked(folder: Path, kept: Path) -> list[str]:
    """The same after the checksums were brought up to date."""
    write_checksums(folder)
    return leaks(folder, kept)


def test_private_seeds_follow_from_the_secret_and_cannot_be_listed() -> None:
    private = [draw for draw in draws(SETTINGS, SECRET) if draw.split == "private"]
    assert [draw.name for draw in private] == ["grid8-p00"]
    assert all(draw.seed > 1 << 32 for draw in private)
    assert draws(SETTINGS, SECRET) == draws(SETTINGS, SECRET) != draws(SETTINGS, "f" * 32)
    assert not any(draw.split == "private" for draw in draws(SETTINGS, None))


def test_changed_answers_are_refused(own: Folders, made: Folders) -> None:
    folder, kept = own
    table = pq.read_table(kept / "returns.parquet")
    better = table.set_column(2, "sum", pa.array([1e3] * len(table)))
    pq.write_table(better, kept / "returns.parquet")
    with pytest.raises(LibraryError, match=r"kept/returns.parquet is missing or was changed"):
        Benchmark(folder, kept)
    write_checksums(kept)
    with pytest.raises(LibraryError, match="holds other answers"):
        Benchmark(folder, kept)


# Refusals.


def test_a_file_that_was_changed_or_lost_is_named(own: Folders) -> None:
    file = own[0] / "I0" / "policies.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(LibraryError, match=r"I0/policies.parquet is missing or was changed \(checksum mismatch\)"):
        Benchmark(own[0])
    file.unlink()
    with pytest.raises(LibraryError, match=r"I0/policies.parquet is missing"):
        Benchmark(own[0])


def test_another_version_is_refused(own: Folders) -> None:
    about = json.loads((own[0] / ABOUT).read_text())
    (own[0] / ABOUT).write_text(json.dumps(about | {"format": 2}))
    with pytest.raises(LibraryError, match="is of version 2, and this lever-ray reads version 1"):
        Benchmark(own[0])


def test_a_list_of_checksums_that_lacks_a_file_is_refused(own: Folders) -> None:
    listed = (own[0] / CHECKSUMS).read_text().splitlines(keepends=True)
    (own[0] / CHECKSUMS).write_text("".join(line for line in listed if "rewards" not in line))
    with pytest.raises(LibraryError, match=r"does not list I2/rewards.parquet"):
        Benchmark(own[0])
    (own[0] / CHECKSUMS).write_text("0  ../outside\n")
    with pytest.raises(LibraryError, match="names no file"):
        Benchmark(own[0])


def test_what_is_no_benchmark_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="is no benchmark; make one with"):
        Benchmark(tmp_path)


def test_folders_are_never_mixed(made: Folders, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is there and not empty"):
        export_benchmark(made[0], SETTINGS, executor=SerialExecutor())
    for kept in (tmp_path / "public" / "kept", tmp_path / "public", tmp_path):
        with pytest.raises(SettingsError, match=r"keep them apart|not empty"):
            export_benchmark(tmp_path / "public", SETTINGS, executor=SerialExecutor(), answers=kept)
    assert not (tmp_path / "public").exists()


@pytest.mark.parametrize("secret", ["{}", "no json", '{"secret": "short"}'])
def test_a_keeper_without_a_secret_is_refused(tmp_path: Path, secret: str) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / KEEPER).write_text(secret)
    with pytest.raises(LibraryError, match="secret"):
        export_benchmark(tmp_path / "public", SETTINGS, executor=SerialExecutor(), answers=kept)
    assert not (tmp_path / "public").exists() and [file.name for file in kept.iterdir()] == [KEEPER]


def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lever_ray.scoring.export.data_card", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        export_benchmark(
            tmp_path / "public", replace(SETTINGS, layouts=1), executor=SerialExecutor(), answers=tmp_path / "kept"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"families": ("grid9",)}, "unknown source of environments 'grid9'"),
        ({"families": ()}, "families is"),
        ({"families": ("grid8", "grid8")}, "each once"),
        ({"layouts": 0}, "layouts is 0"),
        ({"private": -1}, "private is -1"),
        ({"gammas": (1.5,)}, "gammas holds 1.5"),
        ({"setups": (("nosuch", "path-gold"),)}, "unknown mode 'nosuch'"),
        ({"budget": "X2"}, "'X2'"),
        ({"training_seeds": 9}, "would have 531,441 candidates"),
    ],
)
def test_settings_without_sense_are_refused(changed: dict[str, object], told: str) -> None:
    with pytest.raises(LeverError, match=told):
        BenchmarkSettings(**changed)  # type: ignore[arg-type]


def test_unknown_names_are_told(made: Folders) -> None:
    benchmark = Benchmark(made[0])
    with pytest.raises(UnknownName, match="unknown question"):
        benchmark.question("grid8-0/nosuch")
    with pytest.raises(UnknownName, match="unknown tier 'I5'"):
        benchmark.question(benchmark.questions()[0], tier="I5")
    with pytest.raises(UnknownName, match="unknown split"):
        benchmark.questions("secret")
    with pytest.raises(LibraryError, match="no policies for 'nosuch'"):
        benchmark.members("grid8-0", 0.0, "nosuch")
    with pytest.raises(UnknownName, match="unknown environment 'grid8-p00'"):
        benchmark.task("grid8-p00")
    assert isinstance(benchmark.task("grid8-0"), Layout)
