"""Trackers behind the one call `Metrics.log`: what a sink is, and which there are.

A tracker is one file here and one line of `SINKS`. Its library is imported inside that file, when the first number
arrives: a stage that logs nothing starts no tracker's run. That the library is there is checked at once.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from posttrain.errors import MissingExtraError, RecipeError, did_you_mean


class Sink(Protocol):
    """Where numbers go beside metrics.jsonl. Constructed as ``Adapter(run, folder)``."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Finite numbers of one step; a step may come in several calls."""
        ...

    def table(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows with the same keys: sample answers of one step. A tracker without tables ignores them."""
        ...

    def rewind(self, step: int) -> None:
        """What was logged past `step` will be logged again."""
        ...

    def close(self) -> None:
        """Flushes and ends the tracker's run. Nothing is logged afterwards."""
        ...


# name → (module:adapter, the library it needs). The extra that brings the library has the tracker's name.
SINKS: dict[str, tuple[str, str]] = {
    "wandb": ("posttrain.tracking.wandb:WandbSink", "wandb"),
    "trackio": ("posttrain.tracking.trackio:TrackioSink", "trackio"),
    "tensorboard": ("posttrain.tracking.tensorboard:TensorBoardSink", "tensorboard"),
}


def require(names: Iterable[str]) -> None:
    """RecipeError for a tracker that does not exist, MissingExtraError for one whose library is not installed."""
    for name in names:
        if name not in SINKS:
            raise RecipeError(
                f"tracking: there is no tracker {name!r}.{did_you_mean(name, SINKS)} Known: {', '.join(SINKS)}."
            )
        library = SINKS[name][1]
        if importlib.util.find_spec(library) is None:
            raise MissingExtraError(
                f"tracking: {name} needs the library {library!r}, which is not installed. "
                f"Install it with pip install 'posttrain[{name}]', or take {name} out of 'tracking:'."
            )


def open_sinks(names: Sequence[str], *, run: str, folder: Path) -> list[Sink]:
    """The sinks called `names`, each with a folder of its own below `folder`. Raises what `require` raises.

    run: what people call these curves, ``recipe/stage``; trackers group them by the part before the slash.
    """
    require(names)
    sinks: list[Sink] = []
    for name in names:
        module, _, adapter = SINKS[name][0].partition(":")
        sinks.append(getattr(importlib.import_module(module), adapter)(run, folder / name))
    return sinks
