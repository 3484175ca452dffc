"""``posttrain push FOLDER``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--repo", help="owner/name on the Hub [default: where the stage pushed to].")
@click.option("--revision", default="main", show_default=True, help="The branch, for a folder that is itself a model.")
@click.option(
    "--card", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A card to send as README.md."
)
@click.option("--public", is_flag=True, help="A repository that is made now is public.")
def push(folder: Path, repo: str | None, revision: str, public: bool, card: Path | None) -> None:
    """Send a model folder or a data set of traces to the Hub, or what a training stage could not send.

    The token is read from HF_TOKEN. Files that the Hub has already are not sent again.
    """
    from posttrain.errors import RecipeError
    from posttrain.hub.push import push_folder
    from posttrain.training.pushing import JOURNAL, push_later

    if (folder / JOURNAL).is_file() and repo is None and card is None:
        for sent, commit in push_later(folder):
            click.echo(f"{sent}: {commit}")
        return
    if repo is None:
        why = "a card goes along with a model" if card else f"{folder} was not pushed before"
        raise RecipeError(f"where to? {why}: give --repo owner/name.")
    inner = next((folder / name for name in ("model", "dataset") if (folder / name).is_dir()), folder)
    commit = push_folder(
        inner,
        repo,
        [revision],
        private=not public,
        message=folder.resolve().name,
        repo_type="dataset" if inner.name == "dataset" else "model",
        card=card,
    )
    click.echo(f"{revision}: {commit}")
