"""The data card of a benchmark: README.md of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TEMPLATE = """# lever-ray policy-reuse benchmark, format {format}

Frozen libraries of tabular policies, questions about new composite objectives, and what every candidate composition
really earns. Score a *ranker* (which candidate of a question is best?) or an *operator* (which policy results?).

## What it is

- Environments: {environments}.
- {policies:,} policies (SARSA snapshots), {questions:,} questions, {candidates:,} candidates.
- Settings: {settings}.
- Made by {made_by}, with `{command}`.
- Licence: MIT, as lever-ray. All data are simulated; no person or organisation is described.

A question asks for a composite objective in one environment. Its *groups* are the smallest exact cover of the objective
by the objectives that policies were trained for, in a *mode* (trivial: single terms; double, triple: coarser ones too).
A *candidate* takes one policy of each group. Its return is that of the greedy policy of the combined table in the
environment within the horizon, discounted as the environment evaluates (not at all on the grids): operator `sum` adds
the members' action values, each times the weight of its group's terms in the objective, `max` takes the largest.
Actions that no member of the candidate took in training are left out (where none was taken at all, none is left out);
ties go to the lowest action. Member `i` of a group is the `i`-th policy, by number, of the question's environment,
discount and the group's objective; candidates are numbered in lexicographic order.

## Files

{files}

## Tiers

What an entrant may read; a tier is a set of folders.

| tier | reads |
|---|---|
| I0 | `I0/`: action values, support, recorded returns, text |
| I1 | and `I1/`: recorded successors, starts, events |
| I2 | and `I2/`: mean recorded rewards |
| I3 | and `I3/`: the environment with its reward function |
| I4 | the same, and may try things in the environment |

`answers/` may be learnt from at every tier, the asked environment left out. An operator may use policies of the
question's `pool` alone, at the question's discount.

## Splits

`public` environments come with their answers. `private` ones ({private} of them) come without answers, without the
environment and with seeds that nobody can guess: the keeper has them, and `private_answers_sha256` in `benchmark.json`
({digest}) is the digest of the keeper's files, a random secret among them, so that they cannot be changed afterwards.

## How to score

In Python, a function of a question (`lever_ray.scoring.Question`), on the public split:

    from lever_ray.scoring import score

    def ranker(question):  # float[K]: a score for each candidate
        return sum(group.totals[column] for group, column in zip(question.groups, question.candidates.T))

    print(score("FOLDER", ranker, tier="I0").markdown())

or a file, with `lever-ray benchmark score FOLDER --predictions FILE.parquet --split public`:

- columns `question, candidate, score`: a number for every candidate of every question of the split, no NaN;
- or columns `question, actions`: a route from the start for every question.

One row with nulls says that a question is not answered; that counts as the random policy. On the private split the
keeper scores the file with `--split private --answers FOLDER`.

Measures, each the mean over layouts with a 95% studentised bootstrap interval (from 6 layouts on):

- *normalised quality* of the answer, (J - J_rand) / (J* - J_rand);
- of rankers *regret*, (best candidate - J) / (J* - J_rand), and Kendall tau-b over all candidates (left out, and
  counted as undefined, where all returns or all scores tie); the first candidate with the highest score is chosen;
- of operators by how much they are *over the best candidate* of `sum`, (J - best candidate) / (J* - J_rand);
- the share of questions *answered*.

## Known limits

- The private split guards against looking answers up and against tuning to them, for tiers I0 to I2. It is no secret
  kept from everybody: who knows an environment and its reward function (I3, I4) can compute every answer. Files of
  these tiers are therefore refused on it, and the keeper runs their code instead.
- Recorded data tell much about an environment. Action values at discount 0 are mean rewards, and recorded successors
  draw the map; whoever rebuilds a private environment from them and simulates has an I3 method, whatever tier is said.
  The tier of a file is what its maker declares; only code that the keeper runs is held to one.
- Private environments have no events, since these and the successors would be the map. An I1 method that reads events
  is scored on the public split, or by the keeper, whose environments supply them.
- J* is exact where `optimum_exact` says so (grid8); elsewhere it is the best return known, a beam search and everything
  that was measured here among it: qualities above 1 are possible.
- One family of worlds, deterministic and tabular, with policies from one learner; candidates of {training_seeds} seeds.
- `trivial_layout`: the exit lies within 3 steps of the start. Such layouts count like others.
"""

_FILES: dict[str, str] = {
    "I0/environments.parquet": "environment, split, family, observations S, actions A, horizon (steps)",
    "I0/questions.parquet": "question, environment, gamma, mode, objective, groups, pool, candidates (how many)",
    "I0/candidates.parquet": "question, candidate (number), members (an index in each group)",
    "I0/policies.parquet": "policy (number), environment, objective, gamma, seed, label, episodes, snapshot, total "
    "(recorded greedy return on the own objective), description, q (float32, S x A, row by row), support (uint8, "
    "S x ceil(A / 8); action a is bit a % 8 of byte a // 8)",
    "I1/transitions.parquet": "policy, successors (int32, S x A; -1 where the action was not taken)",
    "I1/starts.parquet": "environment, starts (observations)",
    "I1/events.parquet": "environment, events (uint8, S; bits 1 goal, 2 trap, 4 switch, 8 item); public ones only",
    "I2/rewards.parquet": "policy, mean_rewards (float32, S x A; mean recorded reward on the own objective, 0 where "
    "the action was not taken)",
    "I3/worlds.parquet": "environment, seed, document (JSON that lever-ray reads); public ones only",
    "answers/returns.parquet": "question, candidate, sum, max: true returns; public questions only",
    "answers/yardsticks.parquet": "question, optimum (J*), random (J_rand, mean of {random_rollouts} random episodes), "
    "best_single (best policy of the pool, by oracle), scratch (training on the objective itself, final policy, at the "
    "discount best there), scratch_best_snapshot, optimum_exact, trivial_layout; public questions only",
    "benchmark.json": "format, settings, sizes, tiers, digest of the private answers",
    "checksums.sha256": "of every other file; `sha256sum -c checksums.sha256`",
}


def data_card(about: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        about: content of ``benchmark.json``.
    """
    settings, sizes = about["settings"], about["sizes"]
    split = sizes["environments"]
    told = [f"{name} {_told(value)}" for name, value in settings.items()]
    columns = {name: told_of.format(random_rollouts=settings["random_rollouts"]) for name, told_of in _FILES.items()}
    return _TEMPLATE.format(
        files="\n".join(
            ["| file | columns |", "|---|---|", *(f"| `{name}` | {each} |" for name, each in columns.items())]
        ),
        format=about["format"],
        environments=f"{split['public']} public, {split['private']} private; families {_told(settings['families'])}",
        policies=sizes["policies"],
        questions=sizes["questions"],
        candidates=sizes["candidates"],
        settings="; ".join(told),
        made_by=about["made_by"],
        command=about["command"],
        private=split["private"],
        digest=about["private_answers_sha256"] or "none here",
        training_seeds=settings["training_seeds"],
    )


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join("/".join(map(str, each)) if isinstance(each, list | tuple) else f"{each}" for each in value)
    return str(value)
