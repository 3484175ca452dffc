"""The problems that a board grades against: never a submission's own golds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from posttrain.benchmarks import get_benchmark
from posttrain.benchmarks.benchmark import first_by_hash, problems_digest
from posttrain.benchmarks.registry import BY_NAME
from posttrain.errors import DataError, PosttrainError
from posttrain.records import Problem
from posttrain.store import Manifest, Problems


@dataclass
class Golds:
    """Problems by the digest that a benchmark's settings name them by.

    given: problems brought by whoever holds the board. Those of trusted runs are added, those of registered benchmarks
    are looked up where they are asked for.
    """

    given: list[list[Problem]] = field(default_factory=list)
    known: dict[str, dict[str, Problem]] = field(default_factory=dict)

    def add(self, settings: Mapping[str, Any], read: Callable[[], Sequence[Problem]]) -> None:
        """What a trusted run was asked; `read` is called where it isn't known yet."""
        digest = str(settings.get("problems"))
        if digest not in self.known:
            self.known[digest] = {p.id: p for p in read()}

    def of(self, settings: Mapping[str, Any]) -> dict[str, Problem]:
        """The problems by id. DataError where they aren't here."""
        digest = str(settings.get("problems"))
        if digest not in self.known:
            found = self._in_given(settings, digest) or self._registered(settings, digest)
            if found is None:
                raise DataError(
                    f"the problems of {str(settings.get('benchmark'))[:80]!r} are not here, so it can't be graded. "
                    "Give them by --problems, or a run that was evaluated on them."
                )
            self.known[digest] = {p.id: p for p in found}
        return self.known[digest]

    def _in_given(self, settings: Mapping[str, Any], digest: str) -> Sequence[Problem] | None:
        limit = settings.get("n_problems")
        for problems in self.given:
            chosen = first_by_hash(problems, limit if isinstance(limit, int) else None)
            if problems_digest(chosen) == digest:
                return chosen
        return None

    def _registered(self, settings: Mapping[str, Any], digest: str) -> Sequence[Problem] | None:
        name, limit = settings.get("benchmark"), settings.get("n_problems")
        if name not in BY_NAME:  # also keeps paths of files from being opened as benchmarks
            return None
        try:
            problems = get_benchmark(name, limit=limit if isinstance(limit, int) and limit > 0 else None).problems
        except PosttrainError:  # its file is not in this mirror
            return None
        return problems if problems_digest(problems) == digest else None


def read_given(path: Path) -> list[list[Problem]]:
    """The problems in a folder of problems, split by split. DataError where there are none."""
    manifest = Manifest.read(path) if path.is_dir() else None
    if manifest is None or manifest.kind != "problems" or not (path / "problems.parquet").is_file():
        raise DataError(f"{path} holds no problems. Give the folder of a finished `data` stage.")
    problems = Problems(path).read()
    splits = dict.fromkeys(p.split for p in problems)
    return [[p for p in problems if p.split == split] for split in splits]
