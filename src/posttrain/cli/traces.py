"""``posttrain traces``: the stage as a verb, and its pilot: ask a few, tell what all would cost, and stop."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from posttrain.cli.stage import sort_out, stage_command
from posttrain.config import apply_overrides


def _command() -> click.Command:
    command = stage_command("traces")
    make = command.callback
    assert make is not None

    def callback(assignments: tuple[str, ...], pilot: int | None, max_cost: float | None, **flags: Any) -> None:
        given = (*assignments, *([f"max_cost={max_cost}"] if max_cost is not None else []))
        if pilot is None:
            make(assignments=given, **flags)
        else:
            ask_pilot((*given, f"pilot={pilot}"), quiet=bool(flags["quiet"]))

    command.callback = callback
    command.params += [
        click.Option(["--pilot"], type=int, help="Ask so many problems, tell what all would cost, and stop."),
        click.Option(["--max-cost"], type=float, help="Dollars that the teachers may cost at most: max_cost."),
    ]
    return command


def ask_pilot(assignments: tuple[str, ...], *, quiet: bool) -> None:
    """Asks the pilot into the journals of the stage, which finds its replies there."""
    from posttrain.config import parse
    from posttrain.pipeline.order import open_inputs
    from posttrain.prompts import get_template
    from posttrain.stage import Workspace, stage_spec
    from posttrain.store import Problems
    from posttrain.traces.asking import ask_all, journals_folder
    from posttrain.traces.config import TracesConfig

    spec = stage_spec("traces")
    values, inputs, seed, out = sort_out(spec, apply_overrides({}, assignments))
    config = parse(TracesConfig, values, "stage 'traces'")
    problems = open_inputs(spec, inputs)["problems"]
    assert isinstance(problems, Problems)
    if not config.asked:
        raise click.UsageError(f"--pilot is for teachers of a provider; {', '.join(config.teachers)} costs nothing.")
    config = config.model_copy(update={"journal": journals_folder(config, Path(out))})
    with tempfile.TemporaryDirectory() as scratch:
        work = Workspace(Path(scratch), seed=seed, quiet=quiet)
        chosen = problems.read(config.split)[: config.limit]
        template = get_template(config.template, system=config.system)
        for line in ask_all(config, chosen, template, work, only_pilot=True).lines:
            click.echo(line)


traces = _command()
