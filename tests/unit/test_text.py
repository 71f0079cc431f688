"""Query parser: what is read from a text, what is refused, and what the refusal says."""

import itertools
import json
from pathlib import Path

import pytest

from lever_ray.errors import InvalidValue, UnknownName, UnmatchedQuery
from lever_ray.query.parse import parse_query
from lever_ray.tasks.gridworld.terrain import TERMS
from lever_ray.tasks.gridworld.words import WORDS
from lever_ray.tasks.objective import Objective
from lever_ray.tasks.protocol import Words

ROOT = Path(__file__).parents[2]
QUERIES = json.loads((ROOT / "benchmarks" / "data" / "queries.json").read_text(encoding="utf-8"))
OBJECTIVES = ["-".join(terms) for size in range(1, 5) for terms in itertools.combinations(TERMS, size)]


def read(text: str) -> str | None:
    try:
        return parse_query(text).objective
    except UnmatchedQuery:
        return None


# Descriptions.


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_description_of_an_objective_parses_back_to_it(objective: str) -> None:
    assert parse_query(WORDS.describe(objective)).objective == objective


def test_descriptions_read_as_sentences() -> None:
    assert WORDS.describe("gold") == "Collect as much gold as possible."
    assert WORDS.describe("hazard-gold") == "Collect as much gold as possible and avoid hazards at all cost."
    assert WORDS.describe(Objective.of("path-lever-gold")) == (
        "Reach the exit as fast as possible, collect as much gold as possible and activate the lever."
    )


def test_an_unknown_objective_has_no_description() -> None:
    with pytest.raises(UnknownName, match="'silver'"):
        WORDS.describe("path-silver")


# What is read.


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("Find the fastest exit", "path"),
        ("Find the fastest exit, collect as much gold as possible", "path-gold"),
        ("Find the fastest exit after activating the lever", "path-lever"),
        (
            "Find the fastest exit, collect as much gold as possible, avoid hazards at all cost",
            "path-gold-hazard",
        ),
        (
            "Find the fastest exit after activating the lever, collect as much gold as possible, "
            "avoid hazards at all cost",
            "path-gold-hazard-lever",
        ),
        ("grab the gold and keep away from hazards", "gold-hazard"),
    ],
)
def test_the_published_queries_are_read(text: str, objective: str) -> None:
    assert parse_query(text).objective == objective
    assert parse_query(text.upper()).objective == objective


@pytest.mark.parametrize("half", ["tuning", "held-out"])
def test_nine_queries_in_ten_are_read_right(half: str) -> None:
    entries = [entry for entry in QUERIES if entry["half"] == half]
    mistakes = [entry["text"] for entry in entries if read(entry["text"]) != entry["expected"]]
    assert len(entries) >= 80
    assert len(mistakes) <= len(entries) // 10, mistakes


def test_words_that_no_phrase_lists_name_nothing() -> None:
    with pytest.raises(UnmatchedQuery, match="none of its words is among theirs; say which of path, gold"):
        parse_query("speedrun it")
    assert parse_query("speedrun it for gold").objective == "gold"


def test_a_text_that_lacks_a_word_of_a_phrase_scores_less() -> None:
    whole, part = (parse_query(text, words=DEEP_SEA).closest for text in ("save fuel", "fuel"))
    assert (whole.score, whole.phrase) == (1.0, "save fuel")
    assert part.score == pytest.approx(2**-0.5)


def test_the_order_of_terms_is_canonical_and_that_of_clauses_is_the_text_s() -> None:
    parsed = parse_query("pull the lever, avoid lava, grab the gold; exit")
    assert parsed.objective == "path-gold-hazard-lever"
    assert [clause.term for clause in parsed.clauses] == ["lever", "hazard", "gold", "path"]
    assert [clause.text for clause in parsed.clauses] == ["pull lever", "avoid lava", "grab gold", "exit"]


def test_one_clause_may_name_several_terms() -> None:
    parsed = parse_query("take the shortest safe path to the gold")
    assert parsed.objective == "path-gold-hazard"
    assert len({clause.text for clause in parsed.clauses}) == 1


