"""``posttrain launch TARGET``: a training stage on several machines, the same command on each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from posttrain.pipeline.launching import Launch


@click.command()
@click.argument("target", metavar="STAGE|RECIPE")
@click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--only", metavar="STAGE", help="Of a recipe: this stage.")
@click.option("--smoke", is_flag=True, help="The recipe's smoke section: tiny model, few items, same code.")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of runs."
)
@click.option(
    "--node", type=int, help="This machine's number, from 0 [default: NODE_RANK, GROUP_RANK or SLURM_NODEID]."
)
@click.option("--print", "show", is_flag=True, help="Print the commands of every machine, and start nothing.")
def launch(
    target: str, assignments: tuple[str, ...], only: str | None, smoke: bool, runs: Path, node: int | None, show: bool
) -> None:
    """Train a stage with its launch: block, the same command on every machine; --print shows what each one starts.

    Machine 0 makes the stage; the others (launch.nodes) join it in its folder, which all must see. On one machine this
    is `posttrain STAGE` or `posttrain run RECIPE --only STAGE`.
    """
    from posttrain.pipeline.launching import of_recipe
    from posttrain.registry import STAGES
    from posttrain.training.rank import follow

    alone = target in STAGES or ":" in target
    found = (
        [_alone(target, assignments)] if alone else of_recipe(target, assignments, only=only, smoke=smoke, runs=runs)
    )
    if show:
        click.echo("\n".join(line for one in found for line in one.lines()))
        return
    number = node if node is not None else _number()
    for one in found:
        if number == 0:
            one.make()
        elif (code := follow(one.directory, number)) != 0:
            raise SystemExit(code)


def _alone(name: str, assignments: tuple[str, ...]) -> Launch:
    from posttrain.cli.stage import sort_out
    from posttrain.config import apply_overrides, parse
    from posttrain.pipeline.launching import of_stage
    from posttrain.stage import stage_spec

    spec = stage_spec(name)
    config, inputs, seed, out = sort_out(spec, apply_overrides({}, assignments))
    return of_stage(spec, parse(spec.config, config, f"stage '{name}'"), inputs, out, seed, assignments)


def _number() -> int:
    """This machine's number, from those who start one command on many."""
    return int(next((os.environ[n] for n in ("NODE_RANK", "GROUP_RANK", "SLURM_NODEID") if n in os.environ), "0"))
