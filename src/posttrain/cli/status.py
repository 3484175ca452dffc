"""``posttrain status [RUN]``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def status(run: Path | None, runs: Path, as_json: bool) -> None:
    """What became of RUN's stages: made, running, waiting, failed and why; of every run, where none is named.

    RUN is a run's folder, or its name below --runs. SLURM is asked where stages were submitted to it.
    """
    from posttrain.cluster.slurm.status import describe, status_of
    from posttrain.errors import RecipeError, did_you_mean

    here = [path for path in sorted(runs.iterdir()) if path.is_dir()] if runs.is_dir() else []
    if run is not None and not run.is_dir():
        if not (runs / run).is_dir():
            names = [path.name for path in here]
            near = did_you_mean(str(run), names) or f" {runs} has: {', '.join(names) or 'no runs'}."
            raise RecipeError(f"there is no run {str(run)!r}.{near}")
        run = runs / run
    found = {path: status_of(path) for path in ([run] if run is not None else here)}
    found = {path: told for path, told in found.items() if told[0] or path == run}
    if as_json:
        listed = [
            {"run": str(path), "stages": [one.as_dict() for one in stages], "slurm": trouble or None}
            for path, (stages, trouble) in found.items()
        ]
        click.echo(json.dumps(listed, indent=2, ensure_ascii=False))
    elif run is not None:
        stages, trouble = found[run]
        click.echo(describe(stages, run, trouble) if stages else f"{run}: nothing was started.")
    else:
        for path, (stages, _) in found.items():
            states = [one.state for one in stages]
            counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
            click.echo(f"{path}: {counts}")
        if not found:
            click.echo(f"{runs} has no runs.")
