"""Which groups are meant by an objective, and which environments speak of the same terms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from lever_ray.errors import InvalidValue
from lever_ray.policies.group import GroupKey
from lever_ray.tasks.objective import Objective

Terms = tuple[str, ...]


def matching(
    keys: Sequence[GroupKey], objective: Objective | str | None, more: Callable[[], Collection[Terms]]
) -> list[GroupKey]:
    """Those of some groups whose objective is a given one, in whatever order its terms are written; None for all.

    Args:
        keys: the groups.
        objective: which is meant.
        more: gives further terms that are known, where no group has a term.

    Raises:
        InvalidValue: it is no objective.
        UnknownName: nothing has one of its terms.
    """
    if objective is None:
        return list(keys)
    wanted = Objective.of(objective)
    held = {name: Objective.of(name) for name in {key.objective for key in keys} if name}
    if not any(wanted.same(other) for other in held.values()):
        known = dict.fromkeys(term for terms in terms_of(keys) for term in terms)
        if not known.keys() >= set(wanted.terms):
            known |= dict.fromkeys(term for terms in more() for term in terms)
        wanted.resolved(tuple(known))
    return [key for key in keys if key.objective and wanted.same(held[key.objective])]


def terms_of(keys: Sequence[GroupKey]) -> set[Terms]:
    """The terms of every objective that some groups have."""
    return {Objective.of(name).terms for name in {key.objective for key in keys} if name}


def only_terms(found: Collection[Terms]) -> Terms:
    """The terms that all environments have; none where there is no environment.

    Raises:
        InvalidValue: they differ.
    """
    if len(found) > 1:
        told = "; ".join(", ".join(terms) for terms in sorted(found)[:3])
        raise InvalidValue(f"the library's environments have different reward terms ({told}); say terms=")
    return next(iter(found), ())
