"""A family of tasks as a program of its own would add it: rings, on which action ``a`` goes ``a`` places on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lever_ray.library.record import PolicyRecord
from lever_ray.tasks import registry
from lever_ray.tasks.kernel import GOAL, Dynamics, Rules, compiled_task
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Family, FeatureTables, Hooks, Slots, Words

NO_MEMORY = (np.uint64(0), np.uint64(0))


@dataclass(frozen=True)
class Ring:
    """A ring of places; the last one ends an episode. ``wide`` is the number of features."""

    observations: int = 6
    actions: int = 3
    wide: int = 0
    terms: tuple[str, ...] = ("near", "far")
    seed: int | None = field(default=None, compare=False)

    family, ends, horizon, discount, trivial, hooks = "ring", ("end",), 20, 0.9, False, Hooks()
    warnings = ()

    @property
    def digest(self):
        return f"ring {self.observations} {self.actions} {self.wide} {self.terms}"

    @property
    def dynamics(self):
        places = np.arange(self.observations)
        moves = ((places[:, None] + np.arange(self.actions)) % self.observations).astype(np.int32)
        flags = np.where(places == self.observations - 1, GOAL, 0).astype(np.int32)
        return Dynamics(moves, flags, np.zeros(1, np.int32), np.ones(1), NO_MEMORY)

    def admits(self, objective):
        return all(term in self.terms for term in objective.terms)

    def compile(self, objective, *, shaping=1.0):
        wanted, steps = Objective.of(objective).resolved(self.terms), np.arange(self.actions)
        pay = wanted.weight(self.terms[0]) / (1 + steps) + wanted.weight(self.terms[-1]) * steps
        rewards = np.broadcast_to(pay, (1, self.observations, self.actions)).copy()
        return compiled_task(self.dynamics, rewards, Rules(self.horizon, self.discount, NO_MEMORY))

    def features(self):
        if not self.wide:
            return None
        nothing = np.empty((self.observations, 0), np.int32)
        fixed = np.ones((self.observations, self.wide), np.float32)
        vectors, slots = np.empty((self.observations, 0, 3), np.float32), Slots(0, 0, 0, 0, first_item=self.wide)
        return FeatureTables(fixed, nothing, vectors, nothing, nothing.astype(np.float32), slots)

    def describe(self):
        return Words({term: f"Go {term}." for term in self.terms})

    def label(self, observation):
        return observation

    def action_label(self, action):
        return f"by {action}"

    def text(self, path=()):
        return ""

    def encode(self):
        plain = {name: getattr(self, name) for name in ("family", "observations", "actions", "wide", "terms")}
        return plain | ({} if self.seed is None else {"seed": self.seed})


def decode(document):
    return Ring(**{name: value for name, value in document.items() if name != "family"} | _terms(document))


def _terms(document):
    return {"terms": tuple(document["terms"])} if "terms" in document else {}


FAMILY = Family("ring", decode, {}, Ring)


def install(monkeypatch):
    """Register the family for one test."""
    monkeypatch.setitem(registry._REGISTERED, "ring", FAMILY)


def uninstall(monkeypatch):
    monkeypatch.delitem(registry._REGISTERED, "ring")


def policy(environment="ring", task=Ring(), *, objective="near", seed=0, **settings):
    """A made-up policy that has taken every action but those of place 1."""
    rng, shape = np.random.default_rng(seed), (task.observations, task.actions)
    visits = np.ones(shape, np.uint32)
    visits[1] = 0
    plain = {"description": f"ring {seed}", "q": rng.normal(size=shape), "visits": visits, "total": float(seed)}
    return PolicyRecord(environment, task, objective, **(plain | {"seed": seed} | settings))
