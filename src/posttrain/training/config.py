"""Config shared by the training stages. No torch here: planning reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posttrain.config import Config

Schedule = Literal["constant", "linear", "cosine"]


class OptimizerConfig(Config):
    """AdamW with decoupled weight decay; the schedule runs over the stage's optimizer steps."""

    lr: float = Field(1e-4, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Schedule = "cosine"
    warmup: float = Field(0.0, ge=0, le=1)  # share of the steps
    final: float = Field(0.1, ge=0, le=1)  # share of lr at the last step (linear, cosine)
    clip: float = Field(1.0, gt=0)  # gradient norm


class ValidationConfig(Config):
    """Generated evaluation on a validation split while training; greedy."""

    every: int = Field(0, ge=0)  # optimizer steps; 0 = never
    problems: int = Field(128, ge=1)
    max_tokens: int = Field(128, ge=1)


class TrainingConfig(Config):
    """What every training stage takes."""

    optimizer: OptimizerConfig = OptimizerConfig()
    token_budget: int = Field(8192, ge=16)  # padded tokens per micro-batch
    dtype: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; master weights stay float32
    save_every: int = Field(0, ge=0, json_schema_extra={"fingerprint": False})  # resume state; 0 = every 10 seconds
    checkpoint_every: int = Field(0, ge=0)  # steps between ordinary model folders; 0 = only the end
