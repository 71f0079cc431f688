"""Console commands: ``lever-ray --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lever_ray.app.library_parsers import add_library_parsers
from lever_ray.errors import LeverError

if TYPE_CHECKING:
    from lever_ray.composition.recipe import Recipe
    from lever_ray.config import StrategySettings
    from lever_ray.query.result import CompositionResult
    from lever_ray.tasks.protocol import Environment

OK, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130


def guarded(command: Callable[[], int]) -> int:
    """Run a command; wrong input becomes one clear line on standard error and exit code 2, never a traceback."""
    try:
        return command()
    except LeverError as error:
        sys.stderr.write(f"lever-ray: {error}\n")
        return WRONG_INPUT
    except KeyboardInterrupt as interrupt:
        kept = str(interrupt) or "finished work is kept, the same command goes on from it"
        sys.stderr.write(f"lever-ray: interrupted; {kept}\n")
        return INTERRUPTED


def build(overrides: Sequence[str]) -> int:
    """Train a policy library."""
    from lever_ray.app import commands, session, settings

    with session.session(settings.load_settings(overrides, about=()), tracked=False) as parts:
        commands.build(parts)
    return OK


def experiment(overrides: Sequence[str]) -> int:
    """Run an experiment and log it to MLflow; the library is trained first where it is missing."""
    return _study(overrides, experiment=True, tuning=False)


def tune(overrides: Sequence[str]) -> int:
    """Search for good candidate budgets; a study of the same name goes on where it stopped."""
    return _study(overrides, experiment=False, tuning=True)


def demo(overrides: Sequence[str]) -> int:
    """Library, experiment and a small tuning study, one after the other."""
    return _study(overrides, experiment=True, tuning=True)


def _study(overrides: Sequence[str], *, experiment: bool, tuning: bool) -> int:
    from lever_ray.app import commands, session, settings, tuning_commands
    from lever_ray.app.study_tables import front_table, summary_table
    from lever_ray.console import importance_table

    about = [group for group, asked in ((settings.EXPERIMENT, experiment), (settings.TUNING, tuning)) if asked]
    failed, given = False, settings.load_settings(overrides, about=about)
    if experiment:
        commands.check_source(given, settings.experiment_plan(given).operators)
    if tuning:
        tuning_commands.check_study(given)
    with session.session(given) as parts:
        commands.build(parts)
        if experiment:
            report = commands.experiment(parts)
            failed = bool(report.rows.failures)
            if report.summary:
                parts.console.print(summary_table(report.summary))
            parts.console.print(f"Rows and summary: {report.folder}", soft_wrap=True)
        if tuning:
            found = tuning_commands.tune_budget(parts)
            parts.console.print(front_table(found.front, recommended=found.recommended["number"]))
            if found.importances:
                parts.console.print(importance_table(found.importances))
            parts.console.print(f"Trials, front and figures: {found.folder}", soft_wrap=True)
            parts.console.print(f"Recommended: strategy={found.strategy_name}, in {found.strategy}", soft_wrap=True)
        for line in parts.where_to_look():
            parts.console.print(line, soft_wrap=True)
    return FAILED if failed else OK


def report(overrides: Sequence[str]) -> int:
    """Show a finished experiment as Markdown tables with intervals, and keep them beside its rows."""
    from lever_ray.app import commands, settings

    file = commands.report(settings.load_settings(overrides, about=(settings.EXPERIMENT,)))
    sys.stdout.write(file.read_text(encoding="utf-8"))
    sys.stderr.write(f"Written to {file}\n")
    return OK


def study(arguments: argparse.Namespace) -> int:
    """Run a study that trains what it needs: rankers, search or shaping; docs/findings.md says what they found."""
    from lever_ray.app import commands, session, settings
    from lever_ray.console import make_console

    chosen = commands.settings_of_study(arguments.name, arguments.overrides)
    given = settings.load_settings(about=())
    with session.session(given, tracked=False, console=make_console(stderr=True)) as parts:
        folder = commands.study(parts, arguments.name, chosen)
    sys.stdout.write((folder / "report.md").read_text(encoding="utf-8"))
    sys.stderr.write(f"Rows and report: {folder}\n")
    return OK


def recommend(arguments: argparse.Namespace) -> int:
    """Pick a strategy from a finished study's front and keep it under a name that every command accepts."""
    from lever_ray.app import settings, tuning_commands
    from lever_ray.tuning.recommendation import Wish

    limited = (arguments.milliseconds, arguments.candidates, arguments.share) != (None, None, None)
    given = settings.load_settings(arguments.overrides, about=(settings.TUNING,))
    seconds = None if arguments.milliseconds is None else arguments.milliseconds / 1e3
    share = arguments.share if limited else given.tuning.share
    wish = Wish(seconds, arguments.candidates, share)
    _, file, replaced = tuning_commands.recommend_strategy(given, wish, name=arguments.name)
    if replaced:
        sys.stderr.write(f"Replaced {file.stem}, which was {replaced}\n")
    sys.stdout.write(file.read_text(encoding="utf-8"))
    sys.stderr.write(f"Written to {file}; use it with strategy={file.stem}\n")
    return OK


