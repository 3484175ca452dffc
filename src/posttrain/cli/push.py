"""``posttrain push FOLDER``."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--repo", help="owner/name on the Hub [default: where the stage pushed to].")
@click.option("--revision", default="main", show_default=True, help="The branch.")
@click.option("--card", type=FILE, help="A card to send as README.md [the report's, or one made now].")
@click.option("--scores", multiple=True, type=FOLDER, help="An evaluation for a model's card; several may be given.")
@click.option("--model", help="Which model of an evaluation, where FOLDER is one with several.")
@click.option("--base", help="owner/name of what an adapter stands on, where that was trained here.")
@click.option("--license", "licence", help="In the Hub's words, e.g. apache-2.0.")
@click.option("--public", is_flag=True, help="A repository that is made now is public.")
@click.option("--weights", is_flag=True, help="A run with its models and checkpoints.")
@click.option(
    "--existing",
    type=click.Choice(["refuse", "add", "replace"]),
    help="Where the repository has other content: send nothing, leave what is not of FOLDER, or take it away [refuse].",
)
@click.option("--dry-run", is_flag=True, help="List what would go, with sizes; ask nobody and send nothing.")
def push(
    folder: Path,
    repo: str | None,
    revision: str,
    card: Path | None,
    scores: tuple[Path, ...],
    model: str | None,
    base: str | None,
    licence: str | None,
    public: bool,
    weights: bool,
    existing: str | None,
    dry_run: bool,
) -> None:
    """Send FOLDER to the Hub: a run, a model or adapter, problems or samples as a data set, scores into a model's card;
    or what a training stage could not send.

    The token is read from HF_TOKEN. What the Hub has already is not sent again: a push that broke off goes on.
    """
    from posttrain.errors import RecipeError
    from posttrain.hub.push import describe_parcel, push_parcel
    from posttrain.pipeline.publishing import existing_of, packed, told
    from posttrain.providers.keys import read_env
    from posttrain.training.pushing import JOURNAL, push_later, waiting

    if (folder / JOURNAL).is_file() and repo is None and card is None and not scores:
        if dry_run:
            for line in waiting(folder):
                click.echo(line)
            return
        for sent, commit in push_later(folder, existing_of(existing) if existing else None):
            click.echo(f"{sent}: {commit}")
        return
    if repo is None:
        why = "a card goes along with a model" if card else f"{folder} was not pushed before"
        raise RecipeError(f"where to? {why}: give --repo owner/name.")
    if (folder / "scores.json").is_file():
        _results(folder, repo, model, existing or "refuse", dry_run)
        return
    with packed(folder, card=card, scores=scores, license=licence, base=base, weights=weights) as parcel:
        if dry_run:
            for line in describe_parcel(parcel, repo, revision):
                click.echo(line)
            return
        done = push_parcel(
            parcel,
            repo,
            [revision],
            private=not public,
            existing=existing_of(existing or "refuse"),
            secrets=read_env(Path(".env")),
            say=lambda line: click.echo(line, err=True),
        )
    click.echo(f"{revision}: {told(done)}")


def _results(scores: Path, repo: str, model: str | None, existing: str, dry_run: bool) -> None:
    from posttrain.hub.results import push_results
    from posttrain.pipeline.publishing import existing_of, told
    from posttrain.report.card_facts import results_of

    results = results_of(scores, model or repo.rpartition("/")[2])
    if dry_run:
        click.echo(f"into the card of the model {repo}:")
        for one in results:
            click.echo(f"  {one['dataset']['name']}: {one['metrics'][0]['value']} ({one['metrics'][0]['name']})")
        return
    click.echo(f"main: {told(push_results(repo, results, existing=existing_of(existing)))}")
