"""Schemas of the supervised stages. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from posttrain.models.config import TinyConfig
from posttrain.training.config import TrainingConfig, ValidationConfig


class PretrainConfig(TrainingConfig):
    """A tokenizer and a tiny model from scratch, trained on the corpus's plain text."""

    model: TinyConfig = TinyConfig()
    split: str = "train"
    """Split of the corpus."""
    steps: int = Field(200, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(32, ge=1)
    """Blocks per optimizer step."""
    block: int = Field(128, ge=8)
    """Tokens per block; documents are concatenated and cut."""


class SFTConfig(TrainingConfig):
    """Supervised fine-tuning on traces. Give `steps` or `epochs`."""

    template: str = Field("chat", json_schema_extra={"file": True})
    """chat, r1_zero, alpaca, plain, or a .jinja file."""
    split: str | None = None
    """Split of the traces; None = every row."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the examples; this or steps."""
    steps: int | None = Field(None, ge=1)
    """Optimizer steps; this or epochs."""
    batch_size: int = Field(32, ge=1)
    """Sequences per optimizer step."""
    max_tokens: int = Field(1024, ge=8)
    """Longer sequences are dropped and counted."""
    loss: Literal["per_token", "per_sequence"] = "per_token"
    """Every token of a step weighs the same, or a sequence's sum is divided by the number of sequences."""
    only_correct: bool = False
    """Leave out traces whose verdict is not "correct"."""
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _one_length(self) -> SFTConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'steps' and 'epochs'")
        return self
