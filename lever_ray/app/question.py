"""What decides the rows of an experiment: its plan, its environments and the library's content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lever_ray.app.finished import Note, flat_settings, noted
from lever_ray.app.settings import experiment_plan
from lever_ray.building.settings import environment_names
from lever_ray.config import Settings, home, library_path
from lever_ray.experiment.plan import ExperimentPlan
from lever_ray.experiment.run import plan_digest
from lever_ray.library.format.manifest import MANIFEST
from lever_ray.library.library import PolicyLibrary
from lever_ray.library.reader import LibraryReader

DECIDING = ("experiment", "library")
"""Groups of settings that decide what an experiment gives."""


def names_asked(settings: Settings) -> list[str]:
    """Names of the environments that the settings ask for."""
    return list(settings.library.environments) or environment_names(settings.library)


def environments_of(library: LibraryReader, settings: Settings) -> list[str]:
    """Names of the environments that the settings ask for; UnknownName where the library lacks one."""
    names = names_asked(settings)
    for name in names:
        library.environment(name)
    return names


def library_digest(settings: Settings) -> str:
    """Hash of the library's content."""
    return PolicyLibrary.open(library_path(settings.library)).digest


@dataclass(frozen=True)
class Question:
    """What decides the rows of an experiment, and where they are kept.

    Attributes:
        plan: of the settings.
        names: of the environments.
        digest: of plan, names and the library's content.
        folder: of rows, summary and report.
        title: names its parent run and its view in MLflow.
    """

    plan: ExperimentPlan
    names: list[str]
    digest: str
    folder: Path
    title: str


def question_of(settings: Settings, library: LibraryReader | None = None) -> Question:
    """The question of an experiment.

    Args:
        settings: of the experiment.
        library: where it is open already.

    Raises:
        LibraryError: the library is missing or damaged.
        UnknownName: it lacks an environment.
    """
    plan, name = experiment_plan(settings), settings.experiment.name
    names = environments_of(library or PolicyLibrary.open(library_path(settings.library)), settings)
    digest = plan_digest(plan, names, library_digest(settings))
    return Question(plan, names, digest, home() / "experiments" / f"{name}-{digest}", f"{name} {digest[:6]}")


def noted_experiment(settings: Settings) -> tuple[Question, Note] | None:
    """The question and the note of an experiment that is finished, by the same code and settings; None of others.

    Raises:
        LibraryError, UnknownName: see :func:`question_of`.
    """
    if not settings.experiment.resume or not (library_path(settings.library) / MANIFEST).exists():
        return None
    asked = question_of(settings)
    known = noted(asked.folder, flat_settings(settings, DECIDING))
    files = [asked.folder / name for name in ("rows.parquet", "summary.parquet")]
    return None if known is None or not all(file.exists() for file in files) else (asked, known)
