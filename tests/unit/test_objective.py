"""Objectives: terms, weights, ids."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.tasks.objective import TERMS, Objective, objective_of


@given(st.lists(st.sampled_from(TERMS), min_size=1))
def test_order_case_and_repetition_of_terms_do_not_matter(terms):
    objective = Objective.of("-".join(terms).upper())
    assert objective == Objective.of(terms) == Objective.of(objective.name)
    assert objective.terms == tuple(term for term in TERMS if term in terms)
    assert objective.id == objective.name == str(objective)


def test_weights_show_in_the_id_and_override_those_of_an_objective():
    weighted = Objective.of("gold-path", weights={"gold": 2.5})
    assert (weighted.name, weighted.id) == ("path-gold", "path-gold[1,2.5]")
    assert (weighted.weight("gold"), weighted.weight("path"), weighted.weight("lever")) == (2.5, 1.0, 0.0)
    assert Objective.of(weighted) is weighted
    assert Objective.of(weighted, weights={"path": 3}).weights == (3.0, 1.0)


@pytest.mark.parametrize("weight", [1.0000001, 1.0000002, 0.1, 1 / 3, 1e-7, 123456789.0, 1e20, 5e-324])
def test_an_objectives_id_tells_weights_apart_and_can_be_read_back(weight):
    first = Objective.of("path-gold", weights={"gold": weight})
    assert objective_of(first.id) == first
    assert first.id != Objective.of("path-gold", weights={"gold": math.nextafter(weight, 2)}).id
    assert Objective.of("path", weights={"path": 2.0}).id == "path[2]"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"gold": 1.0}, "for term 'gold', which objective 'path-lever' lacks"),
        ({"path": -1.0}, r"are \[-1.0, 1.0\]; they must be finite"),
        ({"path": math.nan}, "finite"),
        ({"lever": math.inf}, "finite"),
        ({"path": 0.0, "lever": 0.0}, "not all zero"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(InvalidValue, match=message):
        Objective.of("path-lever", weights=weights)


def test_an_objective_without_terms_is_refused():
    with pytest.raises(InvalidValue, match="at least one term"):
        Objective.of([])


@pytest.mark.parametrize(("name", "nearest"), [("path-glod", "gold"), ("hazards", "hazard")])
def test_an_unknown_term_names_the_nearest_match(name, nearest):
    with pytest.raises(UnknownName, match=f"Did you mean '{nearest}'.*Asked for objective '{name}'"):
        Objective.of(name)


def test_unknown_names_survive_pickling_between_processes():
    with pytest.raises(UnknownName) as caught:
        Objective.of("glod")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (type(copy), str(copy), copy.known) == (UnknownName, str(caught.value), TERMS)
