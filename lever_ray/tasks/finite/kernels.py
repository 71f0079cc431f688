"""Compiled loops over explicit arrays: optimal values, episodes, reachability, and cycles that pay.

All take a task's choices: ``targets`` int32[S, A], the observation that follows; ``pays`` float64[S, A], the reward,
-inf where the action may not be taken, as no action may in a terminal observation. Where there is none, the return so
far counts: the value is 0.
"""

from __future__ import annotations

import numpy as np

from lever_ray.compiling import compiled

ROUNDING = 16 * 2.3e-16
"""Relative error that sums of a few float64 are taken to have."""
CIRCLE_ROUNDING = 1e-6
"""What a move of a circle may pay that counts as 0, relative to the largest reward: rewards are float32."""


@compiled(nogil=True)
def _improve(targets, pays, values, policy, discount, forward, least):
    """One Gauss-Seidel sweep: ``(largest change of a value, actions changed)``, the latter for more than ``least``."""
    residual, changed, states = 0.0, 0, len(policy)
    for place in range(states):
        state = place if forward else states - 1 - place
        highest, choice = -np.inf, 0
        for action in range(pays.shape[1]):
            outcome = pays[state, action] + discount * values[targets[state, action]]
            if outcome > highest:
                highest, choice = outcome, action
        if highest == -np.inf:
            continue
        held = np.int64(policy[state])
        if highest > pays[state, held] + discount * values[targets[state, held]] + least:
            policy[state] = choice
            changed += 1
        residual = max(residual, abs(highest - values[state]))
        values[state] = highest
    return residual, changed


@compiled(nogil=True)
def _evaluate(targets, pays, policy, discount, values, mark, stack):
    """Write the exact infinite-horizon values of a policy, its cycles closed."""
    states = len(policy)
    mark[:] = 0
    for root in range(states):
        state, depth = np.int64(root), 0
        while mark[state] == 0 and pays[state, policy[state]] > -np.inf:
            mark[state] = 1
            stack[depth] = state
            depth += 1
            state = np.int64(targets[state, policy[state]])
        entry = state if mark[state] == 1 else -1
        if entry >= 0:
            total, weight, visited = 0.0, 1.0, entry
            while True:
                total += weight * pays[visited, policy[visited]]
                weight *= discount
                visited = targets[visited, policy[visited]]
                if visited == entry:
                    break
            values[entry] = total / (1.0 - weight)
        while depth > 0:
            depth -= 1
            state = stack[depth]
            mark[state] = 2
            if state != entry:
                values[state] = pays[state, policy[state]] + discount * values[targets[state, policy[state]]]


@compiled(nogil=True)
def iterate(targets, pays, discount, most_residual, most_sweeps):
    """Infinite-horizon value iteration, below discount 1; between its sweeps the greedy policy is evaluated exactly.

    A sweep contracts towards the optimal values as plain value iteration does, wherever it begins, so that its residual
    bounds the error; beginning with the values of a policy saves most of the sweeps.

    Returns:
        ``(values float64[S], policy uint8[S], error bound, sweeps)``.
    """
    states = len(targets)
    values, policy = np.zeros(states), np.zeros(states, np.uint8)
    mark, stack = np.empty(states, np.uint8), np.empty(states, np.int32)
    residual, rounding, sweeps = np.inf, 0.0, 0
    while sweeps < most_sweeps:
        residual, changed = _improve(targets, pays, values, policy, discount, sweeps % 2 == 1, rounding)
        sweeps += 1
        if residual <= most_residual or (changed == 0 and sweeps > 1):
            break
        _evaluate(targets, pays, policy, discount, values, mark, stack)
        largest = 0.0
        for value in values:
            if abs(value) > largest:
                largest = abs(value)
        rounding = ROUNDING * largest
    return values, policy, (residual + rounding) * discount / (1.0 - discount), sweeps


