"""``posttrain validate RUN/STAGE``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("stage", type=click.Path(path_type=Path))
@click.option("--device", default="auto", show_default=True)
def validate(stage: Path, device: str) -> None:
    """Make up for validation that was missed while STAGE (its folder) was trained, from the weights that were kept."""
    from posttrain.training.beside.later import missed, validate_missed

    if not missed(stage):
        click.echo(f"{stage}: nothing was missed.")
        return
    for found in validate_missed(stage, device):
        scores = found.scores
        click.echo(f"step {found.step}: accuracy {100 * scores['val_accuracy']:.1f} %, n = {scores['val_n']:,.0f}")
