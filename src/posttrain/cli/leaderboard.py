"""``posttrain leaderboard DIR|RUN …``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from posttrain.leaderboard.build import Builder
    from posttrain.leaderboard.pages import Site
    from posttrain.leaderboard.schema import Table

FOLDER = click.Path(path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=FOLDER, metavar="DIR|RUN...")
@click.option("--problems", multiple=True, type=FOLDER, help="Folder of problems with the golds to grade by.")
@click.option(
    "--target", type=click.FloatRange(0, 1), help="Time to this validation accuracy [0.9 of the best entry's]."
)
@click.option("--title", default="Leaderboard", show_default=True)
@click.option("--confidence", type=click.FloatRange(0.5, 1, min_open=True, max_open=True), default=0.95)
@click.option("--programs", is_flag=True, help="Run submitted programs, in the sandbox, where grading needs it.")
@click.option("--json", "as_json", is_flag=True, help="Print board.json.")
@click.option("--static", type=FOLDER, help="Write the board as a site of files into this folder.")
@click.option("--submit", type=FOLDER, help="Write the entries of runs as submissions into this folder, and no board.")
@click.option("--host", is_flag=False, flag_value="127.0.0.1", help="Serve it, read-only, on this address [127.0.0.1].")
@click.option(
    "--port", default=8400, show_default=True, type=click.IntRange(0, 65535), help="0 takes any that is free."
)
@click.option(
    "--every", default=30.0, show_default=True, type=click.FloatRange(1), help="Seconds between looks for news."
)
def leaderboard(
    paths: tuple[Path, ...],
    problems: tuple[Path, ...],
    target: float | None,
    title: str,
    confidence: float,
    programs: bool,
    as_json: bool,
    static: Path | None,
    submit: Path | None,
    host: str | None,
    port: int,
    every: float,
) -> None:
    """Rank runs, evaluations and submissions as far as noise allows. Every answer is graded here.

    DIR is a folder of submissions (each a folder with submission.json and its samples), or one of them; RUN is the
    folder of a run or of an evaluation, which is trusted and brings its golds.
    """
    from posttrain.leaderboard.build import Builder, refused_lines
    from posttrain.leaderboard.export import write_site, write_submissions
    from posttrain.leaderboard.golds import read_given
    from posttrain.leaderboard.pages import as_json as board_json
    from posttrain.leaderboard.pages import make_site

    if submit is not None:
        for written in write_submissions(paths, submit):
            click.echo(f"submission: {written}")
        return
    given = [split for folder in problems for split in read_given(folder)]
    builder = Builder(paths, title, given, target, confidence, programs)
    board = builder.build()
    if as_json:
        click.echo(board_json(board).decode(), nl=False)
    else:
        click.echo("\n\n".join(_shown(table) for table in board.tables))
        for line in refused_lines(board.refused):
            click.echo(line, err=True)
    if static is not None:
        write_site(make_site(board), static)
        click.echo(f"board: {static / 'index.html'}", err=as_json)
    if host is not None:
        _serve(builder, make_site(board), host, port, every)


def _shown(table: Table) -> str:
    """One table for a terminal."""
    from posttrain.evals.table import markdown, percent, points
    from posttrain.leaderboard.pages import money, place, span

    head = ["rank", "entry", "accuracy", "interval", "behind", "n", "truncated", "unparsed", "training"]
    head += [*([] if table.target is None else [f"to {percent(table.target, 0)}"]), "paid"]
    rows = [
        [
            place(e),
            e.name + (f" (claimed {percent(e.claimed)})" if e.claim == "differs" else ""),
            percent(e.accuracy),
            f"{100 * e.interval[0]:.1f} to {100 * e.interval[1]:.1f}",
            points(-e.behind.difference) if e.behind else "–",
            f"{e.n:,}",
            percent(e.truncation_rate),
            percent(e.unparsed_rate),
            span(e.seconds),
            *([] if table.target is None else [span(e.seconds_to_target)]),
            money(e.dollars),
        ]
        for e in table.entries
    ]
    return f"{table.benchmark}, n = {table.n:,}, fingerprint {table.fingerprint[:12]}\n\n{markdown(head, rows)}"


def _serve(builder: Builder, site: Site, host: str, port: int, every: float) -> None:
    from posttrain.leaderboard.pages import make_site
    from posttrain.leaderboard.server import BoardServer, keep_fresh

    server = BoardServer(site, host, port)
    stop = threading.Event()
    click.echo(f"board at {server.url}")
    if not server.local:
        click.echo("anybody who can reach this machine can read it; nobody can write", err=True)
    keep_fresh(server, lambda: make_site(builder.build()), every, lambda text: click.echo(text, err=True), stop)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        stop.set()
        server.server_close()
