"""What a stage's forecast is told of its inputs, most of which are not made yet. No torch here: planning reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from posttrain.models.size import Shape, read_shape
from posttrain.store import Artifact, Checkpoint

QUESTION_TOKENS = 120  # of a question of which nothing is known
SOLUTION_TOKENS = 200


@dataclass(frozen=True)
class Expected:
    """An input that stands or will stand.

    facts: what the forecast of the stage that makes it says under `makes`, or the summary of what stands already.
    """

    artifact: Artifact
    facts: Mapping[str, Any] = field(default_factory=dict)


def shape_behind(model: Expected) -> Shape | None:
    """The shape of a model that stands or is planned; None where it can't be known."""
    planned = model.facts.get("shape")
    if isinstance(planned, Shape):
        return planned
    assert isinstance(model.artifact, Checkpoint)
    return read_shape(model.artifact.model_dir, model.artifact.revision)


def question_tokens(facts: Mapping[str, Any]) -> float:
    """How long questions are."""
    return float(facts.get("question_tokens", QUESTION_TOKENS))


def answer_tokens(facts: Mapping[str, Any], max_tokens: int) -> float:
    """How long answers will be: as long as solutions and at most the limit; the limit where nothing is known."""
    known = facts.get("solution_tokens")
    return min(float(known), max_tokens) if known else float(max_tokens)
