"""Tables as terminals of several widths show them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from lever_ray.app.library_tables import (
    counted_as,
    damage_table,
    in_bytes,
    library_table,
    matches_table,
    understanding_table,
)
from lever_ray.app.study_tables import front_table, summary_table
from lever_ray.console import Drawing, finding_line, importance_table, say
from lever_ray.experiment.statistics import significant
from lever_ray.glossary import EXPERIMENT, legend
from lever_ray.learning.budgets import BUDGETS
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.ports.options import ImportOptions
from lever_ray.library.ports.understanding import understand
from lever_ray.library.reader import Match
from lever_ray.library.repair.checking import Damage
from lever_ray.tasks.gridworld.layout import Layout

WIDTHS = (60, 80, 100, 120, 160, 240)


def shown(table: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    return text


def summary() -> list[dict[str, Any]]:
    return [
        {
            "gamma": gamma,
            "mode": "double",
            "setup": "path-gold-hazard-lever",
            "operator": operator,
            "strategy": strategy,
            "ranker": ranker,
            "layouts": 20,
            "return/composed": -111.1,
            "return/random_q": -222.2,
            "return/scratch": -333.3,
            "return/scratch_best_gamma": -444.4,
            "return/best_single_oracle": -555.5,
            "return/optimum": 666.6,
            "speedup/seconds": 1234.5,
            "candidates/evaluated": 98765,
        }
        for gamma in (0.0, 0.95)
        for operator in ("sum", "normalized-sum")
        for strategy in ("targeted", "budgeted-1000")
        for ranker in ("regressor", "recorded-return", "offline-return")
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_summary_shows_every_number(width: int) -> None:
    text = shown(summary_table(summary()), width)
    for number in ("-111.1", "-222.2", "-333.3", "-444.4", "-555.5", "666.6", "1,200x", "98765"):
        assert number in text
    assert "path-gold-hazard-lever" in text


def front() -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "label": f"budgeted-{number}00x4 normalized-sum regressor(own, 16 states) unmasked g0.99",
            "tier": "I1",
            "minimised": "candidates",
            "environments": 14,
            "candidates": 12345.6,
            "quality": 0.812,
            "held_out/environments": 6,
            "held_out/seconds": 1.1712,
            "held_out/quality": 0.798,
            "held_out/quality/ci_low": -0.701,
            "held_out/quality/ci_high": 0.899,
            "held_out/gain": float("nan") if number == 7 else 0.0123,
            "verdict": "cheapest" if number == 7 else "confirmed",
        }
        for number in (7, 123)
    ]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_front_shows_every_number_and_marks_what_is_recommended(width: int) -> None:
    text = shown(front_table(front(), recommended=123), width)
    for part in (
        "12,350",
        "1,170",
        "0.812",
        "0.798",
        "-0.701 to 0.899",
        "+0.012",
        "confirmed",
        "* 123",
        "* recommended",
    ):
        assert part in text
    assert "e+0" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_search_never_cuts_ids_and_numbers(small_library: Any, width: int) -> None:
    library = PolicyLibrary.open(small_library)
    records = list(library.select(environment="grid8-1"))[:3]
    text = shown(matches_table([Match(record.id, 0.987) for record in records], records), width)
    assert all(record.id in text for record in records)
    assert text.count("0.987") == 3


@pytest.mark.parametrize("width", WIDTHS)
def test_a_library_shows_every_environment_and_what_it_holds(small_library: Any, width: int) -> None:
    text = shown(library_table(PolicyLibrary.open(small_library)), width)
    assert "grid8-0 " in text
    assert "path-gold" in " ".join(text.split())
    assert "coverage: share of what can be reached" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_broken_or_not_understood_is_told_whole(width: int, tmp_path: Path) -> None:
    damage = Damage("checksum of tables-0123.arrow is wrong", "0123456789abcdef", "tables", lost=(), policies=20)
    text = " ".join(shown(damage_table([damage] * 21), width).split())
    assert ("0123456789abcdef" in text, "20" in text, "and 1 more" in text) == (True, True, True)
    np.savez(tmp_path / "x.npz", q=np.zeros((2, 64, 4)), odd=np.zeros(3))
    understood = understand(tmp_path / "x.npz", ImportOptions(environment="grid8-0"), held=lambda _: None)
    text = shown(understanding_table(understood), width)
    assert "--gamma" in text
    assert "odd" in text


def test_words_are_explained_once_where_they_appear_and_only_there() -> None:
    text = shown(summary_table(summary()), 160)
    assert text.count("\nbudgeted-n: ") == text.count("\ngamma: ") == text.count("\nrandom Q: ") == 1
    assert "exhaustive" not in text
    assert "\nX1: " not in text
    told: set[str] = set()
    assert [term for term, _ in legend(EXPERIMENT, ["J* and I3, X10"], told=told)] == ["I3", "X10", "J*"]
    assert legend(EXPERIMENT, ["I3 again"], told=told) == []
    assert legend(EXPERIMENT, ["Jumps, hybridise, GPI3, sum-of-squares"]) == []


def test_budgets_are_explained_as_they_are() -> None:
    for name, budget in BUDGETS.items():
        assert EXPERIMENT[name][1] == f"trained for {budget.episodes:,} episodes"


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_map_is_never_broken(size: int) -> None:
    layout = Layout(size, (0, 0), (size - 1, size - 1))
    text = shown(Drawing(layout.text()), 60)
    assert Layout.from_text(text) == layout
    assert len(text.splitlines()) == size + 2


def test_other_tables_fit_as_well() -> None:
    finding = type("Finding", (), {"part": "mlflow", "sound": True, "text": "store sqlite:////" + "a" * 200})
    assert shown(finding_line(finding), 80).replace("\n", "").replace(" ", "").count("a") >= 200
    assert "42%" in shown(importance_table({"quality": {"strategy": 0.42}, "cost": {"strategy": 0.1}}), 80)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1171.2, 3, "1,170"), (12.345, 3, "12.3"), (999.9, 3, "1,000"), (0.0123, 3, "0.0123"), (2e-6, 3, "0.000002")],
)
def test_numbers_have_no_exponent(value: float, digits: int, text: str) -> None:
    assert significant(value, digits) == text


def test_sizes_and_plurals() -> None:
    assert [in_bytes(size) for size in (1, 12, 3_400, 5.61e6, 2e9)] == [
        "1 byte",
        "12 bytes",
        "3.4 kB",
        "5.61 MB",
        "2 GB",
    ]
    assert [counted_as(count, "shard") for count in (0, 1, 2)] == ["0 shards", "1 shard", "2 shards"]
    assert counted_as(3, "policy") == "3 policies"
    assert significant(float(np.inf)) == "inf"


def test_links_are_never_broken() -> None:
    for line, lines in (("Experiment: http://127.0.0.1:5000/#/" + "x" * 60, 1), ("word " * 20, 3)):
        console = Console(width=40, force_terminal=True, file=io.StringIO())
        say(console, line)
        assert len(console.file.getvalue().splitlines()) == lines  # type: ignore[attr-defined]
