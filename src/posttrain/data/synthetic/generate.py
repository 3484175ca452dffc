"""Streams of synthetic problems and of plain text in the same words."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from itertools import islice

from posttrain.data.synthetic.levels import LEVELS, Level
from posttrain.data.synthetic.split import Split, split_of, templates_of
from posttrain.data.synthetic.story import Story, tell
from posttrain.errors import DataError
from posttrain.records import Problem
from posttrain.seeding import derive

# So many draws in a row without a new story mean that the levels asked for hold no more of them.
_PATIENCE = 20_000


def stories(seed: int, split: Split, levels: Sequence[int], *, disjoint_templates: bool) -> Iterator[tuple[int, Story]]:
    """(level, story) without end, levels in turn, all texts different. DataError when the levels are exhausted."""
    rng = random.Random(derive(seed, "synthetic", split))
    templates = templates_of(split, disjoint_templates)
    seen: set[bytes] = set()
    while True:
        for number in levels:
            level = LEVELS[number]
            for _ in range(_PATIENCE):
                story = tell(rng.choice(templates), level, rng.choice(level.steps), rng)
                digest = hashlib.sha256(story.text.encode()).digest()[:16]
                if split_of(story.key) == split and digest not in seen:
                    break
            else:
                raise DataError(
                    f"level {number} of the synthetic task holds no more different {split} problems after "
                    f"{len(seen):,}. Ask for fewer of them, or add levels."
                )
            seen.add(digest)
            yield number, story


def problems(
    seed: int, split: Split, count: int, levels: Sequence[int], *, disjoint_templates: bool = False
) -> list[Problem]:
    """`count` word problems; a larger count starts with the same problems. `subject` is the template's name."""
    stream = stories(seed, split, levels, disjoint_templates=disjoint_templates)
    return [_problem(level, story, split) for level, story in islice(stream, count)]


def _problem(level: int, story: Story, split: Split) -> Problem:
    return Problem(
        id=f"synthetic/{hashlib.sha256(story.text.encode()).hexdigest()[:20]}",
        question=story.text,
        answer=str(story.answer),
        solution=story.solution,
        subject=story.key.partition("|")[0],
        level=level,
        split=split,
        extra={"steps": len(story.equations)},
    )


def texts(
    seed: int, split: Split, count: int, levels: Sequence[int], *, disjoint_templates: bool = False
) -> list[Problem]:
    """`count` documents of plain text for pretraining: stories without their question, and arithmetic facts.

    A document never holds a question together with its solution: the base model learns words and numbers here, and
    is left to learn reasoning later.
    """
    stream = stories(derive(seed, "text"), split, levels, disjoint_templates=disjoint_templates)
    rng = random.Random(derive(seed, "synthetic-text", split))
    documents = []
    for index in range(count):
        kind = "story" if rng.random() < 0.5 else "facts"
        text = " ".join(next(stream)[1].opening) if kind == "story" else _facts(rng, levels)
        while kind == "facts" and split_of(text) != split:
            text = _facts(rng, levels)
        documents.append(Problem(id=f"synthetic-text/{split}/{index}", question=text, subject=kind, split=split))
    return documents


def _facts(rng: random.Random, levels: Sequence[int]) -> str:
    return " ".join(_fact(rng, LEVELS[rng.choice(levels)]) for _ in range(rng.randint(2, 6)))


def _fact(rng: random.Random, level: Level) -> str:
    """``"7 + 5 = 12."`` with the level's operators and every number smaller than its `below`."""
    below = level.below
    operator = rng.choice("+-" if level.operations <= {"gain", "loss"} else "++--*/")
    if operator in "+-":
        a = rng.randint(1, below - 2)
        b = rng.randint(1, below - 1 - a)
        return f"{a} + {b} = {a + b}." if operator == "+" else f"{a + b} - {b} = {a}."
    a = rng.randint(2, min(12, below // 2 - 1))
    b = rng.randint(1, (below - 1) // a)
    return f"{a} * {b} = {a * b}." if operator == "*" else f"{a * b} / {a} = {b}."
