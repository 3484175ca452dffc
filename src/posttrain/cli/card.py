"""``posttrain card ARTIFACT``."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("artifact", type=FOLDER)
@click.option("--scores", multiple=True, type=FOLDER, help="An evaluation of the model; several may be given.")
@click.option("--name", help="What the card calls it [the folder's name].")
@click.option("--license", "licence", help="In the Hub's words, e.g. apache-2.0.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it to this file [print it].")
def card(artifact: Path, scores: tuple[Path, ...], name: str | None, licence: str | None, out: Path | None) -> None:
    """The Hub's card of ARTIFACT: a model (training stage or model folder), problems, or traces.

    `posttrain push ARTIFACT --card FILE` sends it along as README.md.
    """
    from posttrain.report.card_facts import card_of
    from posttrain.store import write_atomic

    text = card_of(artifact, scores, name=name, license=licence)
    if out is None:
        click.echo(text, nl=False)
        return
    with write_atomic(out) as file:
        file.write(text.encode("utf-8", errors="replace"))
    click.echo(f"card: {out}")
