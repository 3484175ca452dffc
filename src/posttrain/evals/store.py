"""Reading evaluations back: the entries of Scores artifacts with their samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posttrain.evals.comparison import Answers
from posttrain.store import Samples, Scores


def read_answers(scores: Sequence[Scores]) -> Iterator[Answers]:
    """Every (model, benchmark) of these evaluations, in the order they were made."""
    yield from _read(scores, "entries")


def read_ungraded(scores: Sequence[Scores]) -> Iterator[Answers]:
    """The same of benchmarks whose answers are kept for a judge: their samples have no verdicts."""
    yield from _read(scores, "ungraded")


def _read(scores: Sequence[Scores], kind: str) -> Iterator[Answers]:
    for artifact in scores:
        for entry in artifact.read().get(kind, ()):
            yield Answers(entry, list(Samples(artifact.path / entry["folder"]).read()))
