"""``posttrain run RECIPE``."""

from __future__ import annotations

from pathlib import Path

import click

from posttrain.cli.options import recipe_arguments


@click.command()
@recipe_arguments
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--quiet", is_flag=True, help="One line per stage and nothing else.")
def run(
    recipe: str,
    overrides: tuple[str, ...],
    smoke: bool,
    only: str | None,
    start: str | None,
    fresh: tuple[str, ...],
    runs: Path,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Run RECIPE: the path of a recipe file, or the name of one that ships.

    Finished stages are reused, interrupted ones continued. KEY=VALUE changes the recipe for this run: name=other,
    seed=2, sft.lr=1e-4 (a key of stage sft).
    """
    from posttrain.pipeline import Wishes, build_graph, load_recipe, plan_graph, reports, run_graph
    from posttrain.pipeline.panes import panes_for
    from posttrain.pipeline.plan import describe
    from posttrain.pipeline.publishing import check_push, publish
    from posttrain.providers.keys import read_env

    graph = build_graph(load_recipe(recipe, overrides, smoke=smoke))
    folder = runs / graph.recipe.name
    wishes = Wishes(only, start, fresh)
    push = graph.recipe.push
    targets = check_push(push, graph, with_token=not dry_run) if push is not None else {}  # before anything is spent
    if dry_run:
        click.echo(describe(plan_graph(graph, folder, wishes), folder))
        for name, repo in targets.items():
            click.echo(f"then to the Hub: {name} → {repo}")
        return
    panes = panes_for(quiet=quiet)
    if graph.recipe.launch == "ray":
        from posttrain.cluster.ray import run_on_ray

        result = run_on_ray(graph, folder, wishes, say=panes.say)
    else:
        result = run_graph(graph, folder, wishes, quiet=quiet, say=panes.say, panes=panes)
    pages = reports(result)
    for name, page in pages.items():
        click.echo(f"{name}: {page}")
    if not pages:
        click.echo(f"run: {folder}")
    if push is not None and not result.skipped:
        publish(push, graph, folder, click.echo, read_env(Path(".env")))
