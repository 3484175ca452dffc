"""From rows with columns of any name to Problems."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from posttrain.config import Config
from posttrain.data.rows import Row
from posttrain.errors import DataError, did_you_mean
from posttrain.records import Problem

# Where a column is not mapped, these names are looked for, the first present wins.
_USUAL: dict[str, tuple[str, ...]] = {
    "id": ("id", "unique_id"),
    "question": ("question", "problem", "prompt"),
    "answer": ("answer",),
    "solution": ("solution",),
    "choices": ("choices",),
    "subject": ("subject",),
    "level": ("level",),
    "split": ("split",),
}
_SPLITS = {"train": "train", "training": "train", "test": "test"} | dict.fromkeys(
    ("validation", "valid", "val", "dev"), "validation"
)


class Columns(Config):
    """Which column of the source holds which field; absent ones are looked for under their usual names."""

    id: str | None = None
    question: str | None = None
    answer: str | None = None
    """``answer: null`` says that the problems have no gold answer."""
    solution: str | None = None
    choices: str | None = None
    subject: str | None = None
    level: str | None = None
    split: str | None = None


def standard_split(name: str) -> str | None:
    """train, validation or test for one of their usual names; None for another name."""
    return _SPLITS.get(name.lower())


def to_problems(rows: Sequence[Row], columns: Columns, *, prefix: str, split: str | None) -> list[Problem]:
    """Problems of `rows`, in order. `split` None: by the split column, else train. DataError as the rows deserve."""
    found = _find_columns(rows, columns)
    return [_problem(row, found, f"{prefix}/{number}", split) for number, row in enumerate(rows)]


def _find_columns(rows: Sequence[Row], columns: Columns) -> dict[str, str]:
    """Field → column name."""
    present = list(dict.fromkeys(name for row in rows for name in row.values))
    found: dict[str, str] = {}
    for name, usual in _USUAL.items():
        mapped = getattr(columns, name)
        if mapped is not None and mapped not in present:
            raise DataError(
                f"{rows[0].where}: there is no column {mapped!r} for '{name}'.{did_you_mean(mapped, present)} "
                f"Columns: {', '.join(present)}."
            )
        column = mapped or next((u for u in usual if u in present), None)
        if name in columns.model_fields_set and mapped is None:
            column = None  # said to be absent
        if column is not None:
            found[name] = column
    for name in ("question", "answer"):
        if name not in found and name not in columns.model_fields_set:
            without = " If there is none, write columns: {answer: null}." if name == "answer" else ""
            raise DataError(
                f"{rows[0].where}: no column for '{name}' among {', '.join(present) or 'no columns'}. "
                f"Say which it is: columns: {{{name}: NAME}}.{without}"
            )
    if "question" not in found:
        raise DataError("columns: question is null, but every problem has a question. Name its column.")
    return found


def _problem(row: Row, found: dict[str, str], fallback_id: str, split: str | None) -> Problem:
    for name in ("question", "answer"):
        if name in found and found[name] not in row.values:
            raise DataError(f"{row.where}: has no {found[name]!r}, which other rows have. Add it or remove the row.")
    used = set(found.values())
    return Problem(
        id=_text(row, found, "id") or fallback_id,
        question=_question(row, found),
        answer=_text(row, found, "answer"),
        solution=_text(row, found, "solution"),
        choices=_choices(row, found),
        subject=_text(row, found, "subject"),
        level=_level(row, found),
        split=split or _split(row, found),
        extra={k: _jsonable(v) for k, v in row.values.items() if k not in used and v is not None},
    )


def _text(row: Row, found: dict[str, str], name: str) -> str | None:
    value = row.values.get(found.get(name, ""))
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(
            f"{row.where}: {found[name]!r} is a {type(value).__name__}, but '{name}' is text or a number. "
            "Map another column, or convert this one."
        )
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _question(row: Row, found: dict[str, str]) -> str:
    text = _text(row, found, "question")
    if text is None or not text.strip():
        raise DataError(f"{row.where}: the question ({found['question']!r}) is empty. Fill it or remove the row.")
    return text


def _choices(row: Row, found: dict[str, str]) -> tuple[str, ...] | None:
    value = row.values.get(found.get("choices", ""))
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise DataError(f"{row.where}: {found['choices']!r} is not a list of strings, which choices are. Convert it.")
    return tuple(value)


def _level(row: Row, found: dict[str, str]) -> int | None:
    """3 for 3, "3" and "Level 3"; None for an unknown one ("Level ?" in MATH)."""
    number = re.search(r"\d+", _text(row, found, "level") or "")
    return int(number[0]) if number else None


def _split(row: Row, found: dict[str, str]) -> str:
    if "split" not in found:
        return "train"
    name = _text(row, found, "split") or ""
    known = standard_split(name)
    if known is None:
        raise DataError(f"{row.where}: the split is {name!r}. Write train, validation or test.")
    return known


def _jsonable(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
