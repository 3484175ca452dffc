"""Reading a sweep back: sweep.json and the samples of its checkpoints.

    sweep/
      scores.json                            as of an evaluation: an entry per checkpoint and benchmark, with its step
      sweep.json                             the checkpoints in order, the problem sets, what the scores say over steps
      analytics.json                         lengths, markers, repetition, stability … of the answers, over steps
      <label>/<benchmark>/samples.parquet    what was generated; label = step-000050
      <label>/<benchmark>/verdicts.parquet   what the grader says of it
      <label>/<benchmark>/traces.jsonl       both, one readable line per answer

A sweep is an evaluation (kind `scores`), so that everything that reads evaluations reads it too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.errors import DataError
from posttrain.evals.comparison import Answers
from posttrain.records import Sample
from posttrain.store import Samples

SWEEP = "sweep.json"
ANALYTICS = "analytics.json"
SWEEP_VERSION = 1


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder. `facts` is sweep.json, `entries` those of scores.json (the ungraded ones last)."""

    path: Path
    facts: dict[str, Any]
    entries: tuple[dict[str, Any], ...]

    @property
    def labels(self) -> list[str]:
        """The checkpoints in order of their steps."""
        return [step["label"] for step in self.facts["steps"]]

    @property
    def steps(self) -> list[int]:
        """Their steps, in the same order."""
        return [step["step"] for step in self.facts["steps"]]

    @property
    def benchmarks(self) -> list[str]:
        """The problem sets, by name."""
        return [benchmark["name"] for benchmark in self.facts["benchmarks"]]

    def entry(self, label: str, benchmark: str) -> dict[str, Any]:
        """One checkpoint's entry of scores.json. DataError where it isn't there."""
        for entry in self.entries:
            if (entry["model"], entry["benchmark"]) == (label, benchmark):
                return entry
        raise DataError(f"{self.path} has no {label} on {benchmark}. It has: {', '.join(self.labels)}.")

    def samples(self, label: str, benchmark: str) -> list[Sample]:
        """One checkpoint's answers, in order of problem and index."""
        return list(Samples(self.path / self.entry(label, benchmark)["folder"]).read())

    def answers(self, benchmark: str) -> Iterator[Answers]:
        """Checkpoint after checkpoint of one problem set; those that a running sweep has not reached are left out."""
        for entry in sorted((e for e in self.entries if e["benchmark"] == benchmark), key=lambda e: int(e["step"])):
            yield Answers(entry, list(Samples(self.path / entry["folder"]).read()))

    def analytics(self) -> dict[str, Any]:
        """analytics.json: benchmark → {steps, series: name → {value, low, high}}. Empty where it isn't there
        yet, DataError where it can't be read."""
        path = self.path / ANALYTICS
        if not path.is_file():
            return {}
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} can't be read ({error}). Make the sweep again with --fresh.") from None
        return found


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep, finished or under way."""
    return (path / SWEEP).is_file()


def read_sweep(path: Path) -> Sweep:
    """A sweep, finished or under way. DataError where the folder holds none, or one that can't be read."""
    try:
        facts = json.loads((path / SWEEP).read_text(encoding="utf-8"))
        scores = json.loads((path / "scores.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename} is missing, so {path} is no sweep. Make one: posttrain sweep RUN out={path}."
        ) from None
    except ValueError as error:
        raise DataError(f"{path} holds a sweep that can't be read ({error}). Make it again with --fresh.") from None
    return Sweep(path, facts, (*scores["entries"], *scores.get("ungraded", ())))
