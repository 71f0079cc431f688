"""Console commands that move and keep libraries, as a person runs them."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lever_ray.cli import main
from lever_ray.errors import LibraryError
from lever_ray.library.library import PolicyLibrary
from lever_ray.tasks.gridworld.layout import Layout

LAYOUT = Layout.sample("grid8", seed=3)


@pytest.fixture
def home(small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose library ``grid8`` is the small one, with a foreign file and its layout; the working folder."""
    shutil.copytree(small_library, tmp_path / "libraries" / "grid8")
    monkeypatch.setenv("LEVER_RAY_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    q = np.random.default_rng(0).normal(size=(2, 64, 4))
    np.savez("theirs.npz", Q=q, desc=np.array(["fetch the treasure", "run to the exit as fast as you can [/]"]))
    Path("maze.json").write_text(json.dumps(LAYOUT.to_dict()))
    return tmp_path


IMPORT = ["import", "theirs.npz", "--layout", "maze.json", "--environment", "maze", "--gamma", "0.9"]
GRID8 = Path("libraries") / "grid8"


def importing(*changes: str) -> list[str]:
    """The words of an import with other values of some options: an option is given once."""
    kept = [pair for pair in zip(IMPORT[2::2], IMPORT[3::2], strict=True) if pair[0] not in changes]
    return [*IMPORT[:2], *(word for pair in kept for word in pair), *changes]


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command refuses with, having changed nothing."""
    before = state(Path())
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("lever-ray: ")
    assert told.count("\n") == 1
    assert state(Path()) == before
    return told


def test_tables_of_other_code_are_imported_inspected_composed_and_exported(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*IMPORT, "library=theirs"]) == 0
    told = capsys.readouterr().out
    for part in ("float64 -> float32", "support is unknown", "2 of 2 policies are new", "libraries/theirs"):
        assert part in told
    assert main([*IMPORT, "--to", "libraries/theirs"]) == 0
    assert "0 of 2 policies are new" in capsys.readouterr().out
    assert main(["inspect", "library=theirs"]) == 0
    told = capsys.readouterr().out
    for part in ("maze", "described in words", "2 unknown", "unknown", "wordllama", "psi 1, 0 policies", "Shards: 1"):
        assert part in told
    asked = ["compose", "--objective", "path-gold", "--environment", "maze", "--threshold", "0.2"]
    assert main([*asked, "--ranker", "offline-return", "library=theirs", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["support_source"], answer["tier"]) == ("unknown", "I3")
    assert main([*asked, "--ranker", "offline-return", "library=theirs"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert all(identity in told.partition("warning")[2] for identity in answer["policy_ids"])
    assert main(["export", "back.parquet", "library=theirs"]) == 0
    assert main(["import", "back.parquet", "--to", "libraries/theirs"]) == 0
    assert "0 of 2 policies are new" in capsys.readouterr().out


def test_the_readme_commands_run_as_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q = np.random.default_rng(0).normal(size=(2, 64, 4))
    np.savez("tables.npz", q=q, text=np.array(["fetch the treasure", "walk to the way out"]))
    text = (Path(__file__).parents[2] / "README.md").read_text()
    section = text.partition("## Tables of other code")[2].partition("\n## ")[0]
    commands = [line.strip() for line in section.splitlines() if line.startswith("    lever-ray ")]
    assert len(commands) == 6
    for command in commands:
        assert main(shlex.split(command, comments=True)[1:]) == 0, command
    assert "fetch the treasure" in capsys.readouterr().out


def test_a_dry_run_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = state(home)
    assert main([*IMPORT, "--to", "new", "--dry-run"]) == 0
    assert "Nothing was changed; 2 of 2 policies would be new in new" in capsys.readouterr().out
    assert main([*IMPORT, "--dry-run"]) == 0
    assert not Path("new").exists()
    assert state(home) == before


def test_what_is_missing_is_asked_for_at_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(["import", "theirs.npz"], capsys)
    for option in ("--gamma", "--environment", "--layout", "--to"):
        assert option in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "new", "--actions", "right,down,left,jump"], "unknown action 'jump'"),
        (["--to", "new", "--column", "q"], "write --column FIELD=NAME"),
        (["--to", "new", "--column", "q=tables"], "unknown column 'tables'"),
        (["--to", "new", "--gamma", "2"], "gamma is 2"),
        (["--to", "new", "--layout", "nowhere.json"], "nowhere.json cannot be read"),
        (["--to", "new", "library=theirs"], "give one of them"),
        (["--to", "libraries"], "not an empty folder"),
        (["library.nmae=x"], "unknown configuration key"),
        (["library=grid8", "--environment", "grid8-1"], "taken by another task"),
    ],
)
def test_wrong_imports_are_refused(
    home: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(importing(*arguments), capsys)
    assert not Path("new").exists()


def test_the_layout_of_a_library_is_known(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "theirs.npz", "library=grid8", "--environment", "grid8-1", "--gamma", "0"]) == 0
    assert "as the library holds them" in capsys.readouterr().out
    assert len(PolicyLibrary.open(GRID8)) == 110


def test_inspect_takes_a_path_and_lists_no_more_than_it_is_told(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(GRID8), "--rows", "2"]) == 0
    told = capsys.readouterr().out
    assert "and 1 more environments" in told
    assert "grid8-2" not in told
    assert "108 visits" in told
    assert "--rows is 0" in refused(["inspect", str(GRID8), "--rows", "0"], capsys)
    assert "2 folders" in refused(["inspect", str(GRID8), "libraries"], capsys)
    assert "no policy library at nowhere" in refused(["inspect", "nowhere"], capsys)


def damage(kind: str) -> Path:
    """Flip a byte in one file of the library."""
    file = min(GRID8.glob(f"{kind}-*.arrow"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


def test_verify_and_repair(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "verify", str(GRID8)]) == 0
    assert "is sound: 108 policies" in capsys.readouterr().out
    assert main(["library", "repair", "library=grid8"]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    damage("tables")
    assert main(["library", "verify", str(GRID8)]) == 1
    assert "lever-ray library repair" in capsys.readouterr().out
    assert "--yes" in refused(["library", "repair", str(GRID8)], capsys)
    assert main(["library", "repair", str(GRID8), "--yes"]) == 0
    assert "policies dropped" in capsys.readouterr().out
    assert main(["library", "verify", str(GRID8)]) == 0


@pytest.mark.parametrize("command", [["restore"], ["repair", "--yes"]])
def test_a_lost_manifest_is_written_anew(home: Path, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "is sound" in refused(["library", "restore", str(GRID8)], capsys)
    (GRID8 / "manifest.json").write_text("{")
    assert "add --yes" in refused(["library", "repair", str(GRID8)], capsys)
    assert main(["library", *command, str(GRID8)]) == 0
    assert "108 policies" in capsys.readouterr().out
    assert main(["library", "verify", str(GRID8)]) == 0


def test_repair_without_a_library(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no policy library" in refused(["library", "repair", "nowhere"], capsys)


def test_compact_and_migrate(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "compact", str(GRID8)]) == 0
    assert "3 shards before, 1 now" in capsys.readouterr().out
    assert main(["library", "migrate", str(GRID8)]) == 0
    assert "of today's version already" in capsys.readouterr().out


def test_delete_by_filter_and_by_id(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["library", "delete", str(GRID8), "--environment", "grid8-1", "--objective", "gold", "--gamma", "0"]
    assert "add --yes to delete 3 of 108" in refused(few, capsys)
    assert main([*few, "--yes"]) == 0
    assert "3 policies deleted, 105 left" in capsys.readouterr().out
    library = PolicyLibrary.open(GRID8)
    ids = [record.id for record in library.select(environment="grid8-0", gamma=0.0)][:2]
    assert main(["library", "delete", "--yes", "--id", ids[0], "--id", ids[1], str(GRID8)]) == 0
    assert "2 policies deleted" in capsys.readouterr().out
    assert ids[0] not in PolicyLibrary.open(GRID8)
    for wrong, said in (
        ([], "give either --id, or a filter"),
        (["--gamma", "0", "--id", "a"], "give either"),
        (["--id", ids[0]], f"unknown policy id {ids[0]!r}. Nothing was deleted."),
        (["--environment", "grid8-9"], "unknown environment"),
        (["--objective", "god"], "unknown objective term"),
        (["--objective", "path[x]"], "one number per term"),
        (["--gamma", "0.7"], "no policy"),
    ):
        assert said in refused(["library", "delete", str(GRID8), "--yes", *wrong], capsys)


def test_search_prints_a_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "search", "treasure", str(GRID8), "--environment", "grid8-1", "-k", "2"]) == 0
    told = capsys.readouterr().out
    assert told.count("Collect as much gold as possible") == 2
    assert "grid8-1" in told
    assert "k is 0" in refused(["library", "search", "treasure", str(GRID8), "-k", "0"], capsys)
    assert "blank" in refused(["library", "search", " ", str(GRID8)], capsys)
    assert "unknown environment" in refused(["library", "search", "x", str(GRID8), "--environment", "y"], capsys)


def test_what_several_policies_are_for_is_asked_as_a_column(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = dict(np.load("theirs.npz"))
    np.savez("silent.npz", Q=arrays["Q"], wanted=arrays["desc"])
    silent = ["import", "silent.npz", *IMPORT[2:], "--to", "libraries/theirs"]
    told = refused(silent, capsys)
    assert "a column 'objective' (terms joined with hyphens) or 'description' (in words) with an entry for each" in told
    assert "--column objective=COLUMN" in told
    assert main([*silent, "--column", "description=wanted"]) == 0
    np.savez("single.npz", Q=arrays["Q"][:1])
    assert "column" not in refused(["import", "single.npz", *silent[2:]], capsys).partition("trained for")[2]


def test_a_search_needs_descriptions(home: Path, small_library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    library = PolicyLibrary.open(small_library)
    (found,) = library.search(["treasure"], 5, environment="grid8-1")
    records = library.policies([match.id for match in found])
    silent = PolicyLibrary.create(home / "silent")
    silent.add([replace(record, description=" ") for record in records[1:]])
    told = refused(["library", "search", "treasure", str(silent.path)], capsys)
    assert "has a description that is like 'treasure'" in told
    assert "a column 'description' (or --description TEXT)" in told
    silent.add(records[:1])
    assert main(["library", "search", records[0].description, str(silent.path)]) == 0
    shown = capsys.readouterr().out
    assert [record.id for record in records if record.id in shown] == [records[0].id]


def test_embed_on_one_core(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["library", "embed", str(GRID8), "cluster=serial"]) == 0
    told = capsys.readouterr().out
    assert "Embedding policies: 108/108" in told
    assert "Psi of 108 policies computed" in told
    assert main(["library", "embed", "library=grid8", "cluster=serial"]) == 0
    assert "lacks no vectors" in capsys.readouterr().out


def test_export_refuses_to_overwrite(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "x.npz", str(GRID8), "--environment", "grid8-1"]) == 0
    assert "36 policies" in capsys.readouterr().out
    assert "--overwrite" in refused(["export", "x.npz", str(GRID8)], capsys)
    assert ".npz or .parquet" in refused(["export", "x.csv", str(GRID8)], capsys)
    assert main(["export", "x.npz", str(GRID8), "--overwrite"]) == 0


@pytest.mark.parametrize("command", [["import"], ["export"], ["inspect"], ["library"], ["library", "search"]])
def test_help_is_short(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) < 45


def test_unknown_options_are_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["export", "x.npz", "--gama", "0"], ["export", "x.npz", "--gamma", "0", "--key=value"]):
        with pytest.raises(SystemExit) as stopped:
            main(wrong)
        assert stopped.value.code == 2
    assert "unrecognized arguments" in capsys.readouterr().err


def test_settings_may_stand_after_options(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["compose", "grab the gold", "--environment", "grid8-1", "--gamma", "0", "--json", "library=grid8"]
    assert main(given) == 0
    assert json.loads(capsys.readouterr().out)["objective"] == "gold"


COMPOSE = ["compose", "--objective", "path-gold", "--environment", "maze", "library=theirs"]


def test_descriptions_alone_are_understood_and_stored_on_demand(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    q = np.random.default_rng(0).normal(size=(3, 64, 4))
    texts = ["fetch the treasure", "walk to the way out", "water the flowers"]
    np.savez("words.npz", q=q, qtable=q, desc=np.array(texts))
    words = ["import", "words.npz", *IMPORT[2:], "library=theirs"]
    assert main(words) == 0
    told = " ".join(capsys.readouterr().out.split())
    for part in (
        "'fetch the treasure' (1) -> gold",
        "'water the flowers' (1) -> not understood",
        "compose --threshold 0.2 admits them, --understand stores",
        "in the order right, down, left, up; --actions",
        "another q: 'q' is taken, --column q=qtable takes this one",
    ):
        assert part in told
    said = refused([*COMPOSE, "--ranker", "offline-return"], capsys)
    assert "(a column objective, --objective NAME, or --understand), or lower the threshold (--threshold 0.2" in said
    asked = [*COMPOSE, "--threshold", "0.2", "--ranker", "regressor"]
    assert "use --ranker offline-return" in refused(asked, capsys)
    assert main([*words, "--understand"]) == 0
    assert "1 policies are not understood" in " ".join(capsys.readouterr().out.split())
    assert main([*COMPOSE, "--ranker", "offline-return"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "coverage unknown" in told
    held = {str(record.objective) for record in PolicyLibrary.open("libraries/theirs").select()}
    assert held == {"None", "gold", "path"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--environment", ""], "its environment has no name"),
        (["--gamma", "2"], "policy for 'fetch the treasure' in"),
        (["--layout", "walls.json"], "unknown keys 'walls'; rename or drop them. Known: size, start"),
    ],
)
def test_content_that_is_refused_is_told_alone(
    home: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("walls.json").write_text(json.dumps(LAYOUT.to_dict() | {"walls": [[0, 1]]}))
    before = state(Path())
    assert main([*importing(*arguments), "--to", "new"]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, state(Path()), Path("new").exists()) == ("", before, False)


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (LibraryError, 2)])
def test_an_import_that_ends_early_leaves_no_empty_library(
    home: Path,
    error: type[BaseException],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(PolicyLibrary, "add", stop)
    assert main([*IMPORT, "--to", "new"]) == code
    assert not Path("new").exists()
    assert (code == 130) == ("interrupted; nothing was added" in capsys.readouterr().err)
    monkeypatch.setattr("lever_ray.app.library_commands.export", stop)
    assert main(["export", "x.npz", str(GRID8)]) == code
    assert (code == 130) == ("interrupted; nothing was written" in capsys.readouterr().err)


def test_files_that_cannot_be_written_are_refused_first(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compose = ["compose", "--objective", "path", "--environment", "grid8-1", "--gamma", "0"]
    assert "there is no folder" in refused([*compose, "--picture", "nowhere/x.png"], capsys)
    assert "must end in .png" in refused([*compose, "--picture", "x.svg"], capsys)
    assert "there is no folder" in refused(["export", "nowhere/x.npz"], capsys)
    monkeypatch.setattr("lever_ray.config._takes_files", lambda _: False)
    assert "takes no files" in refused([*compose, "--picture", "x.png"], capsys)
    assert "takes no files" in refused(["export", "x.npz"], capsys)
    assert "set LEVER_RAY_HOME" in refused(["build", "cluster=serial"], capsys)


def test_compose_names_what_stands_where_a_query_should(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--environment", "grid8-1"]
    assert "put the query before it" in refused(["compose", str(GRID8), *where], capsys)
    assert main(["compose", "grab gold", str(GRID8), *where]) == 0
    for gamma in ("2", "nan"):
        assert "must lie in [0, 1]" in refused(["compose", "grab gold", *where, "--gamma", gamma], capsys)


def test_a_path_with_an_equals_sign_is_a_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(GRID8, "a=b")
    assert main(["inspect", "a=b"]) == 0
    assert main(["library", "verify", "a=b"]) == 0
    assert main(["import", "theirs.npz", "a=b", *IMPORT[2:]]) == 0
    assert "are new in a=b" in capsys.readouterr().out


def test_restore_names_another_library_in_the_folder(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*IMPORT, "--to", "other"]) == 0
    name = PolicyLibrary.open("other").manifest.library
    files = list(Path("other").glob("*.arrow"))
    for file in files:
        shutil.copy(file, GRID8)
    (GRID8 / "manifest.json").unlink()
    assert main(["library", "restore", str(GRID8)]) == 0
    told = capsys.readouterr().out
    assert f"{len(files)} files of another library, {name}" in " ".join(told.split())
    assert len(PolicyLibrary.open(GRID8)) == 108
