"""Slow, obviously right twins of the search over options: plain Python, full states as tuples, routes as tuples.

A move is the kernel's own (other twins hold it to the science page); segments, loops, merging and levels are told anew.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from lever_ray.embedding.offline import ENDED_BADLY, ENDED_WELL, LEFT_SUPPORT, TRUNCATED
from lever_ray.tasks.kernel import GOAL, TERMINAL, nearest_item, step

UNFINISHED = 4


@dataclass(frozen=True)
class Node:
    """Where a route has come to; ``route`` holds the members, ``begins`` and ``whys`` what the report tells."""

    state: int
    memory: tuple
    paid: int
    time: int = 0
    total: float = 0.0
    weight: float = 1.0
    route: tuple = ()
    begins: tuple = ()
    whys: tuple = ()

    @property
    def full(self):
        return self.state, self.memory, self.paid

    @property
    def rank(self):
        return -self.total, self.time, len(self.route), self.route


class OptionTwin:
    """Segments of one task and table of actions, and the search over them."""

    def __init__(self, task, actions, *, events=None, toward=None, horizon=None):
        self.task, self.actions, self.toward = task, actions, toward
        self.events = np.zeros(task.moves.shape, np.uint64) if events is None else events
        self.horizon = task.rules.horizon if horizon is None else horizon
        self.followed = 0

    def first(self, start):
        items, switch = start.memory
        return Node(start.observation, (int(items), int(switch)), start.paid)

    def may_act(self, node, member):
        return self.actions[member, node.state] >= 0

    def moved(self, node, action):
        """``(node, flag)`` after one move."""
        memory = np.uint64(node.memory[0]), np.uint64(node.memory[1])
        close = nearest_item(self.task.near, node.state, memory)
        arguments = (*self.task[:4], self.task.rules, node.state, memory, close, action)
        state, (items, switch), _, reward, flag = step(*arguments)
        after = replace(
            node,
            state=int(state),
            memory=(int(items), int(switch)),
            time=node.time + 1,
            total=node.total + node.weight * reward,
            weight=node.weight * self.task.rules.discount,
        )
        return after, int(flag)

    def segment(self, node, member, *, cut=0, choose=False, through=False):
        """``(why, end, node)``: a member followed until something happens; a loop is walked to the horizon."""
        begun = node.time
        met = [node.full]
        node = replace(node, route=(*node.route, member), begins=(*node.begins, begun))

        def result(why, end, node):
            return why, end, replace(node, whys=(*node.whys, why))

        looping = False
        while True:
            action = int(self.actions[member, node.state])
            if action < 0:
                return result("off-support", LEFT_SUPPORT, node)
            before, pays = node, int(self.events[node.state, action])
            node, flag = self.moved(node, action)
            self.followed += not looping
            if flag & TERMINAL:
                return result("end", ENDED_WELL if flag & GOAL else ENDED_BADLY, node)
            if node.time == self.horizon:
                return result("loop" if looping else "horizon", TRUNCATED, node)
            happened = node.memory != before.memory or pays & ~node.paid
            node = replace(node, paid=node.paid | pays)
            if happened and not through:
                return result("event", None, node)
            if not through and node.time - begun == cut:
                return result("cut", None, node)
            if node.full in met and not looping:
                if choose and not through:
                    return result("cycle", None, node)
                looping, cut = True, 0
            met.append(node.full)

    def search(self, start, rules):
        """``(end, node, simulated, cut_short)`` of the beam."""
        self.left, self.simulated, self.followed = rules.segments or float("inf"), 0, 0
        self.timed = rules.merge == "pareto" or self.task.rules.discount < 1
        begin = self.first(start)
        self.ended, self.begun, self.off = [], [], []
        self.reached, kept, level = {self.key(begin): begin}, [begin], [begin]
        try:
            while level:
                level = self.next_level(level, rules)
                kept += level
            self.follow_for_good(kept)
            cut_short = False
        except OutOfBudget:
            cut_short = True
        if not self.ended and cut_short:
            self.ended = [(UNFINISHED, node) for node in self.begun] or [(UNFINISHED, begin)]
        end, node = min(self.ended or self.off, key=lambda found: found[1].rank)
        return end, node, self.simulated, cut_short

    def key(self, node):
        return (*node.full, node.time if self.timed else 0)

    def simulate(self, *arguments, **settings):
        if self.simulated == self.left:
            raise OutOfBudget
        self.simulated += 1
        return self.segment(*arguments, **settings)

    def next_level(self, level, rules):
        fresh = {}
        for node in level:
            able = [member for member in range(len(self.actions)) if self.may_act(node, member)]
            if not able:
                self.off.append((LEFT_SUPPORT, node))
            for member in able:
                _, end, after = self.simulate(node, member, cut=rules.cut, choose=rules.cycles == "choose")
                if end is not None:
                    (self.off if end == LEFT_SUPPORT else self.ended).append((end, after))
                    continue
                key = self.key(after)
                if key in self.reached and self.reached[key].rank <= after.rank:
                    continue
                self.reached[key] = fresh[key] = after
                self.begun.append(after)
        crowded = 0 < rules.width < len(fresh) and rules.estimate == "exit"
        ranked = sorted(fresh.values(), key=self.promise if crowded else lambda node: node.rank)
        return ranked[: rules.width or None]

    def promise(self, node):
        """The rank of a choice point by what leaving from it would score."""
        after, flag = node, 0
        while not flag & TERMINAL and after.time < self.horizon and self.toward[after.state] >= 0:
            after, flag = self.moved(after, int(self.toward[after.state]))
        return -after.total, *node.rank[1:]

    def follow_for_good(self, kept):
        for node in sorted(kept, key=lambda node: -node.total):
            if self.ended:
                return
            for member in range(len(self.actions)):
                if self.may_act(node, member):
                    _, end, after = self.simulate(node, member, through=True)
                    (self.off if end == LEFT_SUPPORT else self.ended).append((end, after))


class OutOfBudget(Exception):
    """No segment is left."""


def best_of_all(task, actions, start, *, events=None, cut=0, choose=False):
    """The highest return of any sequence of segments that ends; minus infinity where none does."""
    twin = OptionTwin(task, actions, events=events, horizon=start.steps)

    @cache
    def best(state, memory, paid, time):
        found = [-np.inf]
        for member in range(len(actions)):
            node = Node(state, memory, paid, time)
            if not twin.may_act(node, member):
                continue
            _, end, after = twin.segment(node, member, cut=cut, choose=choose)
            if end is None:
                found.append(after.total + after.weight * best(*after.full, after.time))
            elif end != LEFT_SUPPORT:
                found.append(after.total)
        return max(found)

    begin = twin.first(start)
    return best(*begin.full, 0)


def every_action(world):
    """int16[A, S]: a member for each action, which it takes wherever it is."""
    return np.repeat(np.arange(world.actions, dtype=np.int16)[:, None], world.observations, axis=1)