def doctor(overrides: Sequence[str]) -> int:
    """Check settings, kernels, Ray, the MLflow store and the library, and say what to do about what is wrong."""
    from lever_ray.app.doctor import examine
    from lever_ray.app.settings import load_settings
    from lever_ray.console import findings_table, make_console

    findings = examine(load_settings(overrides, about=()))
    make_console().print(findings_table(findings))
    return OK if all(finding.sound for finding in findings) else FAILED


def compose(arguments: argparse.Namespace) -> int:
    """Answer one query from a library."""
    from lever_ray.app.settings import load_settings
    from lever_ray.config import library_path
    from lever_ray.console import make_console, result_table
    from lever_ray.library.store import PolicyLibrary
    from lever_ray.query.compose import compose

    query, overrides = arguments.query, arguments.overrides
    _refuse_folders([*([] if query is None else [query]), *overrides])
    if arguments.picture is not None:
        _check_picture(arguments.picture)
    if query is not None and "=" in query and " " not in query:  # an override where the query was left out
        query, overrides = None, [query, *overrides]
    settings = load_settings(overrides, about=())
    library = PolicyLibrary.open(library_path(settings.library))
    result = compose(
        library,
        query,
        environment=arguments.environment,
        objective=arguments.objective,
        groups=arguments.groups,
        factors=_factors(arguments.factors),
        recipe=_recipe(arguments, settings.strategy),
    )
    task = library.environment(arguments.environment).task
    if arguments.picture is not None:
        _save_picture(task, result, arguments.picture)
    if arguments.json:
        sys.stdout.write(json.dumps(result.to_dict()) + "\n")
    else:
        make_console().print(result_table(task, result))
    return OK


def _factors(given: Sequence[str] | None) -> dict[str, float] | None:
    """Numbers by group, of texts such as ``gold:2``."""
    from lever_ray.errors import InvalidValue

    found: dict[str, float] = {}
    for text in given or ():
        name, separator, number = text.rpartition(":")
        try:
            found[name] = float(number)
        except ValueError:
            separator = ""
        if not separator or not name:
            raise InvalidValue(f"--factors has {text!r}; write GROUP:NUMBER, e.g. gold:2")
    return found or None


def _refuse_folders(given: Sequence[str]) -> None:
    """Refuse the folder of a library where a query or a setting stands."""
    from lever_ray.errors import SettingsError
    from lever_ray.library.manifest import MANIFEST

    for each in given:
        if (Path(each) / MANIFEST).is_file() or (os.sep in each and Path(each).is_dir()):
            raise SettingsError(
                f"{each!r} is a folder; compose takes a library by name: library=NAME of LEVER_RAY_HOME/libraries"
            )


