"""The config of the `data` stage."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.data.synthetic.levels import LEVELS
from posttrain.errors import did_you_mean

SYNTHETIC = ("synthetic", "synthetic-text")


class DataConfig(Config):
    dataset: str
    """``synthetic``, ``synthetic-text``."""
    seed: int | None = None
    """Seed of generation and of what is reserved; the stage's own where absent."""
    train: int = Field(default=10_000, ge=0)
    validation: int = Field(default=500, ge=0)
    test: int = Field(default=1_000, ge=0)
    levels: tuple[int, ...] = tuple(LEVELS)
    """Levels of the synthetic task, taken in turn."""
    disjoint_templates: bool = False
    """No template in two splits."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dataset not in SYNTHETIC:
            raise ValueError(f"unknown dataset.{did_you_mean(self.dataset, SYNTHETIC)}")
        if not self.levels or not set(self.levels) <= set(LEVELS):
            raise ValueError(f"levels must be some of {', '.join(map(str, LEVELS))}, got {list(self.levels)}")
        return self