@compiled(nogil=True)
def induct(targets, pays, discount, horizon, most):
    """Backward induction; an action is kept from one stage to the next where none is better.

    Returns:
        ``(values float64[S], after float64[S], choices uint8[K, S], done)``: values with all steps to go and with one
        less; the actions with 1 to K steps to go, and with more the last. K is below the horizon where values stopped
        changing, or where ``most`` stages were made and it is not done.
    """
    states, stages, done = len(targets), 0, False
    values, before = np.zeros(states), np.zeros(states)
    choices = np.empty((min(horizon, most), states), np.uint8)
    while stages < len(choices) and not done:
        moved = False
        for state in range(states):
            highest, choice = -np.inf, np.int64(0)
            if stages > 0:
                choice = np.int64(choices[stages - 1, state])
                highest = pays[state, choice] + discount * before[targets[state, choice]]
            for action in range(pays.shape[1]):
                outcome = pays[state, action] + discount * before[targets[state, action]]
                if outcome > highest:
                    highest, choice = outcome, np.int64(action)
            values[state] = 0.0 if highest == -np.inf else highest
            moved |= values[state] != before[state]
            choices[stages, state] = choice
        stages += 1
        done = stages == horizon or not moved
        values, before = before, values
    return before, values, choices[:stages], done


@compiled(nogil=True)
def follow(targets, pays, choices, start, horizon, discount, actions):
    """One episode under uint8[K, S], actions by steps to go: ``(return, steps)``; writes int16[horizon]."""
    state, total, weight, time, stages = np.int64(start), 0.0, 1.0, 0, len(choices)
    while time < horizon:
        action = np.int64(choices[min(horizon - time, stages) - 1, state])
        if pays[state, action] == -np.inf:
            break
        total += weight * pays[state, action]
        weight *= discount
        actions[time] = action
        state = np.int64(targets[state, action])
        time += 1
    return total, time


@compiled(nogil=True)
def expected(targets, pays, choices, starts, weights, horizon, discount):
    """Expected return over the starts, see :func:`follow`."""
    actions, total = np.empty(horizon, np.int16), 0.0
    for place in range(len(starts)):
        earned, _ = follow(targets, pays, choices, np.int64(starts[place]), horizon, discount, actions)
        total += weights[place] * earned
    return total


@compiled()
def steps_from(moves, terminal, starts):
    """int32[S]: fewest steps to each observation from the nearest start; -1 where there is no way."""
    steps, queue = np.full(len(moves), -1, np.int32), np.empty(len(moves), np.int32)
    head, tail = 0, 0
    for start in starts:
        steps[start] = 0
        queue[tail] = start
        tail += 1
    while head < tail:
        state = queue[head]
        head += 1
        if terminal[state]:
            continue
        for action in range(moves.shape[1]):
            after = moves[state, action]
            if steps[after] < 0:
                steps[after] = steps[state] + 1
                queue[tail] = after
                tail += 1
    return steps


@compiled()
def _looping(targets, policy, mark):
    """An observation on a cycle of int16[S], -1 for no action; -1 where there is none."""
    mark[:] = 0
    for root in range(len(policy)):
        state = np.int64(root)
        while mark[state] == 0 and policy[state] >= 0:
            mark[state] = root + 1
            state = np.int64(targets[state, policy[state]])
        if mark[state] == root + 1:
            return state
    return -1


@compiled()
def paying_cycle(targets, pays):
    """A cycle whose rewards sum to more than 0: ``(observation, action, sum)`` of it; -1, -1, 0 where there is none.

    Bellman and Ford's way: best sums of paths are raised until none grows; a cycle of actions that raised them pays.
    """
    states, largest = len(targets), 0.0
    for pay in pays.flat:
        largest = max(largest, abs(pay)) if pay > -np.inf else largest
    values, policy, mark = np.zeros(states), np.full(states, -1, np.int16), np.empty(states, np.int32)
    for sweep in range(states + 1):
        grown = False
        for place in range(states):
            state = place if sweep % 2 else states - 1 - place
            for action in range(pays.shape[1]):
                outcome = pays[state, action] + values[targets[state, action]]
                if outcome > values[state] + CIRCLE_ROUNDING * largest:
                    values[state], policy[state], grown = outcome, action, True
        if not grown:
            break
        found = _looping(targets, policy, mark)
        if found >= 0:
            total, after = 0.0, np.int64(found)
            while True:
                total += pays[after, policy[after]]
                after = np.int64(targets[after, policy[after]])
                if after == found:
                    return found, np.int64(policy[found]), total
    return -1, -1, 0.0
