"""Progress as a terminal and a pipe show it: how far, for how long, how long it takes still, and never silent."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from threading import active_count
from time import monotonic, sleep

import pytest
from rich.console import Console

from lever_ray import progress as module
from lever_ray.executor import SerialExecutor, gathered
from lever_ray.progress import Meter, duration, progress, telling_kept, working
from lever_ray.watching import watched

OFTEN, SELDOM = 0.06, 0.2


class Clock:
    """Stands still until it is told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stamped(io.StringIO):
    """Notes when something is written."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [monotonic()]

    def write(self, text: str) -> int:
        self.times.append(monotonic())
        return super().write(text)

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()


@pytest.fixture
def pipe() -> Console:
    return Console(file=Stamped(), width=80)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFTEN", OFTEN)
    monkeypatch.setattr(module, "SELDOM", SELDOM)


def wait_until(true: Callable[[], bool]) -> None:
    end = monotonic() + 10
    while not true():
        assert monotonic() < end, "nothing was printed"
        sleep(0.005)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (41.2, "41 s"), (119, "119 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min")],
)
def test_times_are_told_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_tells_what_is_done_of_how_many_and_the_time_left() -> None:
    clock = Clock()
    meter = Meter("Experiment demo", 20, clock=clock)
    assert meter.line() == "Experiment demo: 0/20, 0 s"
    clock.now += 12
    meter.move(6, "grid8-5")
    assert meter.line() == "Experiment demo: 6/20, 12 s, about 28 s left (grid8-5)"
    clock.now += 10
    assert meter.line(moved=False) == "Experiment demo: 6/20, still working, 22 s, about 18 s left"
    clock.now += 19
    assert meter.line(moved=False) == "Experiment demo: 6/20, still working, 41 s"
    meter.move(20, "grid8-19")
    assert meter.line() == "Experiment demo: 20/20, 41 s (grid8-19)"


def test_what_an_earlier_run_did_says_nothing_about_the_pace() -> None:
    clock = Clock()
    meter = Meter("Tuning s", 30, done=10, clock=clock)
    meter.keep(10)
    assert meter.left is None
    clock.now += 5
    meter.move(21)
    assert meter.left == pytest.approx(45)


def test_every_stage_has_its_own_pace() -> None:
    clock = Clock()
    meter = Meter("Running study options", clock=clock)
    clock.now += 7
    assert meter.line(moved=False) == "Running study options: still working, 7 s"
    meter.enter("layouts", 4)
    clock.now += 3
    meter.move(1)
    assert meter.line() == "Running study options, layouts: 1/4, 3 s, about 9 s left"


def test_a_pipe_is_told_what_begins_what_was_kept_and_the_end(pipe: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OFTEN", 1e6)
    with working(pipe, "Logging to MLflow"):
        pass
    with working(pipe, "Summing up", at_once=False) as count:
        count(1, 2)
    with progress(pipe, "Experiment [quick]", 20) as advance:
        telling_kept(pipe, advance, 20)(8)
        for place in range(12):
            advance(f"grid8-{place} [0]")
    with progress(pipe, "Tuning s", 7, done=6) as advance:
        advance("last")
    with progress(pipe, "Nothing", 3, done=3):
        pass
    assert pipe.file.lines == [  # type: ignore[attr-defined]
        "Logging to MLflow ...",
        "8 of 20 environments kept from an earlier run",
        "Experiment [quick]: 20/20, 0 s (grid8-11 [0])",
        "Tuning s: 7/7, 0 s (last)",
    ]


@pytest.mark.usefixtures("quick")
def test_a_pipe_is_never_silent_for_long(pipe: Console) -> None:
    lines = lambda: pipe.file.lines  # type: ignore[attr-defined] # noqa: E731
    threads = active_count()
    with progress(pipe, "Experiment demo", 3) as advance:
        wait_until(lambda: len(lines()) == 1)
        advance("a")
        wait_until(lambda: len(lines()) == 2)
        advance.within(4, 9, "environments")
        wait_until(lambda: len(lines()) == 3)
    with working(pipe, "Opening", at_once=False):
        wait_until(lambda: len(lines()) == 4)
    assert lines()[0] == "Experiment demo: 0/3, still working, 0 s"
    assert lines()[1].startswith("Experiment demo: 1/3, 0 s")
    assert lines()[1].endswith("(a)")
    assert lines()[2].endswith("(environments 4/9)")
    assert lines()[3] == "Opening: still working, 0 s"
    assert active_count() == threads


@pytest.mark.usefixtures("quick")
def test_lines_are_no_closer_than_they_should_be(pipe: Console) -> None:
    with progress(pipe, "Many", 10**9) as advance:
        end = monotonic() + 10
        while len(pipe.file.lines) < 4 and monotonic() < end:  # type: ignore[attr-defined]
            advance("x")
    times = pipe.file.times  # type: ignore[attr-defined]
    gaps = [after - before for before, after in pairwise(times[1:])]
    assert len(gaps) == 3
    assert min(gaps) > 0.9 * OFTEN


@pytest.mark.usefixtures("quick")
def test_short_work_in_a_row_is_not_silent(pipe: Console) -> None:
    end = monotonic() + 10
    while not pipe.file.lines and monotonic() < end:  # type: ignore[attr-defined]
        with working(pipe, "Merging", at_once=False):
            sleep(OFTEN)
    assert set(pipe.file.lines) == {"Merging: still working, 0 s"}  # type: ignore[attr-defined]


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.usefixtures("quick")
def test_work_goes_on_where_nothing_can_be_printed() -> None:
    with working(Console(file=Broken(), width=80), "Checking", at_once=False):
        sleep(2 * SELDOM)


def test_an_error_ends_the_lines(pipe: Console) -> None:
    threads = active_count()
    with pytest.raises(KeyboardInterrupt), progress(pipe, "Experiment demo", 3):
        raise KeyboardInterrupt
    assert active_count() == threads


def test_a_terminal_shows_bar_and_times() -> None:
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with progress(console, "Experiment [demo]", 4) as advance:
        advance.kept(1)
        advance.within(1, 2)
        advance("a", 3)
    with working(console, "Running study s") as count:
        count(1, 2, "layouts")
        sleep(0.2)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Experiment [demo]" in text
    assert "4/4 0 s" in text
    assert "Running study s, layouts: 1/2, 0 s" in text


def test_what_does_not_fit_a_terminal_is_nothing_that_is_needed() -> None:
    meter = Meter("Measuring the held-out front", clock=(clock := Clock()))
    meter.enter("environments", 10)
    clock.now += 2
    meter.move(4, "grid8-5")
    told = "Measuring the held-out front, environments: 4/10, 2 s, about 3 s left"
    assert meter.line() == meter.line(width=79) == f"{told} (grid8-5)"
    assert meter.line(width=78) == meter.line(width=len(told)) == told
    assert meter.line(width=50) == "Measuring the held-o...: 4/10, 2 s, about 3 s left"
    console = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    with working(console, "Reading " + "a very long name of a file " * 3):
        sleep(0.2)
    assert "...: still working, 0 s" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("executor", "tracked"), [("ray", True), ("ray", False), ("serial", True), ("serial", False)])
def test_the_first_line_fits_80_columns(executor: str, tracked: bool) -> None:
    from lever_ray.app.session import _opening
    from lever_ray.config import Settings

    (settings := Settings()).cluster.executor = executor
    assert len(f"| {_opening(settings, tracked)}: still working, 119 s") <= 80


def _half(number: int, by: int) -> float:
    return number / by


def test_batches_of_an_executor_tell_how_far_they_are() -> None:
    told: list[tuple[int, int, str]] = []
    watch = lambda *each: told.append(each)  # noqa: E731
    assert gathered(SerialExecutor(), _half, [2, 4], shared=(2,), watch=watch, stage="halves") == [1, 2]
    assert told == [(0, 2, "halves"), (1, 2, "halves"), (2, 2, "halves")]
    assert gathered(SerialExecutor(), _half, [2], shared=(2,)) == [1]
    with pytest.raises(ZeroDivisionError):
        gathered(SerialExecutor(), _half, [2, 4], shared=(0,), watch=watch)
    told.clear()
    assert list(watched("ab", watch, "letters")) == ["a", "b"]
    assert told == [(0, 2, "letters"), (1, 2, "letters"), (2, 2, "letters")]


def test_what_keeps_a_library_tells_how_far_it_is(tmp_path: Path) -> None:
    from lever_ray.library.library import PolicyLibrary
    from lever_ray.library.repair.mending import repair
    from lever_ray.library.repair.recovery import restore_manifest
    from lever_ray.library.writing.compact import compact
    from tests.compose_library import make_library

    told: list[tuple[int, int, str]] = []

    def stages() -> set[str]:
        assert all(done <= total for done, total, _ in told)
        found = {stage for done, total, stage in told if done == total}
        told.clear()
        return found

    watch = lambda *each: told.append(each)  # noqa: E731
    library = make_library(tmp_path / "one")
    records = list(library.select())
    other, half = PolicyLibrary.create(tmp_path / "two", encoder=library.encoder), len(records) // 2
    other.add(records[:half], watch)
    assert stages() == {"policies written"}
    other.add(records[half:])
    compact(other.path, encoder=library.encoder, watch=watch)
    assert stages() == {"shards looked at", "shards read", "policies written"}
    repair(other.path, encoder=library.encoder, watch=watch)
    assert stages() == {"shards checked"}
    other.delete([records[0].id], watch)
    assert stages() == {"shards looked through", "shards rewritten"}
    (other.path / "manifest.json").unlink()
    restore_manifest(other.path, watch=watch)
    assert stages() == {"files read"}


def test_moving_policies_out_and_in_tells_how_far_it_is(tmp_path: Path) -> None:
    from lever_ray.library.ports.exporting import export
    from lever_ray.library.ports.importing import records
    from lever_ray.library.ports.options import ImportOptions
    from lever_ray.library.ports.understanding import understand
    from tests.compose_library import make_library

    told: list[tuple[int, int, str]] = []
    count = export(make_library(tmp_path / "one"), tmp_path / "some.npz", watch=lambda *each: told.append(each))
    assert told[-1] == (count, count, "policies")
    told.clear()
    understood = understand(tmp_path / "some.npz", ImportOptions(), held=lambda _: None)
    records(understood, lambda *each: told.append(each))
    assert told == [(done, count, "policies checked") for done in range(count + 1)]


def test_compiling_kernels_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from lever_ray.query import warm

    done: list[str] = []
    steps = ("warm_up_routes", "warm_up_options", "_warm_many", "_warm_indexes")
    for name in ("warm_up", *steps):
        monkeypatch.setattr(warm, name, lambda *_, name=name: done.append(name))
    told: list[tuple[int, int, str]] = []
    warm.compile_all(lambda *each: told.append(each))
    assert done[-4:] == list(steps)
    assert told == [(count, len(done), "groups of kernels") for count in range(len(done) + 1)]
