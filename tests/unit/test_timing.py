"""How often a query is asked for the median of its seconds."""

from types import SimpleNamespace

import pytest

from lever_ray.experiment.timing import asked_repeatedly


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [
        ([0.01, 0.01, 0.01, 0.01, 0.01], 5),
        ([0.4, 0.001, 0.001, 0.001, 0.001], 5),
        ([0.4, 0.3], 2),
        ([2.0], 1),
        ([0.06, 0.05], 2),
    ],
)
def test_a_stall_does_not_end_the_repeats_and_slow_queries_are_asked_less(seconds: list[float], asked: int) -> None:
    left = iter(seconds)
    answers = asked_repeatedly(lambda: SimpleNamespace(timings={"total": next(left)}), 5)  # type: ignore[arg-type, return-value]
    assert len(answers) == asked
