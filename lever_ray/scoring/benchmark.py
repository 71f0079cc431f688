"""Reading a benchmark: checked when it is opened; its questions as a tier may see them, and the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lever_ray.errors import InvalidValue, LibraryError, UnknownName, look_up
from lever_ray.experiment.statistics import Row
from lever_ray.learning.budgets import training_budget
from lever_ray.scoring.question import Members, Question, events_of
from lever_ray.scoring.settings import OPERATORS, check_split, check_tier
from lever_ray.scoring.tables import ABOUT, CHECKSUMS, FORMAT, KEEPER, check_checksums, read_table
from lever_ray.tasks.protocol import Environment
from lever_ray.tasks.registry import decode
from lever_ray.tasks.support import support_bytes

_PUBLIC = (
    ABOUT,
    *(f"I0/{name}.parquet" for name in ("environments", "questions", "candidates", "policies")),
    *(f"I1/{name}.parquet" for name in ("transitions", "starts", "events")),
    "I2/rewards.parquet",
    "I3/worlds.parquet",
    "answers/returns.parquet",
    "answers/yardsticks.parquet",
)
_KEPT = (KEEPER, "worlds.parquet", "returns.parquet", "yardsticks.parquet")


@dataclass(frozen=True, eq=False)
class Key:
    """The answers to a question.

    Attributes:
        returns: float64[K] by operator, what every candidate earns in the environment.
        yardsticks: see :data:`lever_ray.scoring.tables.YARDSTICKS`, with ``optimum_exact`` and ``trivial_layout``.
        task: the environment.
        seed: that it was sampled with.
    """

    returns: dict[str, np.ndarray]
    yardsticks: Row
    task: Environment
    seed: int


class Benchmark:
    """A benchmark in a folder.

    Args:
        folder: of the public files.
        answers: of the private split's answers, where its keeper scores.

    Raises:
        LibraryError: a file is missing or was changed, the version is another one, or the answers belong to another
            benchmark.
    """

    def __init__(self, folder: Path | str, answers: Path | str | None = None) -> None:
        self.folder = Path(folder)
        self.answers = None if answers is None else Path(answers)
        if not (self.folder / CHECKSUMS).is_file():
            raise LibraryError(f"{folder} is no benchmark; make one with `lever-ray benchmark export --to FOLDER`")
        self.about = _about(self.folder / ABOUT)
        self.id = check_checksums(self.folder, _PUBLIC)
        if self.answers is not None:
            self._check_answers(self.answers)

    def _check_answers(self, answers: Path) -> None:
        told = self.about.get("private_answers_sha256")
        if told is None:
            raise LibraryError(f"{self.folder} has no private split; leave out answers ({answers})")
        found = check_checksums(answers, _KEPT)
        if found != told:
            raise LibraryError(
                f"{answers} holds other answers ({found[:12]}) than {self.folder} was published with ({told[:12]}); "
                "give the folder that was written with it"
            )

    def _table(self, name: str) -> pa.Table:
        kind = name.removeprefix("answers/").replace("I3/", "")
        return read_table(self.folder / f"{name}.parquet", kind)

    @cached_property
    def environments(self) -> dict[str, Row]:
        """Rows of ``I0/environments.parquet`` by name."""
        return {row["environment"]: row for row in self._table("I0/environments").to_pylist()}

    @cached_property
    def _asked(self) -> dict[str, Row]:
        return {row["question"]: row for row in self._table("I0/questions").to_pylist()}

    def questions(self, split: str = "public") -> list[str]:
        """Names of a split's questions.

        Raises:
            UnknownName: there is no such split.
            InvalidValue: the benchmark has no private split.
        """
        check_split(split)
        found = [name for name, row in self._asked.items() if self._split(row) == split]
        if not found:
            raise InvalidValue(f"{self.folder} has no {split} split; it was exported without --answers")
        return found

    def environments_of(self, split: str) -> list[str]:
        """Names of a split's environments."""
        return list(dict.fromkeys(self._asked[name]["environment"] for name in self.questions(split)))

    def about_question(self, name: str) -> Row:
        """A question's row, with ``split`` and ``family``.

        Raises:
            UnknownName: there is no such question.
        """
        row = look_up("question", name, self._asked)
        return row | {"split": self._split(row), "family": self.environments[row["environment"]]["family"]}

    def _split(self, row: Row) -> str:
        return str(self.environments[row["environment"]]["split"])

    @cached_property
    def _policies(self) -> pa.Table:
        return self._table("I0/policies")

    @cached_property
    def _places(self) -> dict[tuple[str, float, str], np.ndarray]:
        """Rows of the policies by environment, discount and objective."""
        table = self._policies
        keys = zip(*(table[name].to_pylist() for name in ("environment", "gamma", "objective")), strict=True)
        found: dict[tuple[str, float, str], list[int]] = {}
        for row, key in enumerate(keys):
            found.setdefault(key, []).append(row)
        return {key: np.array(rows) for key, rows in found.items()}

    @cached_property
    def _arrays(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Values and offsets of the columns that hold an array for each policy."""
        transitions, rewards = self._table("I1/transitions"), self._table("I2/rewards")
        columns = {name: self._policies[name] for name in ("q", "support")}
        columns |= {"successors": transitions["successors"], "mean_rewards": rewards["mean_rewards"]}
        return {name: _flat(column) for name, column in columns.items()}

    def members(self, environment: str, gamma: float, objective: str, *, tier: str = "I0") -> Members:
        """The policies of an environment and discount for one objective, with what a tier may know.

        Raises:
            UnknownName: there is no such environment or tier.
            LibraryError: it has no such policies.
        """
        check_tier(tier)
        world = look_up("environment", environment, self.environments)
        rows = self._places.get((environment, gamma, objective))
        if rows is None:
            raise LibraryError(f"environment {environment!r} has no policies for {objective!r} at gamma {gamma:g}")
        states, actions = world["observations"], world["actions"]
        known = {"successors": tier >= "I1", "mean_rewards": tier >= "I2"}
        table = self._policies.take(rows)
        return Members(
            objective=objective,
            policies=rows.astype(np.int32),
            q=self._stacked("q", rows, (states, actions)),
            support=self._stacked("support", rows, (states, support_bytes(actions))),
            totals=table["total"].to_numpy(),
            descriptions=tuple(table["description"].to_pylist()),
            **{name: self._stacked(name, rows, (states, actions)) for name, may in known.items() if may},
        )

    def members_of(self, environment: str, *, tier: str = "I0") -> list[tuple[float, Members]]:
        """All policies of an environment: discount and members, by discount and objective."""
        keys = [(gamma, objective) for name, gamma, objective in self._places if name == environment]
        return [(gamma, self.members(environment, gamma, objective, tier=tier)) for gamma, objective in keys]

    @property
    def episodes(self) -> int:
        """Training budget of the policies."""
        return training_budget(self.about["settings"]["budget"]).episodes

    def task(self, environment: str) -> Environment:
        """An environment; one of the private split where the answers are here.

        Raises:
            UnknownName: it is unknown, or held out.
        """
        return look_up("environment", environment, self._worlds)[0]

    def _stacked(self, name: str, rows: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        values, offsets = self._arrays[name]
        return np.stack([values[offsets[row] : offsets[row + 1]].reshape(shape) for row in rows])

    def question(self, name: str, *, tier: str = "I0") -> Question:
        """A question with what a tier may know; of the private split the environment only where the answers are here.

        Raises:
            UnknownName: there is no such question or tier.
            InvalidValue: a private question is asked for at tier I3 or I4 without the answers.
        """
        check_tier(tier)
        row = self.about_question(name)
        environment, private = row["environment"], row["split"] == "private"
        if private and tier >= "I3" and self.answers is None:
            raise InvalidValue(
                f"question {name!r} is private: its environment, which tier {tier} knows, is held out; its keeper "
                "scores such code with --answers"
            )
        known = not private or self.answers is not None
        task = self._worlds[environment][0] if known else None
        return Question(
            name=name,
            environment=environment,
            family=row["family"],
            split=row["split"],
            gamma=row["gamma"],
            mode=row["mode"],
            objective=row["objective"],
            groups=tuple(self.members(environment, row["gamma"], each, tier=tier) for each in row["groups"]),
            pool=tuple(self.members(environment, row["gamma"], each, tier=tier) for each in row["pool"]),
            candidates=self.candidates(name),
            horizon=self.environments[environment]["horizon"],
            starts=self._starts[environment] if tier >= "I1" else None,
            events=events_of(task) if tier >= "I1" and task is not None else None,
            task=task if tier >= "I3" else None,
        )

    def candidates(self, name: str) -> np.ndarray:
        """int64[K, m]: index tuples of a question's candidates, a member of each group."""
        first, count = self._candidate_rows[name]
        members = self._table_of_candidates["members"].slice(first, count)
        return np.stack(members.to_numpy(zero_copy_only=False)).astype(np.int64)

    @cached_property
    def _table_of_candidates(self) -> pa.Table:
        return self._table("I0/candidates")

    @cached_property
    def _candidate_rows(self) -> dict[str, tuple[int, int]]:
        return _runs(self._table_of_candidates, self._asked, self.folder / "I0" / "candidates.parquet")

    @cached_property
    def _starts(self) -> dict[str, np.ndarray]:
        rows = self._table("I1/starts").to_pylist()
        return {row["environment"]: np.array(row["starts"], np.int32) for row in rows}

    @cached_property
    def _worlds(self) -> dict[str, tuple[Environment, int]]:
        """Environments and their seeds; those of the private split where the answers are here."""
        tables = [self._table("I3/worlds")]
        if self.answers is not None:
            tables.append(read_table(self.answers / "worlds.parquet", "worlds"))
        rows = [row for table in tables for row in table.to_pylist()]
        return {row["environment"]: (decode(json.loads(row["document"])), row["seed"]) for row in rows}

    def key(self, name: str) -> Key:
        """The answers to a question.

        Raises:
            UnknownName: there is no such question.
            InvalidValue: it is private, and the answers are not here.
        """
        row = self.about_question(name)
        if row["split"] == "private" and self.answers is None:
            raise InvalidValue(f"question {name!r} is private; its answers are with the keeper: give --answers FOLDER")
        returns, rows, yardsticks = self._answers[row["split"]]
        first, count = rows[name]
        part = returns.slice(first, count)
        values = {operator: part[operator].to_numpy() for operator in OPERATORS}
        task, seed = self._worlds[row["environment"]]
        return Key(values, yardsticks[name], task, seed)

    @cached_property
    def _answers(self) -> dict[str, tuple[pa.Table, dict[str, tuple[int, int]], dict[str, Row]]]:
        """By split: returns, the rows of each question in them, and yardsticks by question."""
        places = {"public": self.folder / "answers"} | ({} if self.answers is None else {"private": self.answers})
        found = {}
        for split, place in places.items():
            returns = read_table(place / "returns.parquet", "returns")
            yardsticks = read_table(place / "yardsticks.parquet", "yardsticks").to_pylist()
            rows = _runs(returns, self.questions(split), place / "returns.parquet")
            found[split] = (returns, rows, {row["question"]: row for row in yardsticks})
        return found


def _about(file: Path) -> dict[str, Any]:
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        version = about["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LibraryError(f"{file} tells no version of a benchmark ({error}); export or download it again") from error
    if version != FORMAT:
        raise LibraryError(
            f"{file} is of version {version!r}, and this lever-ray reads version {FORMAT}; use the lever-ray that made "
            "it, or export anew"
        )
    return dict(about)


def _flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def _runs(table: pa.Table, names: Sequence[str] | dict[str, Row], file: Path) -> dict[str, tuple[int, int]]:
    """First row and count of every question; the rows of one lie together, its candidates counted from 0."""
    codes = table["question"].combine_chunks()
    codes = codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes
    index = codes.indices.to_numpy()
    firsts = np.flatnonzero(np.concatenate([[True], index[1:] != index[:-1]])) if len(index) else np.zeros(0, np.int64)
    counts = np.diff(np.concatenate([firsts, [len(index)]]))
    found = {
        str(codes.dictionary[int(index[first])]): (int(first), int(count))
        for first, count in zip(firsts, counts, strict=True)
    }
    if missing := [name for name in names if name not in found]:
        raise UnknownName("question", missing[0], found, hint=f"{file} lacks it.")
    return found
