"""What a sweep costs, told before: an evaluation of every checkpoint, where it is known how many there are."""

from __future__ import annotations

from typing import Any

from posttrain.evals.forecast import UNKNOWN, of_models
from posttrain.evals.sweep.checkpoints import steps_of
from posttrain.evals.sweep.config import SweepConfig
from posttrain.forecast import shape_behind


def forecast(config: SweepConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Nothing is known of a run that isn't made yet, nor of a repository without asking the Hub, unless steps or
    revisions are named."""
    run = inputs["run"]
    shape = shape_behind(run)
    if config.steps != "all" or config.revisions:
        count = len(config.revisions or config.steps)
    else:
        count = len(steps_of(run.artifact)) + 1 if (run.artifact.path / "checkpoints").is_dir() else 0
    if shape is None or not count:
        return UNKNOWN
    return of_models(config, [shape] * (count + (inputs.get("base") is not None)), inputs.get("problems"))
