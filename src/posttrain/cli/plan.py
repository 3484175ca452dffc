"""``posttrain plan RECIPE``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from posttrain.cli.options import recipe_arguments

if TYPE_CHECKING:
    from posttrain.pipeline.graph import Graph
    from posttrain.pipeline.wishes import Wishes


@click.command()
@recipe_arguments
@click.option(
    "--on", "gpus", multiple=True, metavar="GB|NxGB", help="Would it fit? On a GPU of 24 GB: 24; on four of 80: 4x80."
)
@click.option("--prices", type=click.Path(path_type=Path), help="A YAML file of GPUs: memory, speed, price.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with every stage's resolved config.")
def plan(
    recipe: str,
    overrides: tuple[str, ...],
    smoke: bool,
    only: str | None,
    start: str | None,
    fresh: tuple[str, ...],
    runs: Path,
    gpus: tuple[str, ...],
    prices: Path | None,
    as_json: bool,
) -> None:
    """Show RECIPE's graph, what of it is reused, and a forecast of time, memory, disk and money."""
    from posttrain.pipeline import Wishes, build_graph, load_recipe, plan_graph
    from posttrain.pipeline.plan import as_dict, describe

    graph = build_graph(load_recipe(recipe, overrides, smoke=smoke))
    folder = runs / graph.recipe.name
    wishes = Wishes(only, start, fresh)
    if gpus:
        _fits(graph, folder, wishes, gpus, prices, as_json)
        return
    planned = plan_graph(graph, folder, wishes)
    if as_json:
        click.echo(json.dumps({"run": str(folder), "stages": [as_dict(one) for one in planned]}, indent=2))
    else:
        click.echo(describe(planned, folder))


def _fits(
    graph: Graph, folder: Path, wishes: Wishes, gpus: tuple[str, ...], prices: Path | None, as_json: bool
) -> None:
    from posttrain.models.gpus import gpu_table, read_wish
    from posttrain.pipeline.fitting import describe_fits, fit

    table = gpu_table(prices)
    fits = [fit(graph, folder, wishes, *read_wish(wish, table)) for wish in gpus]
    if as_json:
        click.echo(json.dumps({"run": str(folder), "fits": [one.as_dict() for one in fits]}, indent=2))
    else:
        click.echo(describe_fits(fits, table.as_of))
