"""Discounted features of rollouts on which the memory stays as it was: one pass over a graph of observations."""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled
from lever_ray.embedding.classes import DIFFERENT, UNKNOWN, choice_of, look_up
from lever_ray.tasks.kernel import GOAL, TERMINAL


@compiled(nogil=True)
def add_static_features(dynamics, pool, block, operator, unmasked, gamma, roots, weights, frozen, known, totals):  # noqa: C901
    """Add up the features of frozen rollouts from all canonical observations.

    Every mixture makes walks from them, each up to an observation that is known already. The discounted mass of
    observations then flows from the last walk to the first; what enters a cycle is spread in closed form.

    Args:
        dynamics: see :class:`lever_ray.tasks.kernel.Dynamics`.
        pool: see :class:`lever_ray.embedding.offline.Pool`.
        block: see :class:`lever_ray.embedding.classes.Block`.
        operator: see :func:`lever_ray.embedding.classes.choice_of`, as for the next.
        unmasked: see there.
        gamma: discount.
        roots: int64[R], the distinct canonical observations.
        weights: float64[S], the share of canonical states with each observation.
        frozen: float32[S + 1, W], features of each observation; a row of 0 at the end.
        known: see :func:`lever_ray.embedding.classes.look_up`.
        totals: float64[K, W + 3], added to: features, then the discounted shares of the three ends.
    """
    moves, flags, _, _, _ = dynamics
    actions = pool.actions
    mixtures, _, _, _, cell_q, cell_support, _ = block
    common = known[0]
    states, width = len(flags), frozen.shape[1]
    # observations in the order in which they are met, and what follows each: one, or -1 goal, -2 trap, -3 off support
    order, following, place = np.empty(states + 3, np.int64), np.empty(states, np.int64), np.empty(states, np.int64)
    begins, cycles = np.empty(states + 1, np.int64), np.empty(states, np.int64)
    walk_of, mass, walk = np.zeros(states, np.int64), np.zeros(states + 1), 1
    total = np.empty(width, np.float32)
    for index in range(len(totals)):
        met, first_walk, mixture = 0, walk, np.uint32(index)
        for root in roots:
            if walk_of[root] >= first_walk:
                continue
            state = np.int64(root)
            begins[walk - first_walk], cycles[walk - first_walk] = met, -1
            while state >= 0:
                walk_of[state], place[state], order[met], mass[state] = walk, met, state, weights[state]
                if flags[state] & TERMINAL:
                    target = np.int64(-1 if flags[state] & GOAL else -2)
                else:
                    if common[state] == UNKNOWN:
                        look_up(pool, block, state, operator, known)
                    choice = common[state]
                    if choice == DIFFERENT:
                        choice = choice_of(
                            cell_q,
                            cell_support,
                            state,
                            mixtures,
                            mixture,
                            operator,
                            unmasked,
                            np.bool_(False),
                            actions,
                            pool.many,
                        )
                    target = np.int64(-3 if choice == actions else moves[state, choice])
                following[met] = target
                met += 1
                if target >= 0 and walk_of[target] >= first_walk:
                    if walk_of[target] == walk:
                        cycles[walk - first_walk] = place[target]
                    break
                state = target
            walk += 1
        begins[walk - first_walk] = met
        for current in range(walk - first_walk - 1, -1, -1):
            begin, end = begins[current], begins[current + 1]
            cycle = cycles[current] if cycles[current] >= 0 else end
            for position in range(begin, cycle):
                target, flow = following[position], mass[order[position]]
                if target >= 0:
                    mass[target] += gamma * flow
                else:
                    totals[index, width - 1 - target] += flow
            carried, discount = 0.0, 1.0
            for position in range(cycle, end):
                carried = gamma * (carried + mass[order[position]])
                discount *= gamma
            for position in range(cycle, end):
                mass[order[position]] += carried / (1.0 - discount) if position == cycle else gamma * flow
                flow = mass[order[position]]
        for column in range(width):
            total[column] = 0.0
        for position in range(met, met + 3):
            order[position] = states
        for position in range(0, met, 4):
            one, two, three, four = order[position], order[position + 1], order[position + 2], order[position + 3]
            first, second = np.float32(mass[one]), np.float32(mass[two])
            third, fourth = np.float32(mass[three]), np.float32(mass[four])
            for column in range(width):
                total[column] += (first * frozen[one, column] + second * frozen[two, column]) + (
                    third * frozen[three, column] + fourth * frozen[four, column]
                )
        for column in range(width):
            totals[index, column] += total[column]
