"""metrics.jsonl: one JSON object a line, each with its step; a resumed run drops what lies past its checkpoint."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from posttrain.errors import DamagedError, StoreError
from posttrain.store import write_atomic
from posttrain.tracking.sinks import Sink


class Metrics:
    """The numbers of one stage: every call of `log` is a line of the file, and goes to the sinks as well.

    The file is the record; sinks are windows on it. One process writes at a time: a line that appears from elsewhere
    is a StoreError at the next `log`. Closing ends the sinks; it is a context manager for that.
    """

    def __init__(self, path: Path, sinks: Sequence[Sink] = ()) -> None:
        self.path = path
        self.sinks = tuple(sinks)
        self._size: int | None = None  # bytes after our own last line; None until the first one

    def log(self, step: int, **values: Any) -> None:
        """Appends one line. NaN and infinities are written as null: JSON has no word for them.

        Values are numbers (also of numpy or torch, with one element), strings, booleans, None, and lists and mappings
        of these; sinks are given the numbers. StoreError when the file can't be written or has a second writer.
        """
        row = {"step": step, **{key: _jsonable(value) for key, value in values.items()}}
        self._append(_line(row))
        numbers = {key: value for key, value in row.items() if _is_number(value) and key != "step"}
        for sink in self.sinks:
            sink.log(step, numbers)

    def log_many(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Appends a line for every row in one write. Sinks get nothing: rows of text go there by `table`."""
        lines = [{"step": step, **{key: _jsonable(value) for key, value in row.items()}} for row in rows]
        if lines:
            self._append("".join(map(_line, lines)))

    def table(self, step: int, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Rows of text for the sinks that can show them. The file in which they are kept is the caller's."""
        for sink in self.sinks:
            sink.table(step, name, rows)

    def sort(self) -> None:
        """Puts lines in the order of their steps, those of one step as they came: some numbers come late."""
        rows = self.read()
        if any(a["step"] > b["step"] for a, b in itertools.pairwise(rows)):
            self._replace(sorted(rows, key=lambda row: int(row["step"])))

    def rewind(self, step: int) -> None:
        """Drops lines with a step greater than `step` (and a torn last line): they will be logged again."""
        rows = self.read()
        self._replace([row for row in rows if row["step"] <= step])
        if any(row["step"] > step for row in rows):
            for sink in self.sinks:
                sink.rewind(step)

    def read(self) -> list[dict[str, Any]]:
        """All rows. A torn last line (the process died while writing it) is left out; DamagedError for another one."""
        if not self.path.exists():
            return []
        rows = []
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except ValueError:
                if number < len(lines):
                    raise DamagedError(
                        f"{self.path} is damaged: line {number} is not JSON. Make the stage again with --fresh."
                    ) from None
        return rows

    def close(self) -> None:
        """Ends the sinks. The file needs no closing."""
        for sink in self.sinks:
            sink.close()

    def __enter__(self) -> Metrics:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, line: str) -> None:
        if self._size is None:
            self._mend()
        try:
            with self.path.open("ab") as file:
                if file.tell() != self._size:
                    raise StoreError(
                        f"{self.path} has {file.tell()} bytes where {self._size} were written: another process "
                        f"writes to it too. Let one of them end."
                    )
                file.write(line.encode())
                self._size = file.tell()
        except OSError as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"can't write {self.path}: {error.strerror}. Free some space and run again.") from error

    def _mend(self) -> None:
        """Takes the file as an earlier process left it; a torn last line would swallow the next one."""
        whole = not self.path.exists() or self.path.read_bytes()[-1:] in (b"", b"\n")
        if not whole:
            self._replace(self.read())
        self._size = self.path.stat().st_size if self.path.exists() else 0

    def _replace(self, rows: list[dict[str, Any]]) -> None:
        """The file with these rows only, by rename: a reader sees the old one or the new one."""
        with write_atomic(self.path) as file:
            file.write("".join(_line(row) for row in rows).encode())
        self._size = self.path.stat().st_size


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _jsonable(value: Any) -> Any:
    if hasattr(value, "item"):  # a numpy or torch scalar
        value = value.item()
    if isinstance(value, dict):
        return {key: _jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
