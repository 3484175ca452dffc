"""Planted duplicates, of which the truth is known: recall 99 % and more at a precision of 95 % and more."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from perf.edits import SAME
from tests.unit.curate.make import Room, trace

from posttrain.data import synthetic
from posttrain.prompts import worked
from posttrain.records import Problem, Sample


def with_duplicates(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], set[int]]:
    """The samples, shuffled together with edited copies of a share of them; and where the later of each two stands."""
    draw = random.Random(seed)
    pairs = [(s, k) for k, s in enumerate(samples)]
    for k, original in enumerate(samples[: round(share * len(samples))]):
        edited = SAME[k % len(SAME)](original.question, draw)
        pairs.append((trace(len(pairs), original.response, question=edited, gold=original.gold), k))
    draw.shuffle(pairs)
    seen: set[int] = set()
    later = set()
    for i, (_, k) in enumerate(pairs):
        if k in seen:
            later.add(i)
        seen.add(k)
    return [s for s, _ in pairs], later


def gone(room: Room, samples: Sequence[Sample]) -> set[int]:
    """The rows that the exact filter and then the near one drop."""
    rows = room.rows(samples)
    first = rows.take(room.filter("exact_duplicates", rows).keep)
    left = first.take(room.filter("near_duplicates", first).keep)
    return set(np.setdiff1d(rows.numbers, left.numbers).tolist())


def as_traces(problems: Sequence[Problem]) -> list[Sample]:
    return [trace(i, worked(p), question=p.question, gold=p.answer) for i, p in enumerate(problems)]


def test_planted_duplicates_of_the_synthetic_task_are_found(room: Room) -> None:
    samples, truth = with_duplicates(as_traces(synthetic.problems(3, "train", 3000, (1, 2, 3, 4))), 0.2, 0)
    found = gone(room, samples)
    assert len(found & truth) / len(truth) >= 0.99
    assert len(found & truth) / len(found) >= 0.95


def test_planted_duplicates_of_gsm8k_are_found(room: Room, mirror: Path) -> None:
    lines = (mirror / "gsm8k_train.jsonl").read_bytes().splitlines()[:4000]
    problems = [Problem(r["id"], r["problem"], r["answer"], r["solution"]) for r in map(json.loads, lines)]
    samples = as_traces(problems)
    natural = gone(room, samples)
    assert len(natural) <= 10
    samples, truth = with_duplicates([s for i, s in enumerate(samples) if i not in natural], 0.2, 1)
    found = gone(room, samples)
    assert len(found & truth) / len(truth) >= 0.99
    assert len(found & truth) / len(found) >= 0.95


@pytest.mark.parametrize("of", ["question", "both"])
def test_what_has_no_duplicates_loses_hardly_a_row(room: Room, of: str) -> None:
    rows = room.rows(as_traces(synthetic.problems(4, "train", 2000, (1, 2, 3, 4))))
    assert (~room.filter("near_duplicates", rows, of=of).keep).mean() < 0.01
