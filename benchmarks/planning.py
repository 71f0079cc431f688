"""Planning: time and share of best known, upper bounds, optima and self-avoiding routes on the conformance layouts.

``python -m benchmarks.planning recompute`` computes tests/golden/best_known.json anew, for the layouts and with the
configuration that stand in it: 2 to 3 minutes of one free core. Best known is the maximum over all methods: exact
dynamic programming where it fits, beam searches over orders of waypoints and step by step on full support, and SARSA.
``python -m benchmarks.planning`` prints the figures.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.timing import median_seconds
from lever_ray.learning.sarsa import train
from lever_ray.tasks.gridworld.bounds import upper_bound
from lever_ray.tasks.gridworld.layout import Layout
from lever_ray.tasks.gridworld.memoryless import best_self_avoiding
from lever_ray.tasks.gridworld.planner import beam_search, plan
from lever_ray.tasks.gridworld.waypoints import Chart, best_order, realise
from lever_ray.tasks.optimum import optimum
from lever_ray.tasks.rollout import Rollout, rollout
from lever_ray.tasks.support import full_support

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "best_known.json"
WIDTHS = (30, 100, 300)
SELF_AVOIDING_WIDTH = 100
REPEATS = 5


def figures() -> dict[str, float]:
    """Per family: milliseconds and shares of best known over layouts and objectives; plans on full support."""
    golden = json.loads(GOLDEN.read_text())
    layouts = _layouts(golden)
    result: dict[str, float] = {}
    for size in sorted({layout.size for layout in layouts.values()}):
        entries = [entry for entry in golden["values"] if layouts[entry["layout"]].size == size]
        for width in WIDTHS:
            result |= _plan_figures(f"planner.grid{size}.w{width}", layouts, entries, width)
        bounds = [entry["upper_bound"] / entry["best_known"] for entry in entries]
        result[f"planner.grid{size}.upper_bound_over_best_known.median"] = median(bounds)
        result[f"planner.grid{size}.upper_bound_over_best_known.max"] = max(bounds)
        result |= _self_avoiding_figures(f"self_avoiding.grid{size}", layouts, entries)
    return result | _optimum_figures(layouts, golden["values"])


def _plan_figures(
    name: str, layouts: Mapping[str, Layout], entries: list[dict[str, Any]], width: int
) -> dict[str, float]:
    shares, times = [], []
    for entry in entries:
        task = layouts[entry["layout"]].compile(entry["objective"])
        shares.append(plan(task, width=width).total / entry["best_known"])
        times.append(1e3 * median_seconds(lambda task=task: plan(task, width=width), REPEATS))  # type: ignore[misc]
    return {
        f"{name}.milliseconds.median": median(times),
        f"{name}.milliseconds.max": max(times),
        f"{name}.share_of_best_known.median": median(shares),
        f"{name}.share_of_best_known.min": min(shares),
    }


def _self_avoiding_figures(name: str, layouts: Mapping[str, Layout], entries: list[dict[str, Any]]) -> dict[str, float]:
    shares, times = [], []
    for entry in entries:
        layout, objective = layouts[entry["layout"]], entry["objective"]
        begun = perf_counter()
        found = best_self_avoiding(layout, objective=objective, width=SELF_AVOIDING_WIDTH)
        times.append(1e3 * (perf_counter() - begun))
        shares.append(found.total / entry["best_known"])
    return {f"{name}.milliseconds.median": median(times), f"{name}.share_of_optimum.median": median(shares)}


def _optimum_figures(layouts: Mapping[str, Layout], entries: list[dict[str, Any]]) -> dict[str, float]:
    times = []
    for entry in entries:
        layout, objective = layouts[entry["layout"]], entry["objective"]
        if layout.size == 8:
            full = full_support(layout.states, 4)
            call = lambda layout=layout, objective=objective, full=full: optimum(  # noqa: E731
                layout, objective=objective, support=full
            )
            times.append(1e3 * median_seconds(call, REPEATS))
    return {"optimum.grid8.milliseconds": median(times)}


def _layouts(golden: Mapping[str, Any]) -> dict[str, Layout]:
    return {name: Layout.from_dict(fields) for name, fields in golden["layouts"].items()}


def recompute() -> None:
    """Write the golden file anew, keeping its layouts and configuration."""
    golden = json.loads(GOLDEN.read_text())
    configuration = golden["configuration"]
    values = []
    for name, layout in _layouts(golden).items():
        for objective in configuration["objectives"]:
            values.append(_best_known(name, layout, objective, configuration))
            print(name, objective, values[-1]["best_known"], values[-1]["by"], values[-1]["upper_bound"], flush=True)
    GOLDEN.write_text(_as_text(golden | {"values": values}))


def _best_known(name: str, layout: Layout, objective: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
    method, best = max(_methods(layout, objective, configuration), key=lambda found: found[1].total)
    return {
        "layout": name,
        "objective": objective,
        "best_known": best.total,
        "exact": method == "dynamic programming",
        "by": method,
        "upper_bound": upper_bound(layout, objective=objective),
        "route": best.actions.tolist(),
    }


def _methods(layout: Layout, objective: str, configuration: Mapping[str, Any]) -> Iterator[tuple[str, Rollout]]:
    """Every method's name and route; dynamic programming first and alone where it is exact."""
    full, task = full_support(layout.states, 4), layout.compile(objective)

    def played(actions: np.ndarray) -> Rollout:
        return rollout(layout, objective=objective, actions=actions)

    if configuration["dynamic_programming"]:
        best = optimum(layout, objective=objective, support=full)
        yield ("dynamic programming" if best.exact else "plan"), played(best.actions)
        if best.exact:
            return
    for search in configuration["waypoint_beams"]:
        order = best_order(Chart.of(task, full), **search)
        yield f"waypoints {search}", played(realise(Chart.of(task, full), order))
    for search in configuration["step_beams"]:
        _, actions = beam_search(task, full, search["width"], search["gold_value"], search["lever_value"])
        yield f"steps {search}", played(actions)
    for gamma in configuration["sarsa"]["gammas"]:
        for seed in range(configuration["sarsa"]["seeds"]):
            run = train(layout, objective=objective, gamma=gamma, seed=seed)
            yield f"sarsa gamma {gamma}", rollout(layout, objective=objective, q=run.best.q)


def _as_text(golden: Mapping[str, Any]) -> str:
    """JSON with one layout or value per line."""
    layouts = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fields)}" for name, fields in golden["layouts"].items())
    values = ",\n".join(f"  {json.dumps(entry)}" for entry in golden["values"])
    header = json.dumps({"recompute": golden["recompute"], "configuration": golden["configuration"]}, indent=1)
    return f'{header[:-2]},\n "layouts": {{\n{layouts}\n }},\n "values": [\n{values}\n ]\n}}\n'


if __name__ == "__main__":
    if sys.argv[1:] == ["recompute"]:
        recompute()
    else:
        for figure, value in figures().items():
            print(f"{figure:60} {value:.4g}")
