"""Several samples of each problem: pass@k and maj@k."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from posttrain.errors import DataError
from posttrain.stats.intervals import Floats


def pass_at_k(correct: ArrayLike, n: int, k: int) -> Floats:
    """Per problem 1 − C(n−c, k)/C(n, k), [items]: the unbiased chance that k of n samples hold a correct one.

    `correct` counts c of n per problem (Chen et al., arXiv 2107.03374). DataError when n < k.
    """
    counts = np.asarray(correct)
    if not 1 <= k <= n:
        raise DataError(f"pass@{k} needs at least {k} samples per problem; there are {n}. Sample more, or lower k.")
    if counts.ndim != 1 or ((counts < 0) | (counts > n)).any():
        raise DataError(f"pass@k needs between 0 and {n} correct samples per problem.")
    # C(n−c, k)/C(n, k) = Π_{j=0}^{k−1} (n−c−j)/(n−j): a product, so that no large factorial is formed
    j = np.arange(k)
    missed = np.clip(n - counts[:, None] - j, 0, None) / (n - j)
    return np.asarray(1.0 - missed.prod(axis=1), dtype=np.float64)


def majority_score(answers: Sequence[Hashable | None], correct: Sequence[bool]) -> float | None:
    """One problem's maj@k: 1 if the most frequent answer is correct, ties sharing credit; None when nothing parsed.

    `answers` are cluster labels (equal label = equivalent to the grader); None = unparsed, excluded from the vote.
    """
    if len(answers) != len(correct):
        raise DataError(f"maj@k needs one verdict per answer: {len(answers)} answers, {len(correct)} verdicts.")
    votes = Counter(a for a in answers if a is not None)
    if not votes:
        return None
    most = max(votes.values())
    winners = [a for a, count in votes.items() if count == most]
    right = {a for a, ok in zip(answers, correct, strict=True) if ok}
    return sum(a in right for a in winners) / len(winners)
