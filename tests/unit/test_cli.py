"""Console commands, as a person runs them: what they print, and how they refuse."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from lever_ray.cli import main
from tests.conftest import sea_settings, sea_setup


@pytest.fixture
def home(small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose library ``grid8`` is the small one."""
    shutil.copytree(small_library, tmp_path / "libraries" / "grid8")
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


QUERY = ["compose", "grab the gold and keep away from hazards", "--environment", "grid8-1", "--gamma", "0"]


def test_compose_tells_what_it_did_and_draws_the_route(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUERY, "--picture", str(home / "route.png")]) == 0
    told = capsys.readouterr().out
    for part in (
        "gold-hazard",
        "predicted by offline-return",
        "beside it",
        "best single policy",
        "optimum",
        "steps, ",
        "propagates value, I3",
        "chosen because",
        "moves and rewards are at hand",
        "coverage",
        "S start",
    ):
        assert part in told
    assert (home / "route.png").stat().st_size > 10_000


def test_compose_speaks_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUERY, "--json", "--ranker", "offline-return", "--strategy", "exhaustive"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["objective"], told["groups"], told["evaluated"]) == ("gold-hazard", ["gold", "hazard"], 9)


WRONG = {
    "what is the weather in Paris": "none of its words is among theirs",
    "": "--objective",
}


