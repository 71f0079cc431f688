"""What the words of a command line are is decided by their places and by known keys, never by an ``=``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lever_ray.cli import main

ON_GRID8 = ["--environment", "grid8-1", "--gamma", "0", "--ranker", "offline-return"]


@pytest.fixture
def home(small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the libraries ``grid8`` and ``theirs``, both the small one; the working folder."""
    for name in ("grid8", "theirs"):
        shutil.copytree(small_library, tmp_path / "libraries" / name)
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["compose", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command refuses with."""
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("lever-ray: ")
    assert told.count("\n") == 1
    return told


@pytest.mark.parametrize("query", ["gold=yes please", "gold=yes", "gold", "collect gold = good", "- gold, please"])
def test_a_query_is_a_query_whatever_characters_it_has(
    home: Path, query: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in ([query, *ON_GRID8, "library=theirs"], [*ON_GRID8, query, "library=theirs"]):
        assert answer(arguments, capsys)["objective"] == "gold"


def test_a_query_is_a_query_even_where_a_folder_has_its_name(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("libraries/grid8", "gold")
    assert answer(["gold", *ON_GRID8], capsys)["objective"] == "gold"


def test_a_query_that_looks_like_a_setting_is_told_what_it_was_taken_as(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["library=theirs", *ON_GRID8],
        [*ON_GRID8, "library=theirs"],
        ["library=theirs", "--environment", "maze"],
    ):
        told = refused(["compose", *arguments], capsys)
        assert "'library=theirs' was taken as the query, since it is the first word" in told
        assert "--objective" in told
    assert "'path-gold' is no setting" in refused(["compose", "library=theirs", "path-gold", *ON_GRID8], capsys)


def test_a_long_query_is_read_and_one_that_is_too_long_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer(["grab the gold, please. " * 20, *ON_GRID8], capsys)["objective"] == "gold"
    assert "at most 2000 are read" in refused(["compose", "grab the gold. " * 200, *ON_GRID8], capsys)
    assert "unknown configuration key 'colour'" in refused(["inspect", f"colour={'red' * 100}"], capsys)


@pytest.mark.parametrize("place", range(4))
def test_settings_stand_anywhere_among_the_options(home: Path, place: int, capsys: pytest.CaptureFixture[str]) -> None:
    options = [["--environment", "grid8-1"], ["--gamma", "0"], ["--ranker", "offline-return"]]
    options.insert(place, ["strategy=exhaustive", "library=theirs"])
    words = [word for each in options for word in each]
    assert answer(["grab the gold, reach the exit", *words], capsys)["strategy"] == "exhaustive"
    assert answer(["--objective", "path-gold", *words], capsys)["strategy"] == "exhaustive"
    assert answer([*words, "--objective", "path-gold"], capsys)["strategy"] == "exhaustive"


def test_an_objective_stands_for_the_query(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["compose", "--objective", "path-gold", *ON_GRID8]
    assert "'grab it' is no setting, and --objective path-gold stands for the query" in refused(
        [*asked, "grab it"], capsys
    )
    told = refused([*asked, "gold=yes please"], capsys)
    assert "unknown configuration key 'gold'" in told
    assert "--objective stands for the query" in told
    assert "Did you mean 'library.name'" in refused([*asked, "library.nmae=theirs"], capsys)


def test_a_query_without_quotes_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(["compose", "grab", "the", "gold", *ON_GRID8], capsys)
    assert "'the' is no setting" in told
    assert "quote the query" in told
    told = refused(["compose", "grab", "gold=yes", *ON_GRID8], capsys)
    assert "unknown configuration key 'gold'" in told
    assert "only the first word is the query" in told


def test_a_library_is_chosen_by_an_option_or_a_setting(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("libraries/grid8")
    assert answer(["gold", "--library", "theirs", *ON_GRID8], capsys)["objective"] == "gold"
    assert answer(["--library", "theirs", *ON_GRID8, "--objective", "gold"], capsys)["objective"] == "gold"
    assert answer(["gold", *ON_GRID8, "--library", "libraries/theirs"], capsys)["objective"] == "gold"
    assert answer(["gold", "libraries/theirs", *ON_GRID8], capsys)["objective"] == "gold"
    assert answer(["libraries/theirs", *ON_GRID8, "--objective", "gold"], capsys)["objective"] == "gold"
    Path("empty").mkdir()
    for chosen, said in (
        (["--library", "theirs", "library=theirs"], "--library theirs and library=theirs are given; give one library"),
        (["--library", "theirs", "libraries/theirs"], "--library theirs and libraries/theirs are given"),
        (["--library", "libraries/thiers"], "--library is 'libraries/thiers', and no policy library is there"),
        (["--library", "thiers"], "unknown library 'thiers'. Did you mean 'theirs'? Known: deep-sea,"),
        (["./empty"], "'./empty' holds no policy library; give its folder"),
        (["library=no/where"], "no policy library is at no/where; give its folder, or a name of"),
    ):
        assert said in refused(["compose", "gold", *ON_GRID8, *chosen], capsys)
    told = refused(["compose", "libraries/theirs", *ON_GRID8], capsys)
    assert "'libraries/theirs' was taken as the query, since it is the first word" in told


def test_a_folder_called_like_a_setting_is_not_taken_for_the_setting(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree("libraries/grid8", "library=theirs")
    Path("library=theirs", "manifest.json").write_text("{")
    assert answer(["gold", *ON_GRID8, "library=theirs"], capsys)["objective"] == "gold"
    assert main(["inspect", "library=theirs"]) == 0
    assert "manifest" in refused(["inspect", "./library=theirs"], capsys)
    assert "no policy library at no/such=folder" in refused(["inspect", "no/such=folder"], capsys)
    assert "unknown configuration key 'library.nmae'" in refused(["inspect", "library.nmae=grid8"], capsys)


def test_words_after_two_dashes_are_no_options(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer([*ON_GRID8, "--", "-gold", "library=theirs"], capsys)["objective"] == "gold"
    two = ["--groups", "path,gold"]
    asked = [*ON_GRID8, *two, "reach the exit, grab gold", "library=theirs"]
    assert answer(asked, capsys)["groups"] == ["path", "gold"]
    shutil.copytree("libraries/grid8", "-odd")
    assert main(["export", "--gamma", "0", "--", "-x.npz", "-odd"]) == 0
    assert Path("-x.npz").exists()


def test_the_first_word_names_the_study_or_the_file(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown study 'layouts=2'" in refused(["study", "layouts=2", "shaping"], capsys)
    assert "'loose' is no setting" in refused(["study", "shaping", "loose"], capsys)
    assert main(["export", "x=y.npz", "library=theirs", "--gamma", "0"]) == 0
    assert Path("x=y.npz").exists()
    assert main(["import", "x=y.npz", "library=new"]) == 0
    assert main(["library", "search", "library=theirs", "library=new"]) == 0
    assert "library=theirs cannot be" in refused(["import", "library=theirs", "x=y.npz"], capsys)


@pytest.mark.parametrize("command", ["build", "experiment", "tune", "demo", "report", "recommend", "doctor", "ui"])
def test_a_word_of_other_commands_is_a_setting(home: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    option = {"ui": ["--port", "5001"], "recommend": ["--candidates", "5"]}.get(command, [])
    for words in (["loose", *option], [*option, "cluster=serial", "loose"]):
        assert "override 'loose' has no value" in refused([command, *words], capsys)
    assert "unknown configuration key 'colour'" in refused([command, *option, "colour=red"], capsys)


def test_options_of_a_recipe_its_id_and_settings_of_a_strategy_say_the_same(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--objective", "path-gold[1,2]", *ON_GRID8, "--groups", "path,gold"]
    options = answer([*asked, "--strategy", "hybrid", "--k", "2", "--operator", "max"], capsys)
    named = answer([*asked, "--recipe", options["recipe"]], capsys)
    settings = answer([*asked, "strategy=hybrid", "strategy.k=2", "strategy.operator=max"], capsys)
    parts = ("policy_ids", "predicted_return", "recipe", "objective")
    assert [options[part] for part in parts] == [named[part] for part in parts] == [settings[part] for part in parts]
    assert "k=2,operator=max" in options["recipe"]
    assert options["objective"] == "path-gold[1,2]"
    both = refused(["compose", *asked, "--recipe", "k=2", "strategy=hybrid"], capsys)
    assert "both say how to answer; give one" in both
    assert "k is 5, which strategy 'targeted' has no use for" in refused(
        ["compose", *asked, "--strategy", "targeted", "--k", "5"], capsys
    )


def test_factors_of_groups(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--objective", "path-gold", *ON_GRID8, "--groups", "path,gold"]
    plain = answer(asked, capsys)
    assert answer([*asked, "--factors", "gold=1"], capsys)["predicted_return"] == plain["predicted_return"]
    for wrong, said in (
        ("gold", "write GROUP=NUMBER"),
        ("gold=much", "write GROUP=NUMBER"),
        ("glod=2", "Did you mean 'gold'"),
        ("gold=-1", "not negative"),
    ):
        assert said in refused(["compose", *asked, "--factors", wrong], capsys)