def _check_picture(picture: Path) -> None:
    """Refuse a picture that cannot be written, before the work that leads to it."""
    from lever_ray.config import unwritable
    from lever_ray.errors import InvalidValue, SettingsError

    if picture.suffix.lower() != ".png":
        raise InvalidValue(f"--picture is {str(picture)!r}; it must end in .png")
    if why := unwritable(picture):
        raise SettingsError(why)


def _save_picture(task: Environment, result: CompositionResult, picture: Path) -> None:
    from lever_ray import plot
    from lever_ray.errors import SettingsError

    try:
        plot.save(plot.path(task, result), picture)
    except OSError as error:
        raise SettingsError(f"{picture} cannot be written ({error.strerror}); choose another place") from error


def _recipe(arguments: argparse.Namespace, chosen: StrategySettings) -> Recipe:
    """How a query is answered: as ``--recipe`` or ``strategy=<name>`` says, but for what single options say."""
    from lever_ray.composition.recipe import Recipe
    from lever_ray.errors import InvalidValue
    from lever_ray.experiment.plan import said

    given = {name: value for name in RECIPE_OPTIONS if (value := getattr(arguments, name)) is not None}
    settings = said(chosen)
    if arguments.recipe is None:
        return Recipe(**settings).override(**given)
    if settings:
        raise InvalidValue(
            f"--recipe {arguments.recipe!r} and settings of strategy ({', '.join(settings)}) both say how to answer; "
            "give one"
        )
    return Recipe.parse(arguments.recipe).override(**given)


def ui(arguments: argparse.Namespace) -> int:
    """Serve the MLflow UI on 127.0.0.1 and print the link that opens on the experiment."""
    from lever_ray.app.settings import load_settings
    from lever_ray.tracking import Tracker, ui_command

    tracker = Tracker(load_settings(arguments.overrides, about=()).tracking)
    command = ui_command(tracker, port=arguments.port)
    sys.stdout.write(f"Open {tracker.link(arguments.port)}\n")
    sys.stdout.flush()
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(command[0], command)


def runtime_env(arguments: argparse.Namespace) -> int:
    """Print the runtime environment, as JSON, that a submitted job needs to write where this command would."""
    from lever_ray.app.settings import load_settings
    from lever_ray.config import home
    from lever_ray.tracking import job_variables

    settings = load_settings(arguments.overrides, about=())
    sys.stdout.write(json.dumps({"env_vars": job_variables(settings.tracking, home())}) + "\n")
    return OK


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "build": build,
    "demo": demo,
    "doctor": doctor,
    "experiment": experiment,
    "report": report,
    "tune": tune,
}


