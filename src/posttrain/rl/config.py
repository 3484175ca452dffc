"""Schema of the `rl` stage. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.training.config import TrainingConfig, ValidationConfig

AdvantageName = Literal["none", "group_mean", "group_norm", "leave_one_out"]
AggregationName = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


class RewardConfig(Config):
    """Weighted sum of components. `function` is the user's own code, ``file.py:name``, with TRL's signature."""

    correct: float = 1.0
    """Weight of a correct answer."""
    format: float = 0.0
    """Weight of a kept format."""
    function: str | None = None
    """file.py:name, called with prompts, completions and answer; a list of numbers (None = undecided) comes back."""
    function_weight: float = 1.0
    timeout: float = Field(60.0, gt=0)
    """Seconds one call of the user's function may take."""

    def files(self) -> dict[str, Path]:
        """The function's file: its bytes count in the fingerprint, and not only its name."""
        path = Path((self.function or "").rpartition(":")[0])
        return {"function": path} if path.is_file() else {}


class RLConfig(TrainingConfig):
    """Groups of rollouts on the trainer's own weights, group advantages, a clipped objective."""

    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    split: str = "train"
    """Split of the problems."""
    steps: int = Field(100, ge=1)
    """Rounds of sampling and learning."""
    prompts: int = Field(32, ge=1)
    """Problems per step."""
    group: int = Field(8, ge=1)
    """Rollouts per problem."""
    temperature: float = Field(1.0, gt=0)
    """Of sampling, and of the policy that is trained."""
    max_tokens: int = Field(256, ge=1)
    """Of one rollout; what is longer is cut and counted as truncated."""
    reward: RewardConfig = RewardConfig()
    grading: str | None = None
    """Grader spec; None = the template's."""
    advantage: AdvantageName = "group_norm"
    """none, group_mean, group_norm or leave_one_out: docs/algorithms.md."""
    epsilon: float = Field(1e-6, gt=0)
    """Added to the group's standard deviation."""
    clip_low: float = Field(0.2, gt=0)
    """The ratio is clipped at 1 - clip_low where the advantage is negative …"""
    clip_high: float = Field(0.2, gt=0)
    """… and at 1 + clip_high where it is positive."""
    aggregation: AggregationName = "token_mean"
    """token_mean, sequence_mean, sequence_sum or constant: docs/algorithms.md."""
    updates: int = Field(1, ge=1)
    """Optimizer steps per batch of rollouts; 1 = strictly on-policy."""
    kl: float = Field(0.0, ge=0)
    """Weight of the k3 estimate against the starting weights, in the loss."""
    max_batch: int = Field(256, ge=1, json_schema_extra={"fingerprint": False})
    """Rows the engine decodes at once."""
    keep_rollouts: int = Field(1, ge=0)
    """Store every n-th step's rollouts; 0 = none."""
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _group_has_a_baseline(self) -> RLConfig:
        if self.group == 1 and self.advantage != "none":
            raise ValueError(
                f"advantage {self.advantage!r} compares the rollouts of a group, and 'group' is 1. "
                "Set group to 2 or more, or advantage: none"
            )
        if self.updates > self.prompts * self.group:
            raise ValueError(f"updates {self.updates} is more than the {self.prompts * self.group} rollouts of a step")
        return self
