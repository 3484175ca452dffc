"""What a report shows."""

from __future__ import annotations

from pydantic import Field

from posttrain.config import Config


class ReportConfig(Config):
    """Settings of the `report` stage."""

    title: str | None = None
    """None = the run's name."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs [a, b] of model names, read "is b better than a". Empty = each against the first, and each against the one
    before it."""
    examples: int = Field(3, ge=0)
    """Problems shown with every model's answer."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
