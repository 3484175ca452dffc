from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from posttrain import stats
from posttrain.errors import DataError


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 2), (16, 8), (16, 16), (200, 100)])
def test_pass_at_k_equals_the_closed_form(n: int, k: int) -> None:
    counts = np.arange(n + 1)
    expected = [1 - math.comb(n - c, k) / math.comb(n, k) for c in counts]
    assert stats.pass_at_k(counts, n, k) == pytest.approx(expected)


def test_pass_at_k_is_the_share_of_subsets_that_hold_a_correct_sample() -> None:
    samples = [True, True, False, False, False]
    subsets = list(itertools.combinations(samples, 2))
    assert stats.pass_at_k([2], 5, 2)[0] == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_1_is_accuracy() -> None:
    assert stats.pass_at_k([0, 3, 8], 8, 1) == pytest.approx([0, 3 / 8, 1])


def test_fewer_samples_than_k_are_refused() -> None:
    with pytest.raises(DataError, match="pass@8 needs at least 8 samples per problem; there are 4"):
        stats.pass_at_k([1, 2], 4, 8)


def test_majority_votes_share_ties_and_ignore_what_was_not_parsed() -> None:
    assert stats.majority_score(["7", "7", "9"], [True, True, False]) == 1
    assert stats.majority_score(["7", "9"], [True, False]) == 0.5
    assert stats.majority_score(["9", "9", "7", None, None, None], [False, False, True, False, False, False]) == 0
    assert stats.majority_score([None, None], [False, False]) is None


def test_a_trend_is_judged_over_problems() -> None:
    rng = np.random.default_rng(0)
    steps = np.array([0, 100, 200, 300])
    chance = rng.beta(2, 2, 500)
    rising = rng.random((4, 500)) < np.clip(chance + steps[:, None] / 2000, 0, 1)
    flat = rng.random((4, 500)) < chance
    found = stats.trend(steps, rising.astype(float))
    assert found.slope == pytest.approx(np.polyfit(steps, rising.mean(axis=1), 1)[0])
    assert found.low > 0
    assert found.p < 0.01
    assert stats.trend(steps, flat.astype(float)).p > 0.01
    with pytest.raises(DataError, match="two different checkpoints"):
        stats.trend([5, 5], np.zeros((2, 10)))
