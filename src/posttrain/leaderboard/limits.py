"""How much of a submission is read: what is larger is refused before it is opened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """description_bytes: submission.json. file_bytes: one Parquet file. rows: answers in it. text: characters of one
    answer. total: characters of all answers of a file. memory, seconds: of the process that reads it."""

    description_bytes: int = 1 << 20
    file_bytes: int = 512 << 20
    rows: int = 1_000_000
    text: int = 400_000
    total: int = 1 << 30
    memory: int = 6 << 30
    seconds: int = 300
    submissions: int = 500
