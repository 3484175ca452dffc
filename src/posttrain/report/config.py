"""What a report shows."""

from __future__ import annotations

from pydantic import Field

from posttrain.config import Config


class ReportConfig(Config):
    """Settings of the `report` stage."""

    title: str | None = None
    """None = the run's name."""
    baseline: str | None = None
    """The model that the others are measured against. None = the first that was evaluated."""
    comparisons: tuple[tuple[str, str], ...] = ()
    """Pairs [a, b] of model names, read "is b better than a". Empty = each against the baseline, and each against the
    one before it."""
    examples: int = Field(3, ge=0)
    """Problems shown with every model's answer."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    published: str | bool = Field(True, json_schema_extra={"file": True})
    """Published numbers of the same benchmarks beside ours: those that ship, a YAML file of one's own, or false."""
    price: float | None = Field(None, ge=0)
    """Dollars that an hour of this machine costs; None = rent is not counted."""
    cards: bool = True
    """Write a model card for each model made here, and a dataset card for its data, into cards/."""
    license: str | None = None
    """The licence that the cards declare, in the Hub's words (apache-2.0); None = they declare none."""
