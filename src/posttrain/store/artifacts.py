"""Typed handles on artifact folders. They read; only a Workspace writes.

A stage says what it takes and makes by these types in its signature, which is how the pipeline checks a recipe before
anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from posttrain.errors import DataError, StoreError
from posttrain.records import Problem, Sample, problems_from_table, samples_from_tables
from posttrain.store.manifest import Manifest


@dataclass(frozen=True)
class Artifact:
    """A folder that a stage made (or that the user brought). `name` is what people call it in a recipe."""

    path: Path
    name: str = ""
    kind: ClassVar[str] = "artifact"

    def manifest(self) -> Manifest | None:
        return Manifest.read(self.path)

    @property
    def label(self) -> str:
        return self.name or self.path.name


@dataclass(frozen=True)
class Problems(Artifact):
    kind: ClassVar[str] = "problems"

    def read(self, split: str | None = None) -> list[Problem]:
        """Problems of one split (or of all), in file order. DataError when that leaves none."""
        import pyarrow.parquet as pq

        problems = problems_from_table(pq.read_table(self.path / "problems.parquet"))
        kept = [p for p in problems if split is None or p.split == split]
        if not kept:
            present = sorted({p.split for p in problems})
            raise DataError(f"{self.label} has no problems in split {split!r}; it has {', '.join(present) or 'none'}.")
        return kept


@dataclass(frozen=True)
class Samples(Artifact):
    kind: ClassVar[str] = "samples"

    def read(self) -> Iterator[Sample]:
        import pyarrow.parquet as pq

        verdicts = self.path / "verdicts.parquet"
        try:
            generations = pq.read_table(self.path / "samples.parquet")
        except FileNotFoundError:
            raise StoreError(
                f"{self.path / 'samples.parquet'} is missing. Put it back, or make what wrote it again."
            ) from None
        return samples_from_tables(generations, pq.read_table(verdicts) if verdicts.exists() else None)


@dataclass(frozen=True)
class Tokens(Artifact):
    """Tokenised examples with loss masks (`tokens.parquet`: ids, mask; `tokens.json`: template, tokenizer, counts)."""

    kind: ClassVar[str] = "tokens"


@dataclass(frozen=True)
class Checkpoint(Artifact):
    """A loadable model folder. A stage's checkpoint keeps it in `model/`; a folder from outside is itself the model.

    A path that does not exist is a hub name: `revision` then says which.
    """

    kind: ClassVar[str] = "checkpoint"
    revision: str | None = None

    @property
    def model_dir(self) -> Path:
        inner = self.path / "model"
        return inner if inner.is_dir() else self.path

    @property
    def ref(self) -> str:
        """What loaders take: the model folder, or the hub name where the path is not a folder."""
        return str(self.model_dir)


@dataclass(frozen=True)
class Scores(Artifact):
    """An evaluation: `scores.json`, and per model and benchmark a folder with samples.parquet and verdicts.parquet."""

    kind: ClassVar[str] = "scores"

    def read(self) -> dict[str, Any]:
        path = self.path / "scores.json"
        try:
            value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StoreError(f"{path} is missing: {self.label} is not a finished evaluation.") from None
        return value


@dataclass(frozen=True)
class Judgements(Artifact):
    """What a judge says of answers: `judge.json` and `judgements.parquet`."""

    kind: ClassVar[str] = "judgements"


@dataclass(frozen=True)
class Report(Artifact):
    kind: ClassVar[str] = "report"


KINDS: dict[str, type[Artifact]] = {
    t.kind: t for t in (Problems, Samples, Tokens, Checkpoint, Scores, Judgements, Report)
}


def packed(artifact: Artifact) -> dict[str, Any]:
    """JSON-able values that `unpacked` reads back in another process."""
    revision = artifact.revision if isinstance(artifact, Checkpoint) else None
    return {"kind": artifact.kind, "path": str(artifact.path), "name": artifact.name, "revision": revision}


def unpacked(values: Mapping[str, Any]) -> Artifact:
    """The handle that `packed` described."""
    kind = KINDS[values["kind"]]
    if kind is Checkpoint:
        return Checkpoint(Path(values["path"]), values["name"], values["revision"])
    return kind(Path(values["path"]), values["name"])
