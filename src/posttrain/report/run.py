"""A run's folder as the input of a report: its finished evaluations and judgements, and what is not finished."""

from __future__ import annotations

from pathlib import Path

from posttrain.errors import RecipeError
from posttrain.store import Manifest


def evaluations_of(run: Path) -> tuple[list[Path], list[str]]:
    """The folders of the run's finished evaluations, and in words what is still to come.

    A folder that is an evaluation itself stands for itself. RecipeError where there is no run, or none is finished.
    """
    if not run.is_dir():
        raise RecipeError(f"{run} is no folder here. Give the folder of a run, e.g. runs/quickstart.")
    folders = [run, *sorted(p for p in run.iterdir() if p.is_dir() and "@" not in p.name)]
    stand = [(folder, manifest) for folder in folders if (manifest := Manifest.read(folder)) is not None]
    if not stand:
        raise RecipeError(f"{run} is no run: no folder in it has a manifest.json. Give the folder that a run made.")
    scores = [folder for folder, manifest in stand if manifest.kind == "scores" and manifest.status == "finished"]
    waiting = [f"{folder.name} ({manifest.stage})" for folder, manifest in stand if manifest.status != "finished"]
    if not scores:
        rest = f"; still running or interrupted: {', '.join(waiting)}" if waiting else ""
        raise RecipeError(f"{run} has no finished evaluation yet{rest}. Evaluate its models, or let the run go on.")
    return scores, waiting


def judgements_of(run: Path) -> list[Path]:
    """The folders of the run's finished judgements."""
    folders = sorted(p for p in run.iterdir() if p.is_dir() and "@" not in p.name)
    stand = [(folder, manifest) for folder in folders if (manifest := Manifest.read(folder)) is not None]
    return [folder for folder, made in stand if made.kind == "judgements" and made.status == "finished"]