@pytest.mark.parametrize(("query", "said"), WRONG.items())
def test_text_that_names_nothing_is_refused(
    home: Path, query: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compose", query, "--environment", "grid8-1", "--gamma", "0"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--environment", "grid8-9", "--objective", "path"], "unknown environment 'grid8-9'. Did you mean"),
        (["--environment", "grid8-1", "--objective", "path-god"], "Did you mean 'gold'"),
        (["--environment", "grid8-1", "--objective", "path-gold", "--strategy", "hybird"], "Did you mean 'hybrid'"),
        (["--environment", "grid8-1", "--objective", "path-gold", "--operator", "summ"], "Did you mean 'sum'"),
        (
            ["--environment", "grid8-1", "--objective", "path-gold", "--ranker", "offline"],
            "Did you mean 'offline-return'",
        ),
        (["--environment", "grid8-1", "--objective", "path-gold", "--k", "0"], "k is 0"),
        (["--environment", "grid8-1"], "give either a query in words or --objective"),
        (["--environment", "grid8-1", "--objective", "path-gold", "--gamma", "0.5"], "no policies at gamma 0.5"),
        (
            ["--environment", "grid8-1", "--objective", "path-gold", "--gamma", "0", "library=grid16"],
            "no policy library at",
        ),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(
    home: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in home.rglob("*"))
    assert main(["compose", *arguments]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.startswith("lever-ray: ")
    assert told.count("\n") == 1
    assert sorted(path.name for path in home.rglob("*")) == before


def test_a_damaged_library_is_named_with_a_remedy(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = next((home / "libraries" / "grid8").glob("policies-*.arrow"))
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    assert main([*QUERY, "--operator", "sum"]) == 2  # another environment's file: a regressor learns from it
    told = capsys.readouterr().err
    assert file.name in told
    assert "restore" in told


def test_inspect_lists_environments_objectives_and_coverage(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect"]) == 0
    told = capsys.readouterr().out
    assert "grid8-2" in told
    assert "108 policies" in told


PARTS = ("versions", "home", "kernels", "library", "mlflow", "ray")


def test_doctor_finds_what_is_wrong(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "cluster=serial"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in told] == [[part, "ok"] for part in PARTS]
    assert "108 policies, every file sound" in told[3]
    assert told[4].endswith("mlflow.db, which the first run makes")
    assert not (home / "mlflow.db").exists()
    assert main(["doctor", f"tracking.uri=sqlite:///{home}"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[4].startswith(f"mlflow    wrong MLflow store {home} cannot be written: it is a folder")
    assert told[5] == "ray       ok    not tried; --ray starts or joins a cluster and runs tasks on it"
    next((home / "libraries" / "grid8").glob("policies-*.arrow")).unlink()
    assert main(["doctor", "cluster=serial", "tracking=none"]) == 1
    assert "wrong" in capsys.readouterr().out


def test_doctor_says_what_it_is_checking(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    waits: list[str] = []
    monkeypatch.setattr("lever_ray.progress.working", lambda _, what, **_options: nullcontext(waits.append(what)))
    assert main(["doctor", "cluster=serial", "tracking=none"]) == 0
    parts = ("where results go", "kernels, compiled the first time", "the library", "the MLflow store", "Ray")
    assert waits == [f"Checking {part}" for part in parts]


def test_build_experiment_and_tune_on_one_core_without_tracking(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["cluster=serial", "tracking=none", "library.name=two", "library.layouts=2", "library.training_seeds=1"]
    assert main(["build", *small]) == 0
    assert "84 new policies" in capsys.readouterr().out
    assert main(["experiment", *small, "experiment=quick", "experiment.bootstrap=20"]) == 0
    told = capsys.readouterr().out
    assert "nothing to train" in told
    assert "Mean return over 2 layouts" in told
    assert main(["tune", *small, "tuning.trials=3", "tuning.setup.mode=double"]) == 0
    assert "Pareto front" in capsys.readouterr().out


def test_environments_of_any_name_are_asked_without_training(
    home: Path, maze_library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(maze_library, home / "libraries" / "mazes")
    asked = ["cluster=serial", "tracking=none", "library=mazes", "library.environments=[maze,grid8-1]"]
    small = [*asked, "experiment=quick", "experiment.bootstrap=20"]
    assert main(["experiment", *small]) == 0
    told = capsys.readouterr().out
    assert "Mean return over 2 layouts" in told
    assert "Training library" not in told
    assert main(["report", *small]) == 0
    assert capsys.readouterr().out.startswith("2 layouts of grid8; ")
    assert main(["tune", *small, "tuning.trials=2", "tuning.setup.mode=double"]) == 0
    assert "Pareto front" in capsys.readouterr().out
    assert main(["compose", "reach the exit and grab gold", "--environment", "maze", "--gamma", "0", *asked]) == 0
    assert "path-gold" in capsys.readouterr().out
    assert main(["experiment", *small, "library.environments=[amaze]"]) == 2
    assert "unknown environment 'amaze'. Did you mean 'maze'" in capsys.readouterr().err


def test_a_task_without_a_grid_goes_through_every_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings, setup = sea_settings(), sea_setup()
    sea = ["cluster=serial", "tracking=none", "library.name=sea", f"library.family={settings.family}"]
    sea += ["library.layouts=3", "library.training_seeds=1", "library.gammas=[0.99]"]
    sea += [f"library.objectives=[{','.join(settings.objectives)}]"]
    assert main(["build", *sea]) == 0
    assert "new policies" in capsys.readouterr().out
    cells = [f"experiment.setups=[{{mode:{setup.mode},objective:{setup.objective}}}]", "experiment.bootstrap=20"]
    cells += ["experiment.strategies=[hybrid]"]
    for command in ("experiment", "report"):
        assert main([command, *sea, *cells]) == 0
        assert "3 layouts" in capsys.readouterr().out
    tuned = [f"tuning.setup.mode={setup.mode}", f"tuning.setup.objective={setup.objective}"]
    assert main(["tune", *sea, *tuned, "tuning.trials=2", "tuning.space.operators=[sum,max]"]) == 0
    assert "Pareto front" in capsys.readouterr().out
    first = f"{settings.family}-0"
    assert main(["compose", "--objective", setup.objective, "--environment", first, *sea]) == 0
    assert setup.objective in capsys.readouterr().out
    assert main(["inspect", *sea]) == 0
    assert first in capsys.readouterr().out


def test_settings_may_stand_anywhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUERY, "--json", "library.name=grid8", "strategy=exhaustive"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "exhaustive"
    words, *options = QUERY[1:]
    assert main(["compose", words, "strategy=exhaustive", *options, "--json", "library.name=grid8"]) == 0
    assert json.loads(capsys.readouterr().out)["strategy"] == "exhaustive"
    assert main([*QUERY, "strategy=exhaustive", "loose"]) == 2
    assert "'loose' is no setting" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*QUERY, "strategy=exhaustive", "--speed=9"])
    assert "unrecognized arguments: --speed=9" in capsys.readouterr().err


def test_an_unknown_study_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "nosuch"]) == 2
    told = capsys.readouterr()
    assert "unknown study 'nosuch'" in told.err
    assert "Starting" not in told.out + told.err


def test_a_study_prints_its_settings_as_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lever_ray.app import session
    from lever_ray.executor import SerialExecutor

    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.setattr(session, "_start_executor", lambda _: (SerialExecutor(), False))
    assert main(["study", "shaping", "layouts=2", "gammas=[0]", "setups=[[trivial,path-gold]]"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("# Study shaping\n\n- ")
    assert "- layouts: 2\n" in told.out
    assert "- setups: (trivial, path-gold)\n" in told.out
    assert "Running study shaping ..." in told.err


def test_a_port_that_cannot_be_listened_at_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        for port, said in (
            (99_999, "--port is 99999; ports are 1 to 65535"),
            (0, "--port is 0"),
            (busy, "choose another"),
        ):
            assert main(["ui", "--port", str(port)]) == 2
            assert said in capsys.readouterr().err
    assert not (home / "mlflow.db").exists()
