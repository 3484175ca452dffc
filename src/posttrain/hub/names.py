"""Short names for datasets on the Hub, each pinned to a commit so that a name means the same rows for ever."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Named:
    """Where a dataset is on the Hub."""

    repository: str
    subset: str | None
    revision: str


NAMES: dict[str, Named] = {
    "gsm8k": Named("openai/gsm8k", "main", "e53f048856ff4f594e959d75785d2c2d37b678ee"),
    "math": Named("nlile/hendrycks-MATH-benchmark", None, "465bcdb36f5962aa3512891498966df785fc3c18"),
}
