"""Config shared by the training stages. No torch here: planning reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from posttrain.config import Config

Schedule = Literal["constant", "linear", "cosine"]


class OptimizerConfig(Config):
    """AdamW with decoupled weight decay; the schedule runs over the stage's optimizer steps."""

    lr: float = Field(1e-4, ge=0)
    """The highest learning rate."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    """Of matrices; norm gains and biases are not decayed."""
    schedule: Schedule = "cosine"
    """constant, linear or cosine, after the warm-up."""
    warmup: float = Field(0.0, ge=0, le=1)
    """Share of the steps in which the rate rises to lr."""
    final: float = Field(0.1, ge=0, le=1)
    """Share of lr that is left at the last step (linear, cosine)."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""


class ValidationConfig(Config):
    """Generated evaluation on the validation split while training; greedy."""

    every: int = Field(0, ge=0)
    """Optimizer steps between two; 0 = never."""
    problems: int = Field(128, ge=1)
    """How many, the first of the split."""
    max_tokens: int = Field(128, ge=1)
    """Of one answer."""
    engine: Literal["native", "hf"] = "native"
    """What samples the answers: native, or hf (transformers' generate, the slow reference)."""
    beside: bool = Field(False, json_schema_extra={"fingerprint": False})
    """In a process of its own, which training never waits for: results come when they come, all by the end."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", json_schema_extra={"fingerprint": False})
    """Where that process works: cpu, cuda:1 …; auto = a GPU that training does not use, else the CPU."""
    pending: int = Field(2, ge=1, json_schema_extra={"fingerprint": False})
    """Weights that may wait for it in memory (/dev/shm) at once; further ones wait on the disk."""


class TrainingConfig(Config):
    """What every training stage takes."""

    optimizer: OptimizerConfig = OptimizerConfig()
    token_budget: int = Field(8192, ge=16)
    """Tokens of a micro-batch, padding included. Changes memory and rounding, nothing else."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass; the weights that are trained stay float32."""
    save_every: int = Field(0, ge=0, json_schema_extra={"fingerprint": False})
    """Steps between two saved states for a resume; 0 = every 10 seconds."""
    checkpoint_every: int = Field(0, ge=0)
    """Steps between two model folders that are kept; 0 = only the last."""
