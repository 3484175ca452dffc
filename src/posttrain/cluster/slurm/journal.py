"""Which jobs stand for which stages: `jobs.json` in the run's folder, whole at every moment.

An entry is written before its job is submitted and completed with the job's number after it. One that has no number is
looked up by its mark, which the job carries as SLURM's comment: so a submit that dies in between queues nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from posttrain.errors import DamagedError
from posttrain.store import write_json

FOLDER = "slurm"
NAME = "jobs.json"


@dataclass(frozen=True)
class Entry:
    """One submission. nodes: by array index ("0" for a plain job). own: fingerprints of what the nodes themselves ask.

    mark: the job's comment in SLURM. job: its number, None while that is not known.
    """

    mark: str
    base: str
    nodes: Mapping[str, str]
    own: Mapping[str, str]
    array: bool
    recipe: str
    submitted: str
    job: str | None = None

    def number(self, index: str) -> str:
        """What SLURM calls the job of one node: 12, or 12_3 in an array."""
        return f"{self.job}_{index}" if self.array else str(self.job)


@dataclass(frozen=True)
class Journal:
    """The entries of a run, oldest first."""

    folder: Path
    entries: tuple[Entry, ...] = ()

    @classmethod
    def read(cls, run: Path) -> Journal:
        """Empty where nothing was submitted; DamagedError for a file that can't be read."""
        path = run / FOLDER / NAME
        try:
            rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["jobs"]
            return cls(run / FOLDER, tuple(Entry(**row) for row in rows))
        except FileNotFoundError:
            return cls(run / FOLDER)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedError(
                f"{path} can't be read ({error}). Look with squeue what is queued, remove the file and submit again."
            ) from error

    def put(self, entry: Entry) -> Journal:
        """With `entry` in the place of the one of its mark, or at the end; on the disk before this returns."""
        marks = [one.mark for one in self.entries]
        entries = (
            tuple(entry if one.mark == entry.mark else one for one in self.entries)
            if entry.mark in marks
            else (*self.entries, entry)
        )
        return self._written(entries)

    def found(self, numbers: Mapping[str, str]) -> Journal:
        """Entries without a number get that of their mark; those that SLURM does not know were never queued."""
        if all(one.job is not None for one in self.entries):
            return self
        filled = (one if one.job else replace(one, job=numbers.get(one.mark)) for one in self.entries)
        return self._written(tuple(one for one in filled if one.job is not None))

    def last(self) -> dict[str, tuple[Entry, str]]:
        """By node: its latest entry that has a number, and its index there."""
        return {name: (e, index) for e in self.entries if e.job is not None for index, name in e.nodes.items()}

    def _written(self, entries: tuple[Entry, ...]) -> Journal:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / NAME, {"jobs": [asdict(one) for one in entries]})
        return replace(self, entries=entries)
