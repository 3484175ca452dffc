"""``posttrain lineage ARTIFACT``."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Machine-readable, with library versions and hardware.")
def lineage(artifact: Path, as_json: bool) -> None:
    """Walk from ARTIFACT (its folder) back to its data, teacher, seeds and code."""
    from posttrain.store import lineage as walk

    origin = walk.lineage(artifact)
    click.echo(json.dumps(walk.as_dict(origin), indent=2, ensure_ascii=False) if as_json else walk.describe(origin))
