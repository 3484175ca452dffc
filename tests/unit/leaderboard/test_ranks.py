from __future__ import annotations

import numpy as np
import pytest

from posttrain.leaderboard.ranks import FLIPS, rank
from posttrain.stats import compare_paired, holm


def solved(n: int, upto: int) -> np.ndarray:
    """The first `upto` of n problems solved: nested sets, so that every difference is one-sided."""
    return (np.arange(n) < upto).astype(float)


def test_entries_within_noise_share_a_rank_and_those_beyond_it_do_not() -> None:
    # 60 against 58 of 100: two discordant pairs, p = 0.5. 60 against 30: thirty, p = 2·0.5^30.
    found = rank([solved(100, 60), solved(100, 58), solved(100, 30)], 1)
    assert found.best == (1, 1, 3)
    assert found.worst == (2, 2, 3)
    assert found.first == 0
    assert (found.pairs, found.test) == (3, "mcnemar")


def test_p_values_are_holms_over_all_pairs_of_the_table() -> None:
    scores = [solved(100, 60), solved(100, 52), solved(100, 30)]
    found = rank(scores, 1)
    raw = [compare_paired(scores[a], scores[b]).p for a, b in ((0, 1), (0, 2), (1, 2))]
    assert raw[0] == pytest.approx(2 * 0.5**8)
    assert found.adjusted == (None, *holm(raw)[:2])
    behind = found.behind[1]
    assert behind is not None
    assert behind.difference == pytest.approx(0.08)


def test_rank_intervals_hold_what_noise_leaves_open_in_the_middle() -> None:
    # The middle one can't be told from either neighbour, the outer two can be told apart.
    found = rank([solved(40, 30), solved(40, 26), solved(40, 22)], 1)
    assert found.best == (1, 1, 2)
    assert found.worst == (2, 3, 3)


def test_equal_entries_are_tied_and_one_alone_is_first() -> None:
    assert rank([solved(10, 5)] * 3, 1).best == (1, 1, 1)
    assert rank([solved(10, 5)] * 3, 1).worst == (3, 3, 3)
    alone = rank([solved(10, 5)], 1)
    assert (alone.best, alone.worst, alone.test, alone.pairs) == ((1,), (1,), "none", 0)


def test_a_large_family_of_repeated_samples_can_still_tell_entries_apart() -> None:
    rng = np.random.default_rng(0)
    easy = [np.clip(0.8 + rng.integers(-1, 2, 300) * 0.25, 0, 1) for _ in range(20)]
    hard = [np.clip(0.2 + rng.integers(-1, 2, 300) * 0.25, 0, 1) for _ in range(20)]
    pairs = 40 * 39 // 2
    assert pairs / (FLIPS + 1) > 0.05  # by permutation alone no pair of them could ever pass Holm's first step
    found = rank([*easy, *hard], 4)
    assert found.test == "t"
    assert set(found.best[20:]) == {21}
    assert set(found.worst[:20]) <= set(range(1, 21))
