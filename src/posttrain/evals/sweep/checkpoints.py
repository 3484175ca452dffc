"""All checkpoints of a run as models of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from posttrain.errors import RecipeError
from posttrain.store import Checkpoint

STEP = re.compile(r"step-(\d+)")
Wanted = Literal["all", "last"] | tuple[int, ...]


def steps_of(model: Checkpoint) -> dict[int, Checkpoint]:
    """The checkpoints that a training stage kept on its way, by step, each called MODEL@STEP."""
    folder = model.path / "checkpoints"
    found = {int(m[1]): p for p in folder.glob("step-*") if (m := STEP.fullmatch(p.name)) and p.is_dir()}
    return {step: Checkpoint(found[step], name=f"{model.label}@{step}") for step in sorted(found)}


def with_checkpoints(models: Sequence[Checkpoint], wanted: Wanted) -> list[Checkpoint]:
    """The models to evaluate: each as it is (`last`), after its own checkpoints (`all`), or only those of some steps.

    A model that has no checkpoints stands for itself. RecipeError where none of them has any, or lacks a step.
    """
    if wanted == "last":
        return list(models)
    kept = {model.label: steps_of(model) for model in models}
    if not any(kept.values()):
        raise RecipeError(
            f"checkpoints: {_said(wanted)}, but none of {', '.join(m.label for m in models)} kept checkpoints on its "
            "way. Name the folder of a training stage, e.g. models: runs/mine/rl, or leave checkpoints out."
        )
    chosen: list[Checkpoint] = []
    for model in models:
        steps = kept[model.label]
        if not steps or wanted == "all":
            chosen += [*steps.values(), model]
            continue
        missing = [s for s in wanted if s not in steps]
        if missing:
            raise RecipeError(
                f"checkpoints: {model.label} has none of step {missing[0]}. It has {', '.join(map(str, steps))}."
            )
        chosen += [steps[s] for s in sorted(wanted)]
    return chosen


def step_of(model: Checkpoint) -> int | None:
    """The step of a checkpoint on the way; None for a finished model."""
    found = STEP.fullmatch(model.path.name)
    return int(found[1]) if found and model.path.parent.name == "checkpoints" else None


def _said(wanted: Wanted) -> str:
    return wanted if isinstance(wanted, str) else ", ".join(map(str, wanted))
