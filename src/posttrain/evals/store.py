"""Reading evaluations back: the entries of Scores artifacts with their samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posttrain.evals.comparison import Answers
from posttrain.store import Samples, Scores


def read_answers(scores: Sequence[Scores]) -> Iterator[Answers]:
    """Every (model, benchmark) of these evaluations, in the order they were made."""
    for artifact in scores:
        for entry in artifact.read()["entries"]:
            yield Answers(entry, list(Samples(artifact.path / entry["folder"]).read()))
