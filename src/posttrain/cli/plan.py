"""``posttrain plan RECIPE``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from posttrain.cli.options import recipe_arguments


@click.command()
@recipe_arguments
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with every stage's resolved config.")
def plan(
    recipe: str,
    overrides: tuple[str, ...],
    smoke: bool,
    only: str | None,
    start: str | None,
    fresh: tuple[str, ...],
    runs: Path,
    as_json: bool,
) -> None:
    """Show RECIPE's graph, what of it is reused, and a forecast of time, memory, disk and money."""
    from posttrain.pipeline import Wishes, build_graph, load_recipe, plan_graph
    from posttrain.pipeline.plan import as_dict, describe

    graph = build_graph(load_recipe(recipe, overrides, smoke=smoke))
    folder = runs / graph.recipe.name
    planned = plan_graph(graph, folder, Wishes(only, start, fresh))
    if as_json:
        click.echo(json.dumps({"run": str(folder), "stages": [as_dict(one) for one in planned]}, indent=2))
    else:
        click.echo(describe(planned, folder))
