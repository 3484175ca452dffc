"""What stands in a folder: the artifacts of a run (or of several), and every set of samples in them.

A set is what one model, at one point of its training, answered: an evaluation's answers, one step's rollouts, one
validation, or a teacher's traces. Sets over the same problems form a series, in the order of their steps. Everything is
looked up by names found here, so that no address can name a file outside the folder.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from posttrain.errors import DamagedError, StoreError
from posttrain.explorer.journal import Journal
from posttrain.store import Manifest
from posttrain.store.manifest import NAME as MANIFEST

Kind = Literal["answers", "validation", "rollouts", "traces"]
State = Literal["finished", "running", "stopped", "damaged"]

DEPTH = 3  # folders between what is opened and an artifact
FRESH = 1.0  # seconds for which a look at the folder holds
STEP = re.compile(r"(?:^|[@-])(?:step-)?(\d+)$")
MARKS = (MANIFEST, "scores.json", "sweep.json")  # a folder with one of these is an artifact


@dataclass(frozen=True)
class Found:
    """One artifact. `trouble` says what is wrong with its manifest, if anything is."""

    name: str
    path: Path
    manifest: Manifest | None
    state: State
    trouble: str = ""

    @property
    def stage(self) -> str:
        return self.manifest.stage if self.manifest else "?"


@dataclass(frozen=True)
class SampleSet:
    """Samples that belong together. `name` is unique and stays the same; `stamp` changes with the files.

    folder: of samples.parquet and what stands beside it; None where they are lines of a validation.jsonl (`journal`).
    entry: of scores.json, where there is one.
    """

    name: str
    artifact: str
    kind: Kind
    label: str
    step: int | None
    benchmark: str
    stamp: str
    folder: Path | None = None
    journal: Journal | None = None
    entry: dict[str, Any] | None = None


@dataclass(frozen=True)
class Series:
    """Sets over the same problems. `name` is what addresses say."""

    name: str
    title: str
    kind: Kind
    artifact: str
    sets: tuple[SampleSet, ...]

    @property
    def stamp(self) -> str:
        return "|".join(f"{s.name}:{s.stamp}" for s in self.sets)


@dataclass
class Library:
    """The folder as it is now; looked at again when a second has passed. Safe to use from several threads."""

    root: Path
    _journals: dict[Path, Journal] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: float = float("-inf")
    _found: dict[str, Found] = field(default_factory=dict)
    _series: dict[str, Series] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.root.is_dir():
            raise StoreError(
                f"{self.root} is not a folder. Give a run, for example runs/quickstart, or a folder of runs."
            )
        self.root = self.root.resolve()

    def artifacts(self) -> dict[str, Found]:
        """By name, oldest first."""
        self._look()
        return self._found

    def series(self) -> dict[str, Series]:
        """By name: evaluations first, then validation, rollouts, traces."""
        self._look()
        return self._series

    def sets(self) -> dict[str, SampleSet]:
        return {s.name: s for series in self.series().values() for s in series.sets}

    def _look(self) -> None:
        with self._lock:
            if time.monotonic() - self._seen < FRESH:
                return
            found = [self._open(path) for path in _artifact_folders(self.root)]
            found.sort(key=lambda f: (f.manifest.started if f.manifest else "", f.name))
            series = [s for f in found for s in self._series_of(f)]
            order: list[Kind] = ["answers", "validation", "rollouts", "traces"]
            series.sort(key=lambda s: order.index(s.kind))
            self._found = {f.name: f for f in found}
            self._series = {s.name: s for s in series}
            self._seen = time.monotonic()

    def _open(self, path: Path) -> Found:
        name = path.name if path == self.root else path.relative_to(self.root).as_posix()
        try:
            manifest = Manifest.read(path)
        except (DamagedError, OSError) as error:
            return Found(name, path, None, "damaged", str(error))
        if manifest is None:
            return Found(name, path, None, "stopped", "it has no manifest.json")
        if manifest.status == "finished":
            return Found(name, path, manifest, "finished")
        return Found(name, path, manifest, "running" if _held(path) else "stopped")

    def _series_of(self, found: Found) -> Iterator[Series]:
        yield from self._answers(found)
        path = found.path
        if self._inside(path / "validation.jsonl"):
            journal = self._journals.setdefault(path / "validation.jsonl", Journal(path / "validation.jsonl"))
            journal.read()
            sets = [
                SampleSet(
                    f"{found.name}/validation/{step}",
                    found.name,
                    "validation",
                    f"step {step:,}",
                    step,
                    "validation",
                    journal.stamp(step),
                    journal=journal,
                )
                for step in journal.steps()
            ]
            if sets:
                yield Series(
                    f"{found.name}/validation", f"{found.name}: validation", "validation", found.name, tuple(sets)
                )
        steps = sorted((p for p in (path / "rollouts").glob("step-*") if p.is_dir()), key=lambda p: p.name)
        sets = [s for p in steps if (s := self._set(found, p, "rollouts", "rollouts")) is not None]
        if sets:
            yield Series(f"{found.name}/rollouts", f"{found.name}: rollouts", "rollouts", found.name, tuple(sets))
        traces = self._set(found, path, "traces", "traces")
        if traces is not None:
            yield Series(f"{found.name}/traces", found.name, "traces", found.name, (traces,))

    def _answers(self, found: Found) -> Iterator[Series]:
        """Of an evaluation, a sweep, or one that still runs: one series for each benchmark."""
        entries = {e["folder"]: e for e in _entries(found.path) if isinstance(e.get("folder"), str)}
        folders = {
            p.parent.relative_to(found.path).as_posix(): p.parent for p in found.path.glob("*/*/samples.parquet")
        }
        folders = {k: v for k, v in folders.items() if not k.startswith(("rollouts/", "."))}
        named = {k: found.path / k for k in entries}
        by_benchmark: dict[str, list[SampleSet]] = {}
        for key, folder in (named | {k: v for k, v in sorted(folders.items()) if k not in named}).items():
            made = self._set(found, folder, "answers", folder.name, entries.get(key))
            if made is not None:
                by_benchmark.setdefault(made.benchmark, []).append(made)
        for benchmark, sets in by_benchmark.items():
            if all(s.step is not None for s in sets):
                sets.sort(key=lambda s: s.step or 0)
            yield Series(
                f"{found.name}/{sets[0].name.rpartition('/')[2]}",
                f"{found.name}: {benchmark}",
                "answers",
                found.name,
                tuple(sets),
            )

    def _set(
        self, found: Found, folder: Path, kind: Kind, benchmark: str, entry: dict[str, Any] | None = None
    ) -> SampleSet | None:
        files = [folder / name for name in ("samples.parquet", "verdicts.parquet", "tokens.parquet")]
        if not self._inside(files[0]):
            return None
        inner = "traces" if folder == found.path else folder.relative_to(found.path).as_posix()
        owner = folder.name if kind == "rollouts" else folder.parent.name
        label = str(entry["model"]) if entry and "model" in entry else owner
        step = _step(label) if entry is None or entry.get("step") is None else int(entry["step"])
        if step is not None and STEP.fullmatch(label):
            label = f"step {step:,}"
        elif kind == "traces":
            label, step = found.name, None
        name = str(entry["benchmark"]) if entry and "benchmark" in entry else benchmark
        return SampleSet(
            f"{found.name}/{inner}", found.name, kind, label, step, name, _stamp(files), folder, None, entry
        )

    def _inside(self, path: Path) -> bool:
        """The file is there, and no link leads out of the folder."""
        return path.is_file() and path.resolve().is_relative_to(self.root)


def _artifact_folders(folder: Path, depth: int = 0) -> Iterator[Path]:
    if any((folder / mark).is_file() for mark in MARKS):
        yield folder
        return
    if depth >= DEPTH:
        return
    try:
        inner = sorted(p for p in folder.iterdir() if not p.name.startswith(".") and p.is_dir() and not p.is_symlink())
    except OSError:
        return
    for path in inner:
        yield from _artifact_folders(path, depth + 1)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """Of scores.json, where it stands and can be read: an evaluation that still runs has none."""
    try:
        read = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        return [e for e in (*read.get("entries", ()), *read.get("ungraded", ())) if isinstance(e, dict)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def _step(label: str) -> int | None:
    found = STEP.search(label)
    return int(found[1]) if found and ("step-" in label or "@" in label) else None


def _stamp(files: list[Path]) -> str:
    parts = []
    for path in files:
        try:
            told = path.stat()
            parts.append(f"{told.st_size}.{told.st_mtime_ns}")
        except OSError:
            parts.append("-")
    return ",".join(parts)


def _held(folder: Path) -> bool:
    """Does the process that locked this artifact still live? Asking the lock itself could refuse it to a stage."""
    try:
        holder = json.loads((folder / ".lock").read_text(encoding="utf-8"))
        if holder["host"] != socket.gethostname():
            return True  # nobody here can tell
        os.kill(int(holder["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return False
    return True
