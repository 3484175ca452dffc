"""``posttrain curate``: the stage of that name; and what a finished one says of itself, or of one row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from posttrain.cli.stage import stage_command


def curate_command() -> click.Command:
    """The stage's own command, with ``FOLDER`` and ``FOLDER --explain ROW`` beside ``KEY=VALUE``."""
    command = stage_command("curate")
    make = command.callback
    assert make is not None

    def callback(assignments: tuple[str, ...], explain: str | None, **options: Any) -> None:
        folder = Path(assignments[0]) if len(assignments) == 1 and "=" not in assignments[0] else None
        if folder is None and explain is None:
            make(assignments=assignments, **options)
            return
        if folder is None:
            raise click.UsageError("--explain ROW is asked of one folder: posttrain curate FOLDER --explain ROW.")
        _show(folder, explain)

    command.callback = callback
    command.params.append(
        click.Option(
            ["--explain"], metavar="ROW", help="Of FOLDER, a curation that stands: why was this row kept or dropped?"
        )
    )
    command.params[0].metavar = "[KEY=VALUE]... | FOLDER"
    return command


def _show(folder: Path, row: str | None) -> None:
    from posttrain.curate.page import explain, explained_in_words, in_words, read_curation

    lines = in_words(read_curation(folder), examples=True) if row is None else explained_in_words(explain(folder, row))
    click.echo("\n".join(lines))


curate = curate_command()
