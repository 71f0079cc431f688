"""Made-up rows of a reproduction's tables, with a say in what they tell."""

import math

from lever_ray.experiment.statistics import METRICS, Row

SETUP = {"mode": "double", "setup": "path-gold-hazard", "groups": "path-gold + hazard", "tier": "I3", "budget": "X1"}
WAYS = (
    *[(name, f"hybrid-{k}") for name in ("sum", "max") for k in (1, 3, 5)],
    *[(name, "exhaustive") for name in ("sum", "max", "options")],
    ("plan", "union"),
)
ANSWERED = {"sum": 60.0, "max": 55.0, "options": 90.0, "plan": 99.0}
"""Return of an operator; the best control is 70, the optimum 100, chance 0."""
LEVELS = (1.0, 0.75, 0.5, 0.25, 0.0)
LENGTHS = (0, 1, 2, 4)
LAYOUTS = 12


def spread(seed: int) -> float:
    """What a layout adds to every return: layouts differ, and ways keep their order."""
    return 2.0 * math.sin(seed)


def main_rows(
    answered: dict[str, float] = ANSWERED, *, families=("grid8", "grid16"), milliseconds=1.0, gain=0.5, bias=0.0, **more
) -> list[Row]:
    """Rows of the main study: ``gain`` is what each k adds, ``bias`` what predictions add."""
    rows = []
    for family in families:
        for seed in range(LAYOUTS):
            for operator, strategy in WAYS:
                for gamma in (math.inf,) if operator == "options" else (0.0, 0.99):
                    way = {"operator": operator, "strategy": strategy, "gamma": gamma, "ranker": "offline-return"}
                    k = {"hybrid-3": 3, "hybrid-5": 5, "exhaustive": 9}.get(strategy, 1)
                    total = answered[operator] + spread(seed) + gain * (k - 3 if operator in ("sum", "max") else 0)
                    rows.append(_row(family, seed) | way | SETUP | _numbers(total, k, milliseconds, bias, seed) | more)
    return rows


def _row(family: str, seed: int) -> Row:
    name = f"{family}-{seed}"
    cell = {"family": family, "environment": name, "layout_seed": seed, "trivial_layout": seed == 0}
    return cell | dict.fromkeys(METRICS, 0.5) | {"error": ""}


def _numbers(total: float, k: int, milliseconds: float, bias: float, seed: int) -> Row:
    over = (total - 70.0 - spread(seed)) / 100.0
    return {
        "return/composed": total,
        "return/predicted": total + bias,
        "return/optimum": 100.0 + spread(seed),
        "return/random": spread(seed),
        "return/scratch": 50.0,
        "return/scratch_best_gamma": 70.0 + spread(seed),
        "return/best_single_oracle": 65.0,
        "return/random_q": 20.0,
        "return/walk_planner": 98.0,
        "quality/normalised": (total - spread(seed)) / 100.0,
        "quality/over_controls": over + 0.001 * math.cos(seed),
        "seconds/query": 1e-3 * milliseconds * (1 + 0.1 * k),
        "seconds/end_to_end": 1e-3 * milliseconds * (1 + 0.1 * k),
        "seconds/library": 0.1,
        "seconds/scratch": 0.01,
        "seconds/fit": 0.0,
        "environment_steps/saved": 1e5,
        "environment_steps/library": 1e6,
    }


def coverage_rows(middles: dict[str, float], *, scratch=0.5) -> list[Row]:
    """Quality of an operator falls from 0.8 to 0 around the share that it needs."""
    return [
        {"layout_seed": seed, "trivial_layout": False, "family": "grid8", "gamma": 0.0, "cut": cut, "kept": kept}
        | {"operator": operator, "quality/normalised": 0.8 * (kept >= middle) + 0.01 * spread(seed)}
        | {"quality/scratch": scratch, "quality/best_single": 0.4, "quality/random_tables": 0.1}
        | {f"coverage/{name}": kept for name in ("library", "on_policy", "path", "value")}
        for seed in range(LAYOUTS)
        for cut in ("policy", "region")
        for operator, middle in middles.items()
        for kept in LEVELS
    ]


def thresholds(middles: dict[str, float]) -> list[Row]:
    return [
        {"family": "grid8", "gamma": 0.0, "operator": operator, "cut": cut, "layouts": LAYOUTS, "threshold": middle}
        | {"threshold/ci_low": middle - 0.05, "threshold/ci_high": middle + 0.05, "slope": 3.0, "fit": 0.9}
        for operator, middle in middles.items()
        for cut in ("policy", "region")
    ]


def predictors(scores: dict[str, float], *, half=0.05) -> list[Row]:
    """An AUC for every metric, the same for two operators."""
    return [
        {"family": "grid8", "gamma": 0.0, "operator": operator, "metric": f"coverage/{metric}", "auc": auc}
        | {"auc/ci_low": auc - half, "auc/ci_high": auc + half}
        for operator in ("sum", "plan")
        for metric, auc in scores.items()
    ]


def chain_rows(over: dict[str, dict[int, float]]) -> list[Row]:
    """Quality less scratch by operator and length, alike in all four arms and positions."""
    return [
        {"layout_seed": seed, "trivial_layout": False, "family": "grid8", "gamma": 0.99, "length": length}
        | {"position": position, "chain": chain, "shaping": shaping, "operator": operator}
        | {"over/scratch": by_length[length] + 0.005 * spread(seed), "quality/scratch": 0.5}
        | {"quality/normalised": 0.5 + by_length[length], "quality/best_single": 0.4, "quality/random_tables": 0.1}
        | {"quality/optimum_recorded": 0.9}
        for seed in range(LAYOUTS)
        for chain in ("union", "absent")
        for shaping in (1.0, 0.0)
        for operator, by_length in over.items()
        for length in by_length
        for position in (0, 1)
    ]


def curve_rows(*, last=0.7) -> list[Row]:
    """Scratch learns evenly up to a quality after 1,000 episodes."""
    return [
        {"layout_seed": seed, "family": "grid8", "setup": SETUP["setup"], "gamma": gamma, "episodes": episodes}
        | {"quality": last * episodes / 1_000 + 0.01 * spread(seed)}
        for seed in range(LAYOUTS)
        for gamma in (0.0, 0.99)
        for episodes in (250, 500, 750, 1_000)
    ]
