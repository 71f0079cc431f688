"""A small library of trained policies, and one query of it."""

import lever_ray as lever
from lever_ray.building.records import records_of
from lever_ray.learning.sarsa import train
from lever_ray.library.library import PolicyLibrary
from lever_ray.tasks.gridworld.layout import Layout, LayoutFamily

TINY = LayoutFamily("tiny", 5, 3, 3, 2)
OBJECTIVES = ("path", "gold", "hazard", "lever", "path-gold")
FOUR = "path-gold-hazard-lever"


def make_library(path):
    """Three environments with two training seeds, and so six policies, for each of five objectives."""
    made = PolicyLibrary.create(path)
    for layout in (Layout.sample(TINY, seed=seed) for seed in range(3)):
        for objective in OBJECTIVES:
            for seed in range(2):
                run = train(layout, objective=objective, episodes=150, seed=seed, snapshot_every=50)
                made.add(records_of(run, environment=layout.name, description=objective))
    return made


def composed(library, **settings):
    given = {"environment": "tiny-0", "objective": FOUR, "ranker": "offline-return"} | settings
    if "query" in settings:
        given.pop("objective")
        return lever.compose(library, given.pop("query"), **given)
    return lever.compose(library, **given)


def members(library, result):
    """The chosen policies' records, group by group."""
    held = {record.id: record for record in library.select(environment=result.environment)}
    return [held[identity] for identity in result.policy_ids]
