"""``posttrain init FOLDER``."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import click

FILES = {"recipe.yaml": "starter.yaml", ".env.example": "env.example"}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("."))
def init(folder: Path) -> None:
    """Write recipe.yaml, a commented recipe that runs on a laptop, and .env.example into FOLDER (default: here)."""
    from posttrain.errors import StoreError
    from posttrain.store import write_atomic

    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file. Give a folder.")
    for name in FILES:
        if (folder / name).exists():
            raise StoreError(f"{folder / name} is there already, and nothing was written. Give another folder.")
    for name, template in FILES.items():
        text = (resources.files("posttrain.cli") / "templates" / template).read_text(encoding="utf-8")
        with write_atomic(folder / name) as file:
            file.write(text.encode())
        click.echo(f"wrote {folder / name}")
    click.echo(f"next: posttrain plan {folder / 'recipe.yaml'}, then posttrain run {folder / 'recipe.yaml'}")
