"""Schema of the `rl` stage. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.training.config import TrainingConfig, ValidationConfig

AdvantageName = Literal["none", "group_mean", "group_norm", "leave_one_out"]
AggregationName = Literal["token_mean", "sequence_mean", "sequence_sum", "constant"]


class RewardConfig(Config):
    """Weighted sum of components. `function` is the user's own code, ``file.py:name``, with TRL's signature."""

    correct: float = 1.0
    format: float = 0.0
    function: str | None = None
    function_weight: float = 1.0
    timeout: float = Field(60.0, gt=0)  # seconds one call of the user's function may take


class RLConfig(TrainingConfig):
    """Groups of rollouts on the trainer's own weights, group advantages, a clipped objective."""

    template: str = "chat"
    split: str = "train"
    steps: int = Field(100, ge=1)
    prompts: int = Field(32, ge=1)  # problems per step
    group: int = Field(8, ge=1)  # rollouts per problem
    temperature: float = Field(1.0, gt=0)
    max_tokens: int = Field(256, ge=1)
    reward: RewardConfig = RewardConfig()
    grading: str | None = None  # None = the template's
    advantage: AdvantageName = "group_norm"
    epsilon: float = Field(1e-6, gt=0)  # added to the group's standard deviation
    clip_low: float = Field(0.2, gt=0)
    clip_high: float = Field(0.2, gt=0)
    aggregation: AggregationName = "token_mean"
    updates: int = Field(1, ge=1)  # optimizer steps per batch of rollouts; 1 = strictly on-policy
    kl: float = Field(0.0, ge=0)  # weight of the k3 estimate against the starting weights, in the loss
    max_batch: int = Field(256, ge=1, json_schema_extra={"fingerprint": False})  # rows the engine decodes at once
    keep_rollouts: int = Field(1, ge=0)  # store every n-th step's rollouts; 0 = none
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
