"""``posttrain sweep RUN [KEY=VALUE]...``: the `sweep` stage over a run that is named first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from posttrain.cli.stage import make_alone, stage_help
from posttrain.config import apply_overrides
from posttrain.errors import RecipeError
from posttrain.stage import stage_spec


@click.command(help=stage_help(stage_spec("sweep"), "RUN: a training stage's folder, a run's folder, or org/name."))
@click.argument("run")
@click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--fresh", is_flag=True, help="Make it again; the old one is kept as OUT@1.")
@click.option("--quiet", is_flag=True, help="No progress, only where the artifact is.")
def sweep(run: str, assignments: tuple[str, ...], fresh: bool, quiet: bool) -> None:
    """`problems=500` is the number of problems; `problems=FOLDER` an artifact with some."""
    values = apply_overrides({}, assignments)
    if isinstance(values.get("problems"), int):
        values["limit"] = values.pop("problems")
    trained = trained_in(run)
    values = {"run": trained, "out": _out(run, trained), **values}
    make_alone(stage_spec("sweep"), values, fresh=fresh, quiet=quiet)


def trained_in(run: str) -> str:
    """The training stage behind `run`: that folder itself, or the only one in it that kept checkpoints.

    RecipeError for a run without any, or with several.
    """
    path = Path(run).expanduser()
    if not path.is_dir() or (path / "checkpoints").is_dir() or (path / "manifest.json").exists():
        return run
    stages = sorted(p.parent for p in path.glob("*/checkpoints") if p.is_dir() and "@" not in p.parent.name)
    if len(stages) == 1:
        return str(stages[0])
    if not stages:
        raise RecipeError(
            f"{run} holds no checkpoints: neither {path}/checkpoints nor a stage that kept any. Train with "
            "checkpoints.every, or name the folder of the training stage."
        )
    names = ", ".join(map(str, stages))
    raise RecipeError(f"several stages of {run} kept checkpoints: {names}. Name one of them.")


def _out(run: str, trained: str) -> Any:
    """Beside the stage: runs/mine/rl is swept into runs/mine/sweep-rl."""
    path = Path(trained).expanduser()
    if path.is_dir():
        return str(path.parent / f"sweep-{path.resolve().name}")
    return f"runs/alone/sweep-{run.replace('/', '-').replace('@', '-')}"
