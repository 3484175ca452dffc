"""Rows of JSONL with `gold` and `response`, graded: for the command line and for files of other projects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import DataError
from posttrain.grading.api import grade_many
from posttrain.records import Problem, Verdict

Row = dict[str, Any]
BATCH = 512  # rows graded together; the symbolic workers take a batch's open questions side by side


def read_rows(path: Path, needs: Sequence[str] = ("gold", "response")) -> Iterator[Row]:
    """The objects of a JSONL file. DataError for a missing file, a line that is no object, missing columns."""
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}. Give a JSONL file whose rows have gold and response.")
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
                raise DataError(f"{path}, line {number} is no JSON ({error}). Repair or remove the line.") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number} is no JSON object. Each line must be a row with columns.")
            missing = [column for column in needs if column not in row]
            if missing:
                raise DataError(
                    f"{path}, line {number} has no column {' and no '.join(map(repr, missing))}"
                    f" (it has {', '.join(map(repr, row)) or 'none'}). Rename the columns to {' and '.join(needs)}."
                )
            yield row


def golds_of(value: Any) -> list[str | None]:
    """A gold is a text or a number; a list holds alternatives, each as good as the other."""
    values: Sequence[Any] = (value or [None]) if isinstance(value, list) else [value]
    return [None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]


def grade_rows(rows: Iterable[Mapping[str, Any]], spec: str) -> Iterator[tuple[Mapping[str, Any], Verdict]]:
    """Every row with its verdict, in order. `truncated` or `finish_reason: length` in a row mean what they say."""
    batch: list[Mapping[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield from _grade_batch(batch, spec)
            batch = []
    yield from _grade_batch(batch, spec)


def _grade_batch(batch: Sequence[Mapping[str, Any]], spec: str) -> Iterator[tuple[Mapping[str, Any], Verdict]]:
    items, owners = [], []
    for i, row in enumerate(batch):
        response = row["response"] if isinstance(row["response"], str) else _as_text(row["response"])
        truncated = bool(row.get("truncated")) or row.get("finish_reason") == "length"
        for gold in golds_of(row.get("gold")):
            items.append((_problem(i, row, gold), response, truncated))
            owners.append(i)
    best: dict[int, Verdict] = {}
    for i, verdict in zip(owners, grade_many(items, spec), strict=True):
        if i not in best or _RANK[verdict.correct] > _RANK[best[i].correct]:
            best[i] = verdict
    for i, row in enumerate(batch):
        yield row, best[i]


def _problem(index: int, row: Mapping[str, Any], gold: str | None) -> Problem:
    """The row's other columns may hold what a spec grades by: a program's tests, the instructions of a prompt."""
    extra = {column: value for column, value in row.items() if column not in ("gold", "response", "question")}
    return Problem(str(index), str(row.get("question") or ""), gold, extra=extra)


_RANK = {True: 2, None: 1, False: 0}


def _as_text(response: Any) -> str:
    return "" if response is None else json.dumps(response)


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    return {
        "correct": verdict.correct,
        "format_ok": verdict.format_ok,
        "extracted": verdict.extracted,
        "reason": verdict.reason,
    }


def row_as_line(row: Mapping[str, Any], verdict: Verdict) -> str:
    """The row with its verdict as one line; halves of surrogate pairs, which UTF-8 can't hold, stay escaped."""
    whole = {**row, "verdict": verdict_as_json(verdict)}
    line = json.dumps(whole, ensure_ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(whole)
    return line + "\n"
