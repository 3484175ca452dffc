"""``posttrain import FILE`` or ``posttrain import -- --model_name_or_path …``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from posttrain.pipeline.importing import KINDS


@click.command("import")
@click.argument("file", nargs=-1, required=True, type=click.UNPROCESSED, metavar="FILE | -- ARGUMENTS…")
@click.option("--as", "kind", type=click.Choice(list(KINDS)), help="What it is; told from its keys otherwise.")
@click.option("--processes", default=1, show_default=True, help="GPUs it was written for.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the recipe there instead of printing it.")
def import_(file: tuple[str, ...], kind: str | None, processes: int, out: Path | None) -> None:
    """Turn a LLaMA-Factory or TRL configuration into a recipe.

    FILE is their YAML or JSON; TRL's arguments can also be given as they stand on its command line, after a bare --.
    What has no place in a recipe is listed with the reason, on standard error and at the head of the recipe.
    """
    from posttrain.errors import RecipeError
    from posttrain.pipeline.importing import as_yaml, import_settings, read_arguments, read_settings
    from posttrain.store import write_atomic

    if len(file) == 1 and not file[0].startswith("--"):
        source, values = Path(file[0]).name, read_settings(Path(file[0]))
    else:
        source, values = "the command line", read_arguments(file)
    found = import_settings(values, source, kind, processes=processes)
    text = as_yaml(found, source)
    if out is None:
        click.echo(text, nl=False)
    elif out.exists():
        raise RecipeError(f"{out} is there already, and nothing was written. Give another --out.")
    else:
        with write_atomic(out) as target:
            target.write(text.encode())
        click.echo(f"wrote {out}; next: posttrain plan {out}")
    for line in found.assumed:
        print(f"please check: {line}", file=sys.stderr)
    for one in found.unmapped:
        print(f"no place for {one.key}: {one.reason}", file=sys.stderr)