def test_a_clause_that_names_nothing_is_kept_without_a_term() -> None:
    parsed = parse_query("walk around the map, then collect the coins")
    unmatched, gold = parsed.clauses
    assert (unmatched.term, gold.term) == (None, "gold")
    assert unmatched.score < 0.6 <= gold.score
    assert not unmatched.negated
    assert parsed.closest == gold
    assert gold.margin > 0


def test_equal_texts_give_equal_results() -> None:
    text = "hurry to the exit, but never step into lava"
    assert parse_query(text) == parse_query(text)


# Negation.


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("find the exit but ignore the gold", "path"),
        ("take the gold and leave the lever alone", "gold"),
        ("reach the exit without the gold or the lever", "path"),
        ("ignore the gold and the lever, stay alive", "hazard"),
        ("the gold is not important, exit quickly", "path"),
        ("nothing but gold", "gold"),
        ("everything except the gold: exit, lever", "path-lever"),
        ("don't ignore the gold", "gold"),
        ("leave no coin behind", "gold"),
        ("don't leave without pulling the lever", "lever"),
        ("don't waste time", "path"),
    ],
)
def test_a_negation_reaches_what_it_governs(text: str, objective: str) -> None:
    assert parse_query(text).objective == objective


@pytest.mark.parametrize(
    "text",
    [
        "avoid hazards",
        "never step into lava",
        "don't touch the traps",
        "stay away from danger",
        "no matter what, don't die",
        "mind the lava",
        "dont fall in the fire",
    ],
)
def test_a_hazard_is_asked_for_by_naming_what_to_fear(text: str) -> None:
    assert parse_query(text).objective == "hazard"


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("ignore the gold", "gold"),
        ("don't bother with the lever", "lever"),
        ("no need to hurry", "path"),
        ("hazards don't matter", "hazard"),
        ("you need not avoid the lava", "hazard"),
        ("jump into the lava", "hazard"),
        ("take your time", "path"),
        ("no gold, no lever", "gold, lever"),
        ("ignore the gold, the lever and the hazards", "gold, hazard, lever"),
        ("gold no", "gold"),
    ],
)
def test_a_query_that_only_leaves_out_is_refused(text: str, term: str) -> None:
    with pytest.raises(UnmatchedQuery, match=rf"only says what to leave out \({term}\); .*objective="):
        parse_query(text)


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("escape, but ignore the gold, the lever and the hazards", "path"),
        ("ignore gold, lever, and hazards; find the exit", "path"),
        ("ignore the gold, the exit and the lever: just stay safe", "hazard"),
        ("do not touch the gold, the lever and the coins, only escape", "path"),
        ("don't collect gold, coins or treasure, get out fast", "path"),
        ("find the exit fast, no gold, lever or anything", "path"),
        ("avoid the lava, the spikes and the gold, pull the lever", "hazard-lever"),
        ("avoid lava, spikes and pits, then grab the gold", "gold-hazard"),
        ("don't forget the gold, the lever and the exit", "path-gold-lever"),
        ("leave the gold, the lever and the treasure alone, escape", "path"),
    ],
)
def test_a_negation_reaches_every_thing_of_a_list(text: str, objective: str) -> None:
    assert parse_query(text).objective == objective


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("don't die, gold and lever", "gold-hazard-lever"),
        ("no lava, gold and lever", "gold-hazard-lever"),
        ("without wasting time, get the gold and the lever", "path-gold-lever"),
        ("ignore the gold, pull the lever and exit", "path-lever"),
        ("ignore the gold, then the lever and the exit", "path-lever"),
        ("skip the gold, the exit is all that matters", "path"),
        ("the gold is not important, the lever and the exit are", "path-lever"),
        ("gold, lever and exit, no hazards", "path-gold-hazard-lever"),
    ],
)
def test_a_comma_that_is_not_of_a_list_ends_the_reach_of_a_negation(text: str, objective: str) -> None:
    assert parse_query(text).objective == objective


