"""``posttrain report RUN`` and ``posttrain report of=EVALUATION``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from posttrain.cli.stage import stage_command
from posttrain.errors import RecipeError

_STAGE = stage_command("report")


_ABOUT = "Report on RUN: all of its finished evaluations, sweeps and judgements, into RUN/report."


@click.command(help=f"{_ABOUT}\n\n{_STAGE.help}")
@click.argument("arguments", nargs=-1, metavar="[RUN] [KEY=VALUE]...")
@click.option("--fresh", is_flag=True, help="Make it again; the old one is kept as OUT@1.")
@click.option("--quiet", is_flag=True, help="No progress, only where the artifact is.")
@click.pass_context
def report(context: click.Context, arguments: tuple[str, ...], fresh: bool, quiet: bool) -> None:
    assignments = [a for a in arguments if "=" in a]
    runs = [a for a in arguments if "=" not in a]
    if len(runs) > 1:
        raise RecipeError(f"a report is on one run, and {len(runs)} are named. For several: of=[A/scores,B/scores].")
    if runs:
        assignments += _of_run(Path(runs[0]), {a.partition("=")[0] for a in assignments})
    context.invoke(_STAGE, assignments=tuple(assignments), fresh=fresh, quiet=quiet)


def _of_run(run: Path, given: set[str]) -> list[str]:
    """What naming a run says in KEY=VALUEs. A report that its recipe made is continued with its own seed."""
    from posttrain.report.run import evaluations_of, judgements_of
    from posttrain.store import Manifest

    scores, waiting = evaluations_of(run)
    if waiting:
        click.echo(f"not finished, so not in this report: {', '.join(waiting)}", err=True)
    said = [] if "of" in given else [f"of={json.dumps([str(folder) for folder in scores])}"]
    if given.isdisjoint({"of", "judged"}) and (judged := judgements_of(run)):
        said.append(f"judged={json.dumps([str(folder) for folder in judged])}")
    if "out" not in given:
        said.append(f"out={run / 'report'}")
        made = Manifest.read(run / "report")
        if made is not None and "seed" not in given:
            said.append(f"seed={made.seed}")
    return said
