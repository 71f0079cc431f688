"""Layouts that people write as maps: what is read, and what is refused by line, column and character."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.errors import InvalidTask, InvalidValue, LibraryError
from lever_ray.library.ports.options import ImportOptions, read_layouts
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.text import LEGEND, as_text
from lever_ray.tasks.rollout import rollout
from tests.twin import layouts

MAP = """
    S . $ x
    . # . .
    $ . . .
    L . . E
"""
ROOM = Layout(4, (0, 0), (3, 3), golds=((0, 2), (2, 0)), blocks=((1, 1),), hazards=((0, 3),), lever=(3, 0))


def in_reading_order(layout: Layout) -> Layout:
    kinds = ("golds", "blocks", "hazards")
    return replace(layout, **{kind: tuple(sorted(getattr(layout, kind))) for kind in kinds})


@given(layouts())
def test_a_layout_reads_back_from_its_own_text(layout: Layout) -> None:
    again = Layout.from_text(str(layout))
    assert again == in_reading_order(layout)
    assert str(again) == str(layout)


@given(layouts(), st.lists(st.integers(0, 3), max_size=20))
def test_a_layout_read_back_is_the_same_world(layout: Layout, actions: list[int]) -> None:
    again = Layout.from_text(layout.text())
    first, second = (rollout(world, objective="path-hazard", actions=actions) for world in (layout, again))
    assert (first.total, first.path, first.end) == (second.total, second.path, second.end)


@given(layouts(), st.data())
def test_blanks_the_legend_and_marks_on_empty_cells_do_not_matter(layout: Layout, data: st.DataObject) -> None:
    drawn = as_text(layout, path=[(row, row) for row in range(layout.size)])
    blank = data.draw(st.sampled_from(["", " ", "  ", "\t"]))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n"]))
    text = end.join(line.replace(" ", blank) for line in drawn.splitlines())
    assert Layout.from_text(f"\n{text}{end}{LEGEND}\n", name="maze") == in_reading_order(layout)
    assert Layout.from_text(f"{drawn}\n{LEGEND[:60]}\n{LEGEND[60:]}") == in_reading_order(layout)


def test_a_map_has_the_name_that_it_is_given() -> None:
    assert Layout.from_text(MAP) == ROOM
    assert (Layout.from_text(MAP, name="room").name, Layout.from_text(MAP).name) == ("room", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the map is empty"),
        (f"\n{LEGEND}\n", "the map is empty"),
        ("S.\n.?", r"line 2, column 2: '\?' is no cell; allowed are S start, E exit, .* \. \* @ for empty cells"),
        ("S .\n. e", "line 2, column 3: 'e' is no cell"),
        ("S.\n..", "no exit 'E'; put one on an empty cell"),
        ("@.\n.E", "no start 'S'; put one on an empty cell"),
        ("S..\n.E.\n..E", "line 3, column 3: 'E' is exit 2; the exit is on line 2, column 2 already"),
        ("S..\nSE.\n...", "line 2, column 1: 'S' is start 2; the start is on line 1, column 1"),
        ("SL.\nLE.\n...", "line 2, column 1: 'L' is lever 2"),
        ("S..\n\n...\n.E", r"line 4, column 2: the line has 2 cells \(this is 'E'\), line 1 has 3"),
        ("S.\n..E\n...", r"line 2, column 3: the line has 3 cells \(this is 'E'\), line 1 has 2"),
        (
            "S..\n..E",
            "line 2, column 3: the map has 2 lines of 3 cells .*a grid is square, so fill it up with blocks '#'",
        ),
        ("S.\n.E\n..", "line 3, column 1: the map has 3 lines of 2 cells"),
        ("S" + "$" * 8 + ("\n" + "$" * 9) * 7 + "\n" + "E" + "." * 8, "line 8, column 3: '\\$' is gold 65; at most 64"),
        ("S", "no exit"),
    ],
)
def test_what_is_no_map_is_refused_by_line_column_and_character(text: str, said: str) -> None:
    with pytest.raises(InvalidTask, match=said) as refusal:
        Layout.from_text(text)
    assert "\n" not in str(refusal.value)


def test_files_with_a_map_and_with_json_are_told_apart_by_content(tmp_path: Path) -> None:
    file = tmp_path / "maze.json"
    for text in (MAP, f"{ROOM.text()}\n", json.dumps(ROOM.to_dict()), f"\n {json.dumps(ROOM.to_dict())}"):
        for mark in ("", "\ufeff"):
            file.write_text(mark + text, encoding="utf-8")
            assert read_layouts(file) == ROOM
    file.write_text(json.dumps({"room": ROOM.to_dict()}))
    assert read_layouts(file) == {"room": ROOM}
    assert ImportOptions(layouts=MAP).layouts == ROOM


def test_a_file_that_is_neither_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "maze.txt"
    file.write_text("hello")
    with pytest.raises(InvalidValue, match=r"maze\.txt: line 1, column 1: 'h' is no cell"):
        read_layouts(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LibraryError, match=r"maze\.txt cannot be read .*give a JSON file or a map as text"):
        read_layouts(file)
