"""Rows of a person's own files: jsonl, json, csv and parquet, with the place of every row for messages."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import DataError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Row:
    """`where` names the file and the line (or row) for a message."""

    values: dict[str, Any]
    where: str


def read_rows(path: Path) -> list[Row]:
    """All rows of `path`. DataError for a missing, empty or malformed file, with the line where there is one."""
    reader = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is of no known kind. Give a file that ends in {', '.join(SUFFIXES)}.")
    if not path.is_file():
        raise DataError(f"{path} does not exist (looked from {Path.cwd()}). Check the path in `dataset:`.")
    try:
        rows = list(reader(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from None
    if not rows:
        raise DataError(f"{path} has no rows. Give a file with at least one problem.")
    return rows


def _jsonl(path: Path) -> Iterator[Row]:
    # utf-8-sig: an editor's byte-order mark is not part of the first line
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                where = f"{path}, line {number}"
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise DataError(f"{where}: not valid JSON ({error}). Write one JSON object per line.") from None
                yield _row(value, where)


def _json(path: Path) -> Iterator[Row]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}, line {error.lineno}: not valid JSON ({error.msg}). Write a list of objects; a file with one "
            "object per line is named .jsonl."
        ) from None
    if not isinstance(values, list):
        raise DataError(f"{path} holds a JSON {type(values).__name__} at the top. Write a list of objects.")
    for number, value in enumerate(values, start=1):
        yield _row(value, f"{path}, item {number}")


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for values in reader:
                where = f"{path}, line {reader.line_num}"
                if None in values or None in values.values():
                    raise DataError(
                        f"{where}: the number of fields is not that of the header ({len(reader.fieldnames or ())}). "
                        'Quote fields that contain commas: "a, b".'
                    )
                yield Row(dict(values), where)
        except csv.Error as error:
            raise DataError(f"{path}, line {reader.line_num}: not valid CSV ({error}). Check its quotes.") from None


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path} is not a readable Parquet file ({error}). Write it again.") from None
    for number, row in enumerate(values, start=1):
        yield Row(row, f"{path}, row {number}")


def _row(value: Any, where: str) -> Row:
    if not isinstance(value, dict):
        raise DataError(f'{where}: a JSON {type(value).__name__}, not an object. Write {{"question": …, "answer": …}}.')
    return Row(value, where)
