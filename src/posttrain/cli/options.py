"""Arguments that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]


def recipe_arguments(function: Command) -> Command:
    """RECIPE [KEY=VALUE]..., --smoke, --runs and the choice of stages."""
    for decorate in reversed(
        [
            click.argument("recipe"),
            click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
            click.option("--smoke", is_flag=True, help="The recipe's smoke section: tiny model, few items, same code."),
            click.option("--only", metavar="STAGE", help="Make this stage only; what it reads must be finished."),
            click.option(
                "--from", "start", metavar="STAGE", help="Make this stage and everything that follows from it."
            ),
            click.option(
                "--fresh", metavar="STAGE", multiple=True, help="Make it again; the old one is kept as STAGE@1."
            ),
            click.option(
                "--runs",
                type=click.Path(path_type=Path),
                default=Path("runs"),
                show_default=True,
                help="Folder of runs.",
            ),
        ]
    ):
        function = decorate(function)
    return function
