from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from posttrain import stats
from posttrain.errors import DataError

# Two-sided 99.9 % bands around 95 % for 2,000 simulated evaluations would be ±1.6 %; the claim is 93 to 97 %.
SIMULATIONS = 2_000


def coverage(scores: np.ndarray, samples_per_item: int, truth: float) -> float:
    """Share of simulated evaluations [S, n] whose interval holds the true accuracy."""
    hits = 0
    for row in scores:
        estimate = stats.estimate_accuracy(row, samples_per_item)
        hits += estimate.low <= truth <= estimate.high
    return hits / len(scores)


def test_intervals_cover_95_percent_with_30_problems_and_16_samples() -> None:
    rng = np.random.default_rng(1)
    chances = rng.beta(2, 2, size=(SIMULATIONS, 30))  # a new draw of problems each time: true mean 1/2
    assert 0.93 <= coverage(rng.binomial(16, chances) / 16, 16, 0.5) <= 0.97


def test_intervals_cover_95_percent_with_1319_problems_and_one_sample() -> None:
    rng = np.random.default_rng(2)
    chances = rng.beta(3, 2, size=(SIMULATIONS, 1319))
    assert 0.93 <= coverage((rng.random(chances.shape) < chances).astype(float), 1, 0.6) <= 0.97


def test_intervals_cover_at_low_accuracy_with_few_problems() -> None:
    rng = np.random.default_rng(3)
    scores = (rng.random((SIMULATIONS, 100)) < 0.05).astype(float)
    assert 0.93 <= coverage(scores, 1, 0.05) <= 0.98  # Wilson is a little conservative here


@pytest.mark.parametrize(("successes", "n"), [(0, 30), (3, 30), (15, 30), (30, 30), (7, 1319)])
def test_wilson_equals_scipy(successes: int, n: int) -> None:
    low, high = stats.wilson(successes, n)
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_t_interval_equals_scipy() -> None:
    scores = np.random.default_rng(0).random(50)
    expected = scipy_stats.ttest_1samp(scores, 0).confidence_interval(0.9)
    assert stats.t_interval(scores, 0.9) == pytest.approx((expected.low, expected.high))


def test_standard_error_averages_the_samples_of_an_item_first() -> None:
    # Twice the same sample of each problem is no new evidence: the error must not shrink.
    one = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    twice = stats.item_means(np.stack([one, one], axis=1))
    assert stats.standard_error(twice) == stats.standard_error(one)


def test_clusters_of_one_give_the_plain_standard_error() -> None:
    scores = np.random.default_rng(0).random(40)
    assert stats.clustered_standard_error(scores, np.arange(40)) == pytest.approx(stats.standard_error(scores))


def test_copies_in_a_cluster_carry_no_information() -> None:
    scores = np.random.default_rng(0).random(40)
    tripled = stats.clustered_standard_error(np.repeat(scores, 3), np.repeat(np.arange(40), 3))
    assert tripled == pytest.approx(stats.standard_error(scores))


def test_no_correct_answer_is_not_certainty() -> None:
    estimate = stats.estimate_accuracy(np.zeros(1319))
    assert (estimate.low, estimate.method) == (0.0, "wilson")
    assert estimate.high == pytest.approx(1.959963985**2 / (1319 + 1.959963985**2))


def test_bootstrap_is_seeded_and_constant_data_gives_a_point() -> None:
    scores = np.random.default_rng(0).random(30)
    first, again = (stats.bca_interval(scores, seed=5, resamples=500) for _ in range(2))
    assert first == again
    assert first != stats.bca_interval(scores, seed=6, resamples=500)
    assert first == pytest.approx(stats.t_interval(scores), abs=0.02)
    assert stats.bca_interval([0.5] * 10) == (0.5, 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 4))
def test_an_interval_holds_its_estimate_and_stays_between_0_and_1(scores: list[float], k: int) -> None:
    estimate = stats.estimate_accuracy(scores, k)
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1


@pytest.mark.parametrize("bad", [[], [[0.1, 0.2]], [0.5, float("nan")], [1.5]])
def test_scores_that_are_no_accuracies_are_refused(bad: list[float]) -> None:
    with pytest.raises(DataError):
        stats.estimate_accuracy(bad)
