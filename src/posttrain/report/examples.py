"""Problems shown with every model's answer: one for each way in which the models differ, commonest first."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from posttrain.evals import Answers
from posttrain.records import Sample

LONGEST = 4_000  # characters of a response that are shown


@dataclass(frozen=True)
class ShownAnswer:
    """One model's answer. correct None = undecided. tokens None where the response was imported."""

    model: str
    text: str
    cut: int  # characters left out
    correct: bool | None
    extracted: str | None
    reason: str
    tokens: int | None


@dataclass(frozen=True)
class Example:
    """A problem with all answers. alike: of how many problems the same models were right, out of `of`."""

    problem_id: str
    question: str
    gold: str | None
    answers: tuple[ShownAnswer, ...]
    alike: int
    of: int


def choose_examples(models: Mapping[str, Answers], count: int) -> list[Example]:
    """`count` problems of one benchmark; among those on which the same models are right, drawn by hash, not picked."""
    by_model = {name: _first_samples(answers) for name, answers in models.items()}
    shared = set.intersection(*(set(samples) for samples in by_model.values())) if by_model else set()
    groups: dict[tuple[bool, ...], list[str]] = {}
    for item in sorted(shared, key=lambda i: hashlib.sha256(i.encode()).digest()):
        pattern = tuple(_right(samples[item]) for samples in by_model.values())
        groups.setdefault(pattern, []).append(item)
    ranked = sorted(groups, key=lambda p: (len(set(p)) == 1, -len(groups[p]), p))
    chosen: list[Example] = []
    for depth in range(count):  # a second problem of a pattern only after one of each
        for pattern in ranked:
            if depth < len(groups[pattern]) and len(chosen) < count:
                item = groups[pattern][depth]
                shown = tuple(_shown(name, samples[item]) for name, samples in by_model.items())
                sample = next(iter(by_model.values()))[item]
                chosen.append(Example(item, sample.question, sample.gold, shown, len(groups[pattern]), len(shared)))
    return chosen


def _first_samples(answers: Answers) -> dict[str, Sample]:
    return {s.problem_id: s for s in answers.samples if s.index == 0}


def _right(sample: Sample) -> bool:
    return sample.verdict is not None and sample.verdict.correct is True


def _shown(model: str, sample: Sample) -> ShownAnswer:
    verdict = sample.verdict
    return ShownAnswer(
        model=model,
        text=sample.response[:LONGEST],
        cut=max(0, len(sample.response) - LONGEST),
        correct=verdict.correct if verdict else None,
        extracted=verdict.extracted if verdict else None,
        reason=verdict.reason if verdict else "not graded",
        tokens=len(sample.token_ids) if sample.token_ids is not None else None,
    )
