"""``posttrain fetch NAME``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--to", type=click.Path(path_type=Path), default=None, help="The mirror's folder [default: $POSTTRAIN_DATA]."
)
@click.option("--revision", default=None, help="A branch, tag or commit of the hub.")
def fetch(names: tuple[str, ...], to: Path | None, revision: str | None) -> None:
    """Copy models and data sets (NAMES, e.g. Qwen/Qwen2.5-0.5B or gsm8k) into a local mirror."""
    from posttrain.hub import fetch as fetch_all

    for folder in fetch_all(names, to, revision=revision):
        click.echo(folder)
