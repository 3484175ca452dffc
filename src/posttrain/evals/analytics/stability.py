"""Do the samples of a problem agree, and does a problem stay solved from checkpoint to checkpoint?

Axis letters: n problems, C checkpoints in order of their steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from posttrain.errors import DataError


@dataclass(frozen=True, slots=True)
class Agreement:
    """One problem's samples: the commonest answer's share, how many answers there are, their entropy in nats."""

    share: float
    distinct: int
    entropy: float
    majority: Hashable | None


def agreement(answers: Sequence[Hashable | None]) -> Agreement:
    """Of the answers to one problem. None (nothing parsed) is no answer: it agrees with none, not even another None.

    DataError for no samples at all.
    """
    if not answers:
        raise DataError("agreement needs at least one sample of a problem.")
    votes = Counter(a for a in answers if a is not None)
    unparsed = len(answers) - sum(votes.values())
    shares = [count / len(answers) for count in votes.values()] + [1 / len(answers)] * unparsed
    majority, count = max(votes.items(), key=lambda item: item[1]) if votes else (None, 0)
    return Agreement(count / len(answers), len(votes) + unparsed, -sum(s * math.log(s) for s in shares), majority)


@dataclass(frozen=True, slots=True)
class Solved:
    """Per problem, over checkpoints. A problem is solved where its score is at least 1/2.

    first: the index of the first checkpoint that solves it, −1 for never [n].
    forgotten: solved at some checkpoint and not at the last [n].
    flips: how often it changes between solved and unsolved [n].
    gained, lost: how many problems each checkpoint solves and unsolves against the one before it [C − 1].
    """

    solved: NDArray[np.bool_]
    first: NDArray[np.int64]
    forgotten: NDArray[np.bool_]
    flips: NDArray[np.int64]
    gained: NDArray[np.int64]
    lost: NDArray[np.int64]


def solved_over_steps(scores: ArrayLike) -> Solved:
    """`scores` [C, n]: each problem's accuracy at each checkpoint. DataError for another shape."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"solved_over_steps needs scores of shape [checkpoints, problems], got {values.shape}.")
    solved = values >= 0.5
    ever = solved.any(axis=0)
    before, after = solved[:-1], solved[1:]
    return Solved(
        solved=solved,
        first=np.where(ever, solved.argmax(axis=0), -1).astype(np.int64),
        forgotten=ever & ~solved[-1],
        flips=(before != after).sum(axis=0).astype(np.int64),
        gained=(~before & after).sum(axis=1).astype(np.int64),
        lost=(before & ~after).sum(axis=1).astype(np.int64),
    )
