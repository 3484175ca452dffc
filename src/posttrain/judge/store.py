"""Reading judgements back.

judge/
  judge.json            who judged, what became of the questions, one entry per task, model and benchmark
  judgements.parquet    every question with its reply and what was read of it
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from posttrain.errors import StoreError

SUMMARY = "judge.json"
TABLE = "judgements.parquet"
JUDGE_VERSION = 1


def read_summary(path: Path) -> dict[str, Any]:
    """judge.json of a finished stage. StoreError where there is none."""
    try:
        found: dict[str, Any] = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"{path / SUMMARY} is missing: {path} holds no finished judgements. Run the judge again."
        ) from None
    return found


def read_judgements(path: Path) -> list[dict[str, Any]]:
    """The rows of judgements.parquet, `scores` as a mapping. StoreError where there are none."""
    import pyarrow.parquet as pq

    try:
        rows: list[dict[str, Any]] = pq.read_table(path / TABLE).to_pylist()
    except FileNotFoundError:
        raise StoreError(
            f"{path / TABLE} is missing: {path} holds no finished judgements. Run the judge again."
        ) from None
    return [{**row, "scores": json.loads(row["scores"]) if row["scores"] else {}} for row in rows]
