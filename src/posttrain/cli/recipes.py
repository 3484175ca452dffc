"""``posttrain recipes``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that ship with what they say of themselves; with NAME, print that recipe."""
    from posttrain.pipeline import find_recipe, shipped_recipes

    if name is not None:
        click.echo(find_recipe(name).read_text(encoding="utf-8"), nl=False)
        return
    for stem, path in shipped_recipes().items():
        click.echo(stem)
        for line in head_comment(path):
            click.echo(f"    {line}")
        click.echo()
    click.echo("posttrain run NAME runs one; posttrain recipes NAME prints it.")


def head_comment(path: Path) -> list[str]:
    """The comment lines that open a recipe, without their marks."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return lines
