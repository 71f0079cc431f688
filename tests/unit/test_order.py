"""The order in which people see names, and that they do."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.app.library_tables import library_table
from lever_ray.errors import UnknownName
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.memory import MemoryLibrary
from lever_ray.library.record import PolicyRecord
from lever_ray.order import in_natural_order
from lever_ray.tasks.gridworld.layout import Layout
from tests.unit.test_tables import shown

NAMES = ("a", "deep-sea-0", "grid8", "grid8-0", "grid8-02", "grid8-2", "grid8-10", "grid16", "grid16-dense", "maze")
IN_ORDER = [f"grid8-{number}" for number in (1, 2, 10, 11, 20)]


def test_numbers_in_names_are_counted() -> None:
    for seed in range(20):
        assert in_natural_order(random.Random(seed).sample(NAMES, len(NAMES))) == list(NAMES)
    assert in_natural_order(["x" + "9" * 10_000, "x1"]) == ["x1", "x" + "9" * 10_000]


@given(st.lists(st.text(max_size=8)))
def test_any_names_have_an_order_that_does_not_depend_on_the_one_given(names: list[str]) -> None:
    assert in_natural_order(names) == in_natural_order(names[::-1])
    assert sorted(in_natural_order(names)) == sorted(names)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_numbered_names_are_in_the_order_of_their_numbers(first: int, second: int) -> None:
    found = in_natural_order([f"grid8-{first}", f"grid8-{second}"])
    assert found == [f"grid8-{min(first, second)}", f"grid8-{max(first, second)}"]


def records() -> list[PolicyRecord]:
    layout = Layout.from_text("S.\n.E")
    q = np.zeros((4, 4), np.float32)
    given = {"task": layout, "objective": "path", "description": "leave", "q": q, "gamma": 0.0}
    return [PolicyRecord(environment=name, **given) for name in IN_ORDER[::-1]]


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_library_lists_its_environments_in_that_order(kind: str, tmp_path: Path) -> None:
    if kind == "memory":
        library = MemoryLibrary(records())
    else:
        library = PolicyLibrary.create(tmp_path / "x")
        library.add(records())
        text = shown(library_table(library), 100)
        assert sorted(IN_ORDER, key=lambda name: text.index(f"{name} ")) == IN_ORDER
    assert list(library.environments) == IN_ORDER
    with pytest.raises(UnknownName, match=f"Known: {', '.join(IN_ORDER)}"):
        library.environment("nowhere")
