"""``posttrain push FOLDER``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--repo", help="owner/name on the Hub [default: where the stage pushed to].")
@click.option("--revision", default="main", show_default=True, help="The branch, for a folder that is itself a model.")
@click.option("--public", is_flag=True, help="A repository that is made now is public.")
def push(folder: Path, repo: str | None, revision: str, public: bool) -> None:
    """Send a model folder or a data set of traces to the Hub, or what a training stage could not send.

    The token is read from HF_TOKEN. Files that the Hub has already are not sent again.
    """
    from posttrain.errors import RecipeError
    from posttrain.hub.push import push_folder
    from posttrain.training.pushing import JOURNAL, push_later

    if (folder / JOURNAL).is_file() and repo is None:
        for sent, commit in push_later(folder):
            click.echo(f"{sent}: {commit}")
        return
    if repo is None:
        raise RecipeError(f"where to? {folder} was not pushed before: give --repo owner/name.")
    inner = next((folder / name for name in ("model", "dataset") if (folder / name).is_dir()), folder)
    commit = push_folder(
        inner,
        repo,
        [revision],
        private=not public,
        message=f"{folder.resolve().name}",
        repo_type="dataset" if inner.name == "dataset" else "model",
    )
    click.echo(f"{revision}: {commit}")
