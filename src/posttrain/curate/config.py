"""The config of the `curate` stages. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from posttrain.config import Config
from posttrain.curate.steps import Step, read_steps


class CurateConfig(Config):
    steps: tuple[dict[str, Any], ...] = Field(min_length=1)
    """What is done to the rows, in order: ``{filter: NAME, …}`` or ``{select: NAME, budget: N, …}``."""
    split: str | None = "train"
    """Which rows; those of other splits pass untouched. A trace without a split counts as train. None = every row."""
    max_batch: int = Field(64, ge=1, json_schema_extra={"fingerprint": False})
    """Sequences that a student answers at once."""

    @field_validator("steps")
    @classmethod
    def _known_steps(cls, steps: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        read_steps(steps)
        return steps

    def read(self) -> list[Step]:
        return read_steps(self.steps)

    def fingerprint_values(self) -> dict[str, Any]:
        """With the steps' defaults: one written out changes nothing."""
        return {**super().fingerprint_values(), "steps": [step.values() for step in self.read()]}

    def files(self) -> dict[str, Path]:
        """A benchmark of one's own counts with its bytes."""
        found = super().files()
        for step in self.read():
            found |= {f"{step.label}.{key}": path for key, path in step.config.files().items()}
        return found
