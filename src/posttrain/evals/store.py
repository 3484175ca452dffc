"""Reading evaluations back: the entries of Scores artifacts with their samples."""

from __future__ import annotations

from collections import Counter
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


def names_of(of: Sequence[Scores]) -> list[str]:
    """What to call each evaluation so that two are told apart: its label, with the run's folder in front where labels
    repeat (a/sweep-rl and b/sweep-rl)."""
    labels = [one.label for one in of]
    return [
        f"{one.path.resolve().parent.name}/{label}" if labels.count(label) > 1 else label
        for one, label in zip(of, labels, strict=True)
    ]


def distinct_names(of: Sequence[Scores]) -> list[dict[str, str]]:
    """Each evaluation's models, and what to call them where several evaluations stand together.

    A name that another evaluation has too gets its evaluation's in front (sweep-sft:step-000050); of a sweep with such
    a name all checkpoints get it, so that they stay together.
    """
    listed = [one.read() for one in of]
    entries = [[*facts.get("entries", ()), *facts.get("ungraded", ())] for facts in listed]
    owners = Counter(model for several in entries for model in {e["model"] for e in several})
    found = []
    for name, several in zip(names_of(of), entries, strict=True):
        shared = any(owners[e["model"]] > 1 for e in several)
        front = {e["model"] for e in several if owners[e["model"]] > 1 or (shared and e.get("step") is not None)}
        found.append({e["model"]: f"{name}:{e['model']}" if e["model"] in front else e["model"] for e in several})
    return found
