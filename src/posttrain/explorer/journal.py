"""A validation.jsonl while it grows: which bytes hold which step, found by reading only what is new."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_HEAD = re.compile(rb'\{"step": (-?\d+)[,}]')


@dataclass
class Journal:
    """Lines by step. A torn last line waits until it is whole; a file that was rewritten is read anew."""

    path: Path
    _ranges: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # step → [start, end) of runs of lines
    _read: int = 0
    _inode: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> None:
        """Takes in what was written since the last time."""
        with self._lock:
            try:
                told = self.path.stat()
                if told.st_ino != self._inode or told.st_size < self._read:
                    self._ranges, self._read, self._inode = {}, 0, told.st_ino
                if told.st_size == self._read:
                    return
                with self.path.open("rb") as file:
                    file.seek(self._read)
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        self._take(line)
            except OSError:
                self._ranges, self._read = {}, 0

    def _take(self, line: bytes) -> None:
        start, self._read = self._read, self._read + len(line)
        found = _HEAD.match(line)
        if found is None:
            return
        runs = self._ranges.setdefault(int(found[1]), [])
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], self._read)
        else:
            runs.append((start, self._read))

    def steps(self) -> list[int]:
        return sorted(self._ranges)

    def stamp(self, step: int) -> str:
        return f"{self._inode}:" + ",".join(f"{a}-{b}" for a, b in self._ranges.get(step, ()))

    def rows(self, step: int) -> list[dict[str, Any]]:
        """The rows of a step; lines that are not JSON objects are left out."""
        rows = []
        try:
            with self.path.open("rb") as file:
                for start, end in self._ranges.get(step, ()):
                    file.seek(start)
                    for line in file.read(end - start).splitlines():
                        row = _parsed(line)
                        if row is not None:
                            rows.append(row)
        except OSError:
            return []
        return rows


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line.decode("utf-8", errors="replace"))
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
