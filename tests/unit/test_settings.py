"""Settings: conf/ and overrides become typed objects, or one clear line; nothing on disk changes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from lever_ray.app import conf
from lever_ray.app.conf import plain_settings, settings_for_answers
from lever_ray.app.settings import EXPERIMENT, hydra_settings, load_settings
from lever_ray.cli import main
from lever_ray.config import conf_folder, home
from lever_ray.errors import LeverError, SettingsError, UnknownName
from lever_ray.tasks import registry
from lever_ray.tasks.protocol import Family, Source, Words


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    monkeypatch.setenv("LEVER_RAY_HOME", str(place))
    return place


def test_defaults_are_the_demo() -> None:
    settings = load_settings()
    assert settings.experiment.strategies == ["targeted", "hybrid", "exhaustive"]
    assert [setup.mode for setup in settings.experiment.setups].count("trivial") == 3
    assert settings.library.gammas == [0.0, 0.99]
    assert settings.tuning.trials == 20


def test_overrides_reach_nested_keys_and_groups() -> None:
    settings = load_settings(["library=grid16", "strategy=hybrid", "strategy.k=5", "seeds=7", "tuning.trials=3"])
    assert (settings.library.family, settings.library.layouts) == ("grid16", 7)
    assert (settings.strategy.name, settings.strategy.k, settings.tuning.trials) == ("hybrid", 5, 3)


def test_every_option_of_every_group_loads() -> None:
    for group in (folder for folder in conf_folder().iterdir() if folder.is_dir()):
        for option in group.glob("*.yaml"):
            load_settings([f"{group.name}={option.stem}"], about=(group.name,))


def test_an_experiment_may_bring_its_library() -> None:
    assert load_settings(["experiment=deep-sea"], about=(EXPERIMENT,)).library.family == "deep-sea"
    with pytest.raises(UnknownName, match="unknown objective term 't"):
        load_settings(["experiment=deep-sea", "library=grid8"], about=(EXPERIMENT,))


PLAIN = [
    [],
    ["library=grid16", "strategy=hybrid", "strategy.k=5"],
    ["library=grid16-study", "strategy.threshold=0.3", "strategy.gamma=0"],
    ["library.name=my-own.library", "strategy.operator=normalized-sum", "strategy.k=-2"],
    ["cluster=serial", "tracking=none", "seeds=4", "tuning=candidates", "experiment=paper"],
    ["strategy=own", "library.layouts=3", "tuning.trials=7"],
]
NOT_PLAIN = [
    ["experiment=deep-sea"],
    ["library.gammas=[0.0]"],
    ["library.shared=true"],
    ["library.name=1e5"],
    ["library.name=null"],
    ["tracking.uri=sqlite:////tmp/x.db"],
    ["strategy.k=null"],
    ["+strategy.k=3"],
    ["library=grid8", "library=grid16"],
    ["library.layouts=many"],
    ["library.layouts=2.0"],
    ["strategy=odd"],
    ["strategy=broken"],
]


@pytest.fixture
def own_strategies(empty_home: Path) -> Path:
    folder = empty_home / "strategy"
    folder.mkdir(parents=True)
    (folder / "own.yaml").write_text("# by hand\nname: budgeted\nbudget: 50\nthreshold: 1\n")
    (folder / "odd.yaml").write_text("defaults: [hybrid]\nname: ${library.name}\n")
    (folder / "broken.yaml").write_text("name: [")
    return empty_home


@pytest.mark.parametrize("overrides", PLAIN, ids=" ".join)
def test_settings_that_are_read_plainly_are_those_of_hydra(overrides: list[str], own_strategies: Path) -> None:
    plain = plain_settings(overrides, own_strategies)
    assert plain is not None
    assert repr(plain) == repr(hydra_settings(overrides, own_strategies))
    if not any(word.startswith("strategy.k=-") for word in overrides):
        assert repr(settings_for_answers(overrides)) == repr(load_settings(overrides, about=()))


@pytest.mark.parametrize("overrides", NOT_PLAIN, ids=" ".join)
def test_what_is_out_of_the_ordinary_is_left_to_hydra(overrides: list[str], own_strategies: Path) -> None:
    assert plain_settings(overrides, own_strategies) is None


@pytest.mark.parametrize("line", ["libary: grid8", "seeds: 3", "defaults: [library: grid8]"])
def test_an_unusual_configuration_is_left_to_hydra(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(conf_folder(), tmp_path / "conf")
    with (tmp_path / "conf" / "config.yaml").open("a") as file:
        file.write(f"{line}\n")
    monkeypatch.setattr(conf, "conf_folder", lambda: tmp_path / "conf")
    assert plain_settings([], tmp_path) is None


@pytest.mark.parametrize("wrong", ["library.layouts=0", "tuning.trials=0", "seeds=-3", "library=gird8", "library.x=2"])
def test_settings_of_an_answer_are_refused_as_all_others_are(wrong: str, own_strategies: Path) -> None:
    with pytest.raises(LeverError) as expected:
        load_settings([wrong], about=())
    with pytest.raises(type(expected.value), match=re.escape(str(expected.value))):
        settings_for_answers([wrong])


WRONG = {
    "library=gird8": "Did you mean 'grid8'",
    "experiment.strategis=[targeted]": "Did you mean 'experiment.strategies'",
    "+experiment.new_key=1": "unknown configuration key 'experiment.new_key'",
    "+anything=1": "unknown configuration key 'anything'",
    "library.layouts=many": "library.layouts: Value 'many'",
    "library.layouts=0": "library.layouts is 0",
    "library.gammas=[1.5]": "gamma must lie in [0, 1]",
    "library.family=grid9": "unknown source of environments 'grid9'",
    "library.budget=X2": "unknown training budget 'X2'",
    "library.objectives=[path,god]": "unknown objective term 'god'. Did you mean 'gold'",
    "library.objectives=[path]": "needs policies for",
    "library.name=../elsewhere": "use a plain folder name",
    "experiment.setups=[{mode:tripel,objective:path-gold}]": "unknown mode 'tripel'. Did you mean 'triple'",
    "experiment.operators=[summ]": "unknown operator 'summ'. Did you mean 'sum'",
    "experiment.rankers=[offline]": "Did you mean 'offline-return'",
    "experiment.strategies=[]": "experiment.strategies is empty",
    "experiment.support=masked": "Did you mean 'mask'",
    "strategy.name=hybird": "Did you mean 'hybrid'",
    "strategy.k=0": "k is 0",
    "tuning.trials=0": "tuning.trials is 0",
    "tuning.sampler=tpee": "Did you mean 'tpe'",
    "library.gammas=[0.0,0.0]": "twice",
    "tuning.seed=-1": "tuning.seed is -1",
    "tuning.study=../x": "use a plain name",
    "experiment.name=a/b": "use a plain name",
    "cluster.window=0": "cluster.window is 0",
    "cluster.executor=rray": "Did you mean 'ray'",
    "seeds=-3": "seeds is -3",
    "seeds": "has no value",
}


@pytest.mark.parametrize(("override", "said"), WRONG.items())
def test_wrong_input_is_one_line_that_names_value_and_remedy(
    override: str, said: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LeverError) as caught:
        load_settings([override])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert main(["experiment", "cluster=serial", override]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("lever-ray: ")
    assert captured.err.count("\n") == 1
    assert not empty_home.exists()


def test_problems_of_another_source_are_refused_where_they_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual experiment and study are about other terms than this library's; that keeps nobody from building it."""
    words = Words({"honey": "Find the honey."})
    forest = Source("forest", "toy", ("honey",), {"single": ("honey",)}, words, lambda _: None)  # type: ignore[arg-type, return-value]
    toy = Family("toy", lambda _: None, {"forest": forest}, lambda: None)  # type: ignore[arg-type, return-value]
    monkeypatch.setitem(registry._REGISTERED, "toy", toy)
    overrides = ["library.family=forest", "library.objectives=[honey]"]
    assert load_settings(overrides, about=()).library.family == "forest"
    for group in ("experiment", "tuning"):
        with pytest.raises(UnknownName, match=r"unknown mode 'trivial'.*Known: single"):
            load_settings(overrides, about=(group,))


def test_home_must_be_absolute_and_outside_a_ray_session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEVER_RAY_HOME", "runs")
    with pytest.raises(SettingsError, match="absolute"):
        home()
    session = tmp_path / "ray" / "session_1" / "runtime_resources" / "working_dir_files" / "pkg"
    monkeypatch.setenv("LEVER_RAY_HOME", str(session))
    with pytest.raises(SettingsError, match="inside a Ray session folder"):
        home()


def test_a_home_that_cannot_be_made_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path / "file"))
    assert main(["build", "cluster=serial"]) == 2
    assert "set LEVER_RAY_HOME to a folder" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["tracking.uri=http://127.0.0.1:9", "cluster.address=127.0.0.1:9"])
def test_servers_that_do_not_answer_are_named_at_once(
    where: str, empty_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    group = "cluster=serial" if where.startswith("tracking") else "tracking=none"
    assert main(["experiment", group, where]) == 2
    assert "127.0.0.1:9" in capsys.readouterr().err
