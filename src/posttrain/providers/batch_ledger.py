"""What was handed over in batches, one JSON object per line beside the journal: appended, synced, never changed.

    {"event": "intent", "name": …, "keys": {key: sample, …}}  before the server hears of it
    {"event": "made", "name": …, "id": …}           the server's id
    {"event": "ended", "name": …, "status": …}      collected, or never made

So a process killed at any moment finds its batches again: one with an id is waited for; one without is looked for at
the server by its name, and handed over again only where the server has never heard of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import DamagedError, StoreError


@dataclass
class Batch:
    """One batch. id: None where the server's answer is not known."""

    name: str
    keys: dict[str, int]  # key → sample index
    id: str | None = None
    ended: bool = False


class Ledger:
    """The batches of one journal, which has one writer at a time. StoreError where it can't be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.batches: dict[str, Batch] = {}
        whole = self._read()
        if whole is not None:
            os.truncate(path, whole)

    def _read(self) -> int | None:
        """Bytes of whole lines; a torn last one was being written when the process died."""
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                self._note(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise DamagedError(
                    f"line {number} of {self.path} is damaged. Restore the file: it says what is being paid for."
                ) from None
        return whole

    def _note(self, told: dict[str, Any]) -> None:
        name = str(told["name"])
        if told["event"] == "intent":
            self.batches[name] = Batch(name, {str(key): int(sample) for key, sample in told["keys"].items()})
        elif told["event"] == "made":
            self.batches[name].id = str(told["id"])
        elif told["event"] == "ended":
            self.batches[name].ended = True

    def intend(self, name: str, keys: Mapping[str, int]) -> Batch:
        """Written before the batch is handed over."""
        self._append({"event": "intent", "name": name, "keys": dict(keys)})
        return self.batches[name]

    def made(self, batch: Batch, id: str) -> None:
        self._append({"event": "made", "name": batch.name, "id": id})

    def ended(self, batch: Batch, status: str) -> None:
        self._append({"event": "ended", "name": batch.name, "status": status})

    def open(self) -> list[Batch]:
        """Batches that are not collected yet, oldest first."""
        return [batch for batch in self.batches.values() if not batch.ended]

    def _append(self, told: dict[str, Any]) -> None:
        try:
            with self.path.open("ab") as file:
                file.write(json.dumps(told).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"can't write {self.path}: {error.strerror}. Free some space and run the same command again."
            ) from error
        self._note(told)
