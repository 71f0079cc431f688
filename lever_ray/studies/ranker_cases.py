"""The rankers that a study compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lever_ray.embedding.outcome import BEHAVIOUR_KINDS, OUTCOME_BLOCKS
from lever_ray.embedding.regressor import MODELS, TARGET_TIERS, TARGETS, TERM_MODELS
from lever_ray.errors import check_known
from lever_ray.experiment.statistics import Row

BASELINES: dict[str, str] = {
    "chance": "I0",
    "own-returns": "I0",
    "recorded-return": "I2",
    "offline-return": "I3",
    "offline-prefix": "I3",
}
"""Rankers without a regressor, with their tier: the expectation of a random choice, the sum of the members' recorded
returns, and ``offline-prefix``, which is ``offline-return`` without ranking last what leaves the support."""
CASE_COLUMNS: tuple[str, ...] = ("ranker", "model", "target", "features", "without", "tier")


@dataclass(frozen=True)
class RankerCase:
    """One way to rank candidates.

    Attributes:
        ranker: ``regressor`` or a key of :data:`BASELINES`; the other attributes are the regressor's.
        model: see :data:`lever_ray.embedding.regressor.MODELS` and ``TERM_MODELS``.
        target: see :data:`lever_ray.embedding.regressor.TARGETS`.
        features: see :data:`lever_ray.embedding.outcome.BEHAVIOUR_KINDS`.
        without: keys of :data:`lever_ray.embedding.outcome.OUTCOME_BLOCKS` that are left out, for ablations.

    Raises:
        UnknownName: one of them is not known.
    """

    ranker: str
    model: str = ""
    target: str = ""
    features: str = ""
    without: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_known("ranker", self.ranker, ("regressor", *BASELINES))
        if self.learns:
            check_known("regressor model", self.model, (*MODELS, *TERM_MODELS))
            check_known("regressor target", self.target, TARGETS)
            check_known("embedding", self.features, BEHAVIOUR_KINDS)
            for block in self.without:
                check_known("block of outcome features", block, OUTCOME_BLOCKS)

    @property
    def learns(self) -> bool:
        """Whether a regressor is fitted."""
        return self.ranker == "regressor"

    @property
    def tier(self) -> str:
        """Information used, ``I0`` to ``I3``."""
        return TARGET_TIERS[self.target] if self.learns else BASELINES[self.ranker]

    def columns(self, x: np.ndarray) -> np.ndarray:
        """The features float32[K, D] that are left after an ablation."""
        dropped = {column for block in self.without for column in range(x.shape[1])[OUTCOME_BLOCKS[block]]}
        return x[:, [column for column in range(x.shape[1]) if column not in dropped]] if dropped else x

    def row(self) -> Row:
        """Its columns in a table."""
        blocks = " ".join(self.without)
        return dict(
            zip(CASE_COLUMNS, (self.ranker, self.model, self.target, self.features, blocks, self.tier), strict=True)
        )


RANKER_CASES: tuple[RankerCase, ...] = (
    *(RankerCase(name) for name in BASELINES),
    RankerCase("regressor", "hist-gradient-boosting", "own", "psi"),
    *(RankerCase("regressor", "ridge", target, kind) for target in ("own", "composite") for kind in BEHAVIOUR_KINDS),
    *(RankerCase("regressor", "additive-ridge", "own", kind) for kind in BEHAVIOUR_KINDS),
    RankerCase("regressor", "additive-ridge", "recorded", "outcome"),
    *(RankerCase("regressor", "additive-ridge", "own", "outcome", (block,)) for block in OUTCOME_BLOCKS),
)
"""Baselines, the published regressor, ridges on every target and kind of features, and each block of outcome features
left out."""