def run_job(command: str) -> int:
    """What ``jobs/*.py`` call: a command with the overrides of the command line."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        sys.stdout.write(
            f"{COMMANDS[command].__doc__}\nusage: [group=option] [group.key=value] ...; see conf/ for groups and keys\n"
        )
        return OK
    return guarded(lambda: COMMANDS[command](given))


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``lever-ray`` command."""
    given = _parsed(_parser(), arguments)
    return guarded(lambda: given.run(given))


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments, with settings (key=value) wherever they stand; argparse takes them all from one place."""
    given, rest = parser.parse_known_args(arguments)
    if any(word.startswith("-") or "=" not in word for word in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    given.overrides = [*given.overrides, *rest]
    return given


def _parser() -> argparse.ArgumentParser:
    example = "example: lever-ray compose 'what is wanted, in words' --environment NAME --gamma 0"
    parser = argparse.ArgumentParser(
        prog="lever-ray", description="Reuse trained policies for new objectives.", epilog=example
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="command")
    overrides = {
        "nargs": "*",
        "metavar": "key=value",
        "help": "settings, e.g. library.layouts=5 strategy=hybrid; see conf/",
    }
    for name, command in COMMANDS.items():
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.add_argument("overrides", **overrides)  # type: ignore[arg-type]
        sub.set_defaults(run=lambda given, command=command: command(given.overrides))
    sub = commands.add_parser("study", help=study.__doc__, description=study.__doc__)
    sub.add_argument("name", help="rankers, search or shaping")
    sub.add_argument("overrides", nargs="*", metavar="key=value", help="its settings, e.g. layouts=20 gammas=[0]")
    sub.set_defaults(run=study)
    sub = commands.add_parser("ui", help=ui.__doc__, description=ui.__doc__)
    sub.add_argument("--port", type=int, default=5000)
    sub.add_argument("overrides", **overrides)  # type: ignore[arg-type]
    sub.set_defaults(run=ui)
    sub = commands.add_parser("runtime-env", help=runtime_env.__doc__, description=runtime_env.__doc__)
    sub.add_argument("overrides", **overrides)  # type: ignore[arg-type]
    sub.set_defaults(run=runtime_env)
    sub = commands.add_parser("recommend", help=recommend.__doc__, description=recommend.__doc__)
    sub.add_argument("--milliseconds", type=float, help="at most so many milliseconds per query")
    sub.add_argument("--candidates", type=float, help="at most so many candidates evaluated per query")
    sub.add_argument("--share", type=float, help="the cheapest that has this share of the best quality, e.g. 0.95")
    sub.add_argument("--name", default="", help="of the strategy; default: the study's")
    sub.add_argument("overrides", **overrides)  # type: ignore[arg-type]
    sub.set_defaults(run=recommend)
    sub = commands.add_parser("compose", help=compose.__doc__, description=compose.__doc__, epilog=example)
    _add_compose_arguments(sub)
    sub.add_argument("overrides", **overrides)  # type: ignore[arg-type]
    sub.set_defaults(run=compose)
    add_library_parsers(commands)
    return parser


RECIPE_OPTIONS: dict[str, str] = {
    "strategy": "targeted, hybrid, hybrid-5, budgeted-100, exhaustive, ...",
    "k": "members per group for hybrid",
    "budget": "most candidates for budgeted, random and best-first",
    "restarts": "populations for budgeted",
    "seed": "of what budgeted and random draw",
    "operator": "sum, max, normalized-sum, gpi, switch or plan",
    "width": "beam width of the operator plan",
    "ranker": "regressor, recorded-return or offline-return (for gpi, switch, plan)",
    "regressor_model": "of the regressor",
    "regressor_target": "what the regressor learns",
    "embedding": "what the regressor reads: outcome, psi or psi_static",
    "canonical": "canonical states that psi and psi_static are averaged over",
    "support": "mask or ignore",
    "retrieval": "objective or description: whose policies are members of a group",
    "threshold": "least similarity of a member's description",
    "gamma": "discount of the members, where the library holds several",
    "episodes": "training budget of the members, where the library holds several",
}
"""Options of ``compose`` that are fields of a recipe, by field, in words."""


def _add_compose_arguments(parser: argparse.ArgumentParser) -> None:
    from lever_ray.composition.recipe import readable_fields

    add = parser.add_argument
    add("query", nargs="?", help="what is wanted, in words")
    add("--environment", required=True, help="name of the environment in the library")
    add(
        "--objective", help="the composite objective instead of words, e.g. path-gold, or path-gold[1,2.5] with weights"
    )
    add("--groups", nargs="+", help="sub-objectives to take policies from; default: the smallest exact cover")
    add("--factors", nargs="+", metavar="GROUP:NUMBER", help="factors on the action values of groups, e.g. gold:2")
    add("--recipe", help="how to answer, by its id, e.g. strategy=hybrid,k=5; the options below change parts of it")
    for name, (kind, usual) in readable_fields().items():
        said = f" (default {usual})" if usual not in ("", None) else ""
        add(f"--{name.replace('_', '-')}", type=kind, help=RECIPE_OPTIONS[name] + said)
    add("--picture", type=Path, help="write a picture of the route, PNG")
    add("--json", action="store_true", help="print the result as JSON")
