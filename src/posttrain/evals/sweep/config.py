"""What a sweep over checkpoints is asked. Knows no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from posttrain.evals.config import AskingConfig


class SweepConfig(AskingConfig):
    """Settings of the `sweep` stage. None = what the benchmark (or, for a problems input, the template) says."""

    steps: Literal["all"] | tuple[int, ...] = "all"
    """The checkpoints to look at: all that the run kept and the last model, or those of these steps."""
    revisions: tuple[str, ...] = ()
    """For a repository on the Hub: these branches, tags or commits, in this order. Empty: every branch or tag whose
    name tells a step (step-000050, checkpoint-50), else every commit whose title does."""
    selection: float | None = Field(None, gt=0, le=1)
    """The share of the problems, by hashed id, on which the best step is chosen; its score is told on the others. None:
    all of a validation split, half of anything else."""
    traces: bool = True
    """Also write every answer as a line of <label>/<benchmark>/traces.jsonl."""
    shards: int | None = Field(None, ge=1, json_schema_extra={"fingerprint": False})
    """Processes that share the checkpoints, each with an engine of its own; None = one for each GPU. The answers are
    the same however many there are."""

    @model_validator(mode="after")
    def _weights_can_be_swapped(self) -> SweepConfig:
        if self.engine == "openai":
            raise ValueError(
                "engine: openai is somebody's server, whose weights a sweep can't change; use native, hf or vllm"
            )
        return self

    @model_validator(mode="after")
    def _steps_or_revisions(self) -> SweepConfig:
        if self.revisions and self.steps != "all":
            raise ValueError(
                "steps choose among the checkpoints of a run and revisions among those on the Hub; set one"
            )
        return self
