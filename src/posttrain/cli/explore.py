"""``posttrain explore RUN``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--port", default=8707, show_default=True, help="0 takes any that is free.")
@click.option(
    "--static",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write the pages into DIR, to be read without a server, and end.",
)
def explore(run: Path, port: int, static: Path | None) -> None:
    """Read a RUN in the browser: curves, checkpoints × problems, traces side by side, search, lineage.

    RUN is a run's folder (it may still be running), one artifact, or a folder of runs. Only this machine can ask, and
    only with the token in the printed address. Ends with Ctrl-C.
    """
    if static is not None:
        from posttrain.explorer.export import export

        made = export(run, static)
        click.echo(f"{made.pages:,} pages ({made.bytes / 2**20:.1f} MB): {static / 'index.html'}")
        for note in made.notes:
            click.echo(f"  {note}")
        return
    from posttrain.explorer.app import bind, new_token, open_site, serve

    site = open_site(run)
    bound = bind(port)
    token = new_token()
    click.echo(f"{site.title} at http://127.0.0.1:{bound.getsockname()[1]}/runs?token={token}")
    serve(site, bound, token)
