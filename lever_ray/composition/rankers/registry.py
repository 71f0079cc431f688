"""The rankers by name."""

from __future__ import annotations

from lever_ray.composition.rankers.offline_return import OfflineReturn
from lever_ray.composition.rankers.protocol import Ranker
from lever_ray.composition.rankers.recorded_return import RecordedReturn
from lever_ray.composition.rankers.regressor import Regressor

RANKERS: dict[str, Ranker] = {ranker.name: ranker for ranker in (Regressor(), RecordedReturn(), OfflineReturn())}
"""``regressor`` predicts from the embedding; ``recorded-return`` adds up mean recorded rewards along the rollout;
``offline-return`` simulates on recorded transitions with the known reward function."""
