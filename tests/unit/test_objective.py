"""Objectives: as they are written, resolved against a family's terms, weights, ids."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lever_ray.errors import InvalidValue, UnknownName
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.objective import Objective

TREASURE = ("treasure", "time", "fuel_used")


@given(st.lists(st.sampled_from(TERMS), min_size=1))
def test_order_case_and_repetition_of_terms_do_not_matter_once_resolved(terms):
    objective = Objective.of("-".join(terms).upper()).resolved(TERMS)
    assert objective == Objective.of(terms).resolved(TERMS) == Objective.of(objective.name).resolved(TERMS)
    assert objective.terms == tuple(term for term in TERMS if term in terms)
    assert objective.id == objective.name == str(objective)
    assert objective.resolved(TERMS) is objective


def test_an_objective_keeps_the_order_as_written_until_a_family_says_otherwise():
    written = Objective.of("fuel_used-treasure", weights={"treasure": 2})
    assert written.terms == ("fuel_used", "treasure")
    assert written.resolved(TREASURE).id == "treasure-fuel_used[2,1]"
    assert written.same(written.resolved(TREASURE))
    assert not written.same(Objective.of("fuel_used-treasure"))


def test_weights_show_in_the_id_and_override_those_of_an_objective():
    weighted = Objective.of("path-gold", weights={"gold": 2.5})
    assert (weighted.name, weighted.id) == ("path-gold", "path-gold[1,2.5]")
    assert (weighted.weight("gold"), weighted.weight("path"), weighted.weight("lever")) == (2.5, 1.0, 0.0)
    assert Objective.of(weighted) is weighted
    assert Objective.of(weighted, weights={"path": 3}).weights == (3.0, 1.0)
    assert Objective.of("path-gold[1,2.5]", weights={"path": 3}).weights == (3.0, 1.0)


@pytest.mark.parametrize("weight", [1.0000001, 1.0000002, 0.1, 1 / 3, 1e-7, -2.0, 123456789.0, 1e20, 5e-324])
def test_an_objectives_id_tells_weights_apart_and_can_be_read_back(weight):
    first = Objective.of("path-gold", weights={"gold": weight})
    assert Objective.of(first.id) == first
    assert first.id != Objective.of("path-gold", weights={"gold": math.nextafter(weight, 2)}).id
    assert Objective.of("path", weights={"path": 2.0}).id == "path[2]"


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"gold": 1.0}, "for term 'gold', which objective 'path-lever' lacks"),
        ({"path": math.nan}, "finite"),
        ({"lever": math.inf}, "finite"),
        ({"path": 0.0, "lever": 0.0}, "not all zero"),
    ],
)
def test_bad_weights_are_refused(weights, message):
    with pytest.raises(InvalidValue, match=message):
        Objective.of("path-lever", weights=weights)


@pytest.mark.parametrize("identity", ["path-gold[1]", "path-gold[1,2,3]", "path-gold[1,much]"])
def test_an_id_needs_one_number_per_term(identity):
    with pytest.raises(InvalidValue, match="does not have one number per term in its brackets"):
        Objective.of(identity)


@pytest.mark.parametrize("value", [[], "", "path--gold", "fuel used", "2nd"])
def test_what_names_no_terms_is_refused(value):
    with pytest.raises(InvalidValue, match=r"at least one term|terms are letters, digits and _"):
        Objective.of(value)


@pytest.mark.parametrize(("name", "nearest"), [("path-glod", "gold"), ("hazards", "hazard")])
def test_an_unknown_term_names_the_nearest_match(name, nearest):
    with pytest.raises(UnknownName, match=f"Did you mean '{nearest}'.*Asked for objective '{name}'"):
        Objective.of(name).resolved(TERMS)


def test_unknown_names_survive_pickling_between_processes():
    with pytest.raises(UnknownName) as caught:
        Objective.of("glod").resolved(TERMS)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (type(copy), str(copy), copy.known) == (UnknownName, str(caught.value), TERMS)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("path-gold", {"gold": 2, "path": 2}, True),
        ("path-gold[1,2.5]", "gold-path[5,2]", True),
        ("path-gold[1,2.5]", "path-gold", False),
        ("path-gold", "path", False),
        ("path-gold[1,-1]", "path-gold[-1,1]", False),
        ("path-gold[1,-1]", "path-gold[3,-3]", True),
    ],
)
def test_objectives_that_want_the_same_are_alike(one, other, alike):
    assert Objective.of(one).is_alike(Objective.of(other)) is alike


def test_a_mapping_is_terms_with_weights():
    assert Objective.of({"gold": 2, "path": 1}).resolved(TERMS).id == "path-gold[1,2]"
    assert Objective.of({"gold": 1, "path": 1}).resolved(TERMS).id == "path-gold"
    with pytest.raises(InvalidValue, match="finite, and not all zero"):
        Objective.of({"gold": 0})
    with pytest.raises(InvalidValue, match="at least one term"):
        Objective.of({})
    with pytest.raises(InvalidValue, match="weight of 'gold' is 'much'"):
        Objective.of({"gold": "much"})
