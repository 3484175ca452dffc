"""``posttrain run RECIPE``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Where runs are."
)
@click.option("--smoke", is_flag=True, help="The recipe's smoke section: tiny model, few items, same code path.")
def run(recipe: str, overrides: tuple[str, ...], runs: Path, smoke: bool) -> None:
    """Run RECIPE (a file, or one that ships)."""
    from posttrain.pipeline import build_graph, load_recipe, run_graph

    graph = build_graph(load_recipe(recipe, overrides, smoke=smoke))
    run_graph(graph, runs / graph.recipe.name)
