"""``posttrain submit RECIPE --slurm``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--slurm", is_flag=True, help="To the SLURM cluster of this login node.")
@click.option("--smoke", is_flag=True, help="The recipe's smoke section: tiny model, few items, same code.")
@click.option("--only", metavar="STAGE", help="Queue this stage only; what it reads must be made or queued.")
@click.option("--from", "start", metavar="STAGE", help="Queue this stage and everything that follows from it.")
@click.option(
    "--runs",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of runs, on storage that all nodes share.",
)
@click.option("--dry-run", is_flag=True, help="Print every file and command; queue nothing. Needs no SLURM.")
@click.option("--profile", type=click.Path(path_type=Path), help="A YAML file with the keys of slurm:, for a site.")
@click.option("--partition")
@click.option("--account")
@click.option("--qos")
@click.option("--gpus", help="On each node: 2, or a100:2.")
@click.option("--cpus", type=int, help="Of each process.")
@click.option("--memory", help="On each node: 32G.")
@click.option("--time", help="The limit of each job: 90 (minutes), 4:00:00, 1-12:00:00.")
@click.option("--venv", help="The virtual environment on the nodes.")
@click.option("--offline", is_flag=True, default=None, help="Nodes have no network: hub names are found in the mirror.")
def submit(
    recipe: str,
    overrides: tuple[str, ...],
    slurm: bool,
    smoke: bool,
    only: str | None,
    start: str | None,
    runs: Path,
    dry_run: bool,
    profile: Path | None,
    **flags: Any,
) -> None:
    """Queue RECIPE's stages on a cluster, each as a job that waits for those it reads.

    What is made, or queued already, is not queued again. `posttrain status` says what became of it. The recipe's slurm:
    block, --profile and the flags say what jobs ask for; a flag wins over the block, the block over the profile.
    """
    from posttrain.cluster import slurm as cluster
    from posttrain.cluster.slurm.submit import dry_run as shown
    from posttrain.errors import RecipeError
    from posttrain.pipeline import Wishes

    if not slurm:
        raise RecipeError("submit to what? Give --slurm. To run it on this machine: posttrain run.")
    frozen, graph = cluster.freeze(recipe, overrides, smoke=smoke)
    given = {name: value for name, value in flags.items() if value is not None}
    bases = list(dict.fromkeys(node.base for node in graph.nodes.values()))
    config = cluster.slurm_config(graph.recipe.slurm, profile, given, bases)
    run, wishes = runs / graph.recipe.name, Wishes(only, start)
    if dry_run:
        click.echo(shown(graph, frozen, run, config, wishes))
        return
    told = cluster.submit(graph, frozen, run, config, wishes, say=lambda line: click.echo(line))
    for name, number in told.before.items():
        click.echo(f"{name}: queued before, job {number}")
    if told.done:
        click.echo(f"made: {', '.join(told.done)}")
    click.echo(f"posttrain status {run}")
