"""``posttrain fetch NAME``."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), help="The mirror's folder [default: $POSTTRAIN_DATA].")
@click.option("--data", is_flag=True, help="NAMES are data sets, even where models have the same names.")
@click.option("--revision", help="A branch, tag or commit of the hub.")
def fetch(names: tuple[str, ...], to: Path | None, data: bool, revision: str | None) -> None:
    """Copy models and data sets from the hub into a local mirror.

    NAMES are owner/name, e.g. Qwen/Qwen2.5-0.5B, or gsm8k or math; a data set's may name a subset: openai/gsm8k:main.
    """
    from posttrain.errors import RecipeError
    from posttrain.hub import fetch as fetch_all

    destination = to or os.environ.get("POSTTRAIN_DATA")
    if not destination:
        raise RecipeError("where to? Give --to FOLDER, or set POSTTRAIN_DATA, which is where runs look for a mirror.")
    for folder in fetch_all(names, destination, kind="dataset" if data else None, revision=revision):
        click.echo(str(folder))
