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
    steps: int = Field(200, ge=1)
    batch_size: int = Field(32, ge=1)  # blocks per optimizer step
    block: int = Field(128, ge=8)  # tokens per block; documents are concatenated and cut


class SFTConfig(TrainingConfig):
    """Supervised fine-tuning on traces. Give `steps` or `epochs`."""

    template: str = "chat"
    split: str | None = None  # None = every row of the traces
    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)
    batch_size: int = Field(32, ge=1)  # sequences per optimizer step
    max_tokens: int = Field(1024, ge=8)  # longer sequences are dropped and counted
    loss: Literal["per_token", "per_sequence"] = "per_token"
    only_correct: bool = False  # leave out traces whose verdict is not "correct"
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _one_length(self) -> SFTConfig:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give exactly one of 'steps' and 'epochs'")
        return self