def test_a_list_under_a_negation_is_one_clause() -> None:
    parsed = parse_query("exit, ignore the gold, the lever and the hazards")
    left_out = [clause for clause in parsed.clauses if clause.negated]
    assert [clause.term for clause in left_out] == ["gold", "hazard", "lever"]
    assert {clause.text for clause in left_out} == {"ignore gold or lever or hazards"}


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("lever yes, gold no", "lever"),
        ("gold no and lever yes", "lever"),
        ("lever yes gold no", "lever"),
        ("lever: yes, gold: no", "lever"),
        ("lever - yes, gold - no", "lever"),
        ("Gold? No. Lever? Yes.", "lever"),
        ("hazards no, exit yes, gold not", "path-hazard"),
        ("yes, grab the gold", "gold"),
        ("no, grab the gold", "gold"),
        ("take the gold, no?", "gold"),
        ("say no to gold and find the exit", "path"),
    ],
)
def test_yes_and_no_answer_the_thing_before_them(text: str, objective: str) -> None:
    assert parse_query(text).objective == objective


def test_what_is_left_out_is_marked() -> None:
    gold, lever = parse_query("pull the lever but skip the coins").clauses[::-1]
    assert (gold.term, gold.negated, lever.term, lever.negated) == ("gold", True, "lever", False)


# Refusals.


@pytest.mark.parametrize("text", ["what is the weather in Paris", "write me a poem", "12345", "asdf qwer"])
def test_an_unrelated_text_is_refused_with_what_to_say(text: str) -> None:
    with pytest.raises(UnmatchedQuery) as refusal:
        parse_query(text)
    message = str(refusal.value)
    assert repr(text) in message
    assert "none of its words is among theirs" in message
    assert "say which of path, gold, hazard and lever to pursue" in message
    assert "objective='gold-hazard'" in message


def test_a_word_of_the_vocabulary_in_a_text_off_the_subject_is_not_enough() -> None:
    with pytest.raises(UnmatchedQuery, match=r"Closest is 'gold' .* below the threshold 0\.6, where 38% of"):
        parse_query("gold medal winners at the olympics")


@pytest.mark.parametrize("text", ["", "   ", "\n", "?!", "and the"])
def test_a_text_without_words_is_refused(text: str) -> None:
    with pytest.raises(UnmatchedQuery, match="no words to go by"):
        parse_query(text)


def test_a_very_long_text_is_refused_and_not_repeated_in_full() -> None:
    with pytest.raises(InvalidValue, match="has 4500 characters; at most 2000") as refusal:
        parse_query("the gold " * 500)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_outside_its_domain_is_refused(threshold: float) -> None:
    with pytest.raises(InvalidValue, match=rf"threshold is {threshold}"):
        parse_query("gold", threshold=threshold)


def test_a_higher_threshold_refuses_what_is_only_alike() -> None:
    assert parse_query("fuel", words=DEEP_SEA, threshold=0.6).objective == "fuel_used"
    with pytest.raises(UnmatchedQuery, match=r"resembles 'fuel used' and scores 0\.71, below the threshold 0\.95"):
        parse_query("fuel", words=DEEP_SEA, threshold=0.95)


# Other tasks.

DEEP_SEA = Words(
    {"treasure": "Bring up the most valuable treasure.", "fuel_used": "Save fuel."},
    wanted={"treasure": ("treasure", "gold", "riches", "loot")},
)


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("fetch the loot", "treasure"),
        ("save fuel", "fuel_used"),
        ("bring up treasure and save fuel", "treasure-fuel_used"),
        ("find the riches, never mind the fuel used", "treasure"),
    ],
)
def test_a_task_with_other_words_is_understood_in_them(text: str, objective: str) -> None:
    assert parse_query(text, words=DEEP_SEA).objective == objective


def test_a_refusal_names_the_terms_of_the_task() -> None:
    with pytest.raises(UnmatchedQuery) as refusal:
        parse_query("play a song", words=DEEP_SEA)
    assert "say which of treasure and fuel_used to pursue" in str(refusal.value)
    assert "objective='treasure-fuel_used'" in str(refusal.value)
    assert "gold, hazard" not in str(refusal.value)


def test_a_word_that_is_the_term_itself_is_not_said_to_resemble_it():
    with pytest.raises(UnmatchedQuery, match=r"\): 'gold' scores 0\.50, below the threshold"):
        parse_query("buy gold bonds")
