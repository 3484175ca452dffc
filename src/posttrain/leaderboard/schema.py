"""What a submission and a board are, as JSON. The schemas in schema/ are these models', in JSON Schema's words."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field

from posttrain.config import Config

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0, le=1e10)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Point(Config):
    """Validation accuracy after so many seconds of training."""

    seconds: Seconds
    accuracy: Share


class Claim(Config):
    """One model's answers to one benchmark, and what is claimed of them."""

    benchmark: Name
    fingerprint: Digest
    """Of `settings`; entries are ranked beside those of the same fingerprint only."""
    settings: dict[str, Any]
    """How was asked, as in scores.json: problems, template, sampling, grading …"""
    accuracy: Share
    n: int = Field(ge=1)
    """Problems."""
    samples: str = Field(min_length=1, max_length=400)
    """The Parquet file of the answers, below the submission's folder."""


class Submission(Config):
    """submission.json: who submits, at what cost, and the claims."""

    version: Literal[1]
    name: Name
    model: str | None = Field(None, max_length=200)
    """What was trained, e.g. Qwen/Qwen2.5-1.5B-Instruct."""
    description: str = Field("", max_length=2_000)
    seconds: Seconds | None = None
    """Of all training that led to this model."""
    dollars: float | None = Field(None, ge=0, le=1e9)
    hardware: str | None = Field(None, max_length=200)
    curve: tuple[Point, ...] = Field((), max_length=10_000)
    results: tuple[Claim, ...] = Field(min_length=1, max_length=100)


class Behind(Config):
    """The distance to the first of the table: first − this one, paired; p after Holm over all pairs of the table."""

    difference: float
    interval: tuple[float, float]
    p_adjusted: float


class Entry(Config):
    """A row of a board. But for `claimed`, seconds and dollars every number comes from the board's own grading."""

    id: str
    name: str
    kind: Literal["run", "submission"]
    model: str | None
    description: str
    rank: int | None
    """1 + the number of entries that are better than this one beyond noise; null where it can't be ranked."""
    rank_worst: int | None
    """The number of entries less those that this one is better than beyond noise."""
    unranked: str | None
    """Why it has no rank."""
    accuracy: float
    interval: tuple[float, float]
    n: int
    samples_per_item: int
    format_rate: float | None
    truncation_rate: float | None
    unparsed_rate: float | None
    undecided_rate: float
    mean_tokens: float | None
    claimed: float | None
    claim: Literal["same", "differs"]
    behind: Behind | None
    seconds: float | None
    dollars: float | None
    hardware: str | None
    seconds_to_target: float | None
    samples_sha256: str


class Table(Config):
    """Entries that were asked the same. target: the validation accuracy of which the time is told."""

    benchmark: str
    fingerprint: str
    settings: dict[str, Any]
    differs: tuple[str, ...]
    """From the first table of the same benchmark."""
    n: int
    pairs: int
    """Comparisons in the family that p-values are adjusted over."""
    test: Literal["mcnemar", "sign-flip", "t", "none"]
    target: float | None
    entries: tuple[Entry, ...]


class Refused(Config):
    """What is on no table, and why."""

    source: str
    reason: str


class Board(Config):
    """board.json."""

    version: Literal[1] = 1
    title: str
    confidence: float
    tables: tuple[Table, ...]
    refused: tuple[Refused, ...]


def schemas() -> dict[str, str]:
    """File name → JSON Schema of what we read and write, as text."""
    told = {
        "submission": Submission.model_json_schema(mode="validation"),
        "board": Board.model_json_schema(mode="serialization"),
    }
    return {f"{name}.schema.json": json.dumps(s, indent=2, ensure_ascii=False) + "\n" for name, s in told.items()}
