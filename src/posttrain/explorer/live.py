"""Numbers of a stage that still trains: what metrics.jsonl gained since the last look, and charts of it."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.report.curves import PANELS, Panel, Series, points, thinned

LARGEST_ROW = 1_000_000  # bytes of a line that is still read as numbers


@dataclass
class Tail:
    """A metrics.jsonl: whole lines only, and only their numbers. A file that a resumed run rewrote is read anew."""

    path: Path
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0
    _inode: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def rows(self) -> list[dict[str, Any]]:
        """All rows so far, in the order of their steps; lines that are not JSON objects with a step are left out."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    told = os.fstat(file.fileno())
                    if told.st_ino != self._inode or told.st_size < self._read:
                        self._rows, self._read, self._inode = [], 0, told.st_ino
                    file.seek(self._read)
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        self._read += len(line)
                        self._take(line)
            except OSError:
                self._rows, self._read, self._inode = [], 0, -1
            return sorted(self._rows, key=lambda row: row["step"])

    def _take(self, line: bytes) -> None:
        if len(line) > LARGEST_ROW:
            return
        try:
            row = json.loads(line)
        except ValueError:
            return
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            kept = {k: v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
            self._rows.append(kept)

    @property
    def changed(self) -> float | None:
        """When the file was last written, in seconds since 1970."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return None


def panels(rows: list[dict[str, Any]]) -> list[Panel]:
    """The charts of a stage: what it logged of what the report knows how to draw."""
    found = []
    for title, keys, share in PANELS:
        lines = [Series(name, *thinned(*points(rows, key))) for key, name in keys.items()]
        drawn = tuple(line for line in lines if len(line.xs) > 1)
        if drawn:
            found.append(Panel(title, "step", drawn, share))
    return found
