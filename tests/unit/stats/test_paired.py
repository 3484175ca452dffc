from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats as scipy_stats

from posttrain import stats
from posttrain.errors import DataError


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (12, 3), (40, 38), (200, 90)])
def test_mcnemar_equals_scipys_exact_binomial(won: int, lost: int) -> None:
    expected = scipy_stats.binomtest(won, won + lost, 0.5).pvalue if won + lost else 1.0
    assert stats.mcnemar(won, lost) == pytest.approx(expected)
    assert stats.mcnemar(lost, won) == pytest.approx(expected)


def test_mcnemar_equals_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="statsmodels is not installed")
    assert stats.mcnemar(12, 3) == pytest.approx(tables.mcnemar([[50, 12], [3, 35]], exact=True).pvalue)


def test_few_differences_are_permuted_exactly() -> None:
    d = np.array([0.5, 0.25, -0.25, 1.0, 0.0, 0.75])
    sums = [abs(np.dot(signs, d)) for signs in itertools.product([-1, 1], repeat=6)]
    assert stats.sign_flip(d) == pytest.approx(np.mean(np.array(sums) >= abs(d.sum()) - 1e-9))


def test_sign_flip_agrees_with_scipys_permutation_test_and_is_seeded() -> None:
    d = np.random.default_rng(0).normal(0.1, 0.4, 80)
    expected = scipy_stats.permutation_test(
        (d,), np.mean, permutation_type="samples", n_resamples=9_999, rng=np.random.default_rng(1)
    ).pvalue
    assert stats.sign_flip(d, seed=3) == stats.sign_flip(d, seed=3)
    assert stats.sign_flip(d, seed=3) == pytest.approx(expected, abs=0.02)


def test_the_difference_is_b_minus_a_and_its_interval_the_paired_t_interval() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(400).round(1), rng.random(400).round(1)
    paired = stats.compare_paired(a, b, samples_per_item=10)
    expected = scipy_stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (paired.low, paired.high) == pytest.approx((expected.low, expected.high))
    assert paired.difference == pytest.approx(b.mean() - a.mean())
    assert (paired.won, paired.lost) == (int((b > a).sum()), int((b < a).sum()))
    assert paired.test == "sign-flip"


def test_pairing_finds_what_two_separate_intervals_hide() -> None:
    a = np.array([1.0] * 500 + [0.0] * 500)
    b = a.copy()
    b[500:530] = 1  # thirty more, none lost: 53 % against 50 %
    paired = stats.compare_paired(a, b)
    assert paired.p < 1e-8
    first, second = stats.estimate_accuracy(a), stats.estimate_accuracy(b)
    assert first.high > second.low  # seen apart, the intervals overlap


@pytest.mark.parametrize("k", [1, 4])
def test_models_that_never_differ_are_not_certainly_equal(k: int) -> None:
    zeros = np.zeros(1319)
    paired = stats.compare_paired(zeros, zeros, samples_per_item=k)
    assert paired.p == 1.0
    assert paired.low < 0 < paired.high
    assert paired.mde > 0
    assert stats.in_words(paired).startswith("cannot tell")


def test_paired_intervals_cover_95_percent() -> None:
    rng = np.random.default_rng(4)
    hits = {(200, 1): 0, (1319, 1): 0, (30, 16): 0}
    for (n, k), _ in list(hits.items()):
        for _ in range(800):
            chance = rng.beta(2, 2, n)
            better = chance + 0.1 * (1 - chance)  # truth: b is ahead by 0.05
            a, b = rng.binomial(k, chance) / k, rng.binomial(k, better) / k
            paired = stats.compare_paired(a, b, samples_per_item=1) if k == 1 else None
            low, high = (paired.low, paired.high) if paired else stats.t_interval(b - a)
            hits[n, k] += low <= 0.05 <= high
    for share in (count / 800 for count in hits.values()):
        assert 0.93 <= share <= 0.97


def test_equal_models_are_told_apart_in_five_percent_of_cases_at_most() -> None:
    rng = np.random.default_rng(5)
    chance = rng.beta(2, 2, (1000, 300))
    a, b = (rng.random(chance.shape) < chance for _ in range(2))
    won, lost = (b & ~a).sum(axis=1), (a & ~b).sum(axis=1)
    assert np.mean([stats.mcnemar(int(w), int(x)) < 0.05 for w, x in zip(won, lost, strict=True)]) <= 0.06


def test_holm_and_benjamini_hochberg_match_their_papers() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert stats.holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # Holm 1979: 4·.005, 3·.01, 2·.03, then monotone
    expected = scipy_stats.false_discovery_control(p)
    assert stats.benjamini_hochberg(p) == pytest.approx(list(expected))
    assert stats.holm([]) == stats.benjamini_hochberg([]) == []


def test_power_is_what_was_asked_for() -> None:
    rng = np.random.default_rng(6)
    variance = 0.2
    n = stats.items_needed(0.05, variance)
    assert n == pytest.approx((1.959964 + 0.841621) ** 2 * variance / 0.05**2, abs=1)
    assert stats.minimal_detectable_difference(n, variance) == pytest.approx(0.05, rel=1e-2)
    draws = rng.normal(0.05, variance**0.5, (3000, n))
    found = np.abs(draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / n**0.5)) > 1.96
    assert found.mean() == pytest.approx(0.8, abs=0.03)


def test_more_samples_per_item_help_only_the_sampling_part() -> None:
    assert stats.difference_variance(0.1, 0.2, 0.2, 4, 4) == pytest.approx(0.1 + 0.05 + 0.05)


def test_the_verdict_is_words() -> None:
    a = np.array([0.0] * 100)
    better, undecided = a.copy(), a.copy()
    better[:20], undecided[:3] = 1, 1
    assert stats.in_words(stats.compare_paired(a, better)) == "better"
    assert stats.in_words(stats.compare_paired(better, a)) == "worse"
    words = stats.in_words(stats.compare_paired(a, undecided))
    assert words.startswith("cannot tell; it would take about ")
    assert words.endswith(" items")


def test_a_verdict_follows_the_adjusted_p() -> None:
    a, b = np.zeros(100), np.array([1.0] * 7 + [0.0] * 93)
    paired = stats.compare_paired(a, b)
    assert stats.in_words(paired) == "better"
    assert stats.in_words(paired, p=0.2).startswith("cannot tell")


def test_different_numbers_of_problems_are_refused() -> None:
    with pytest.raises(DataError, match="same problems: 3 of a, 4 of b"):
        stats.compare_paired([0, 1, 1], [0, 1, 1, 1])


def test_families_and_intervals_equal_statsmodels() -> None:
    several = pytest.importorskip("statsmodels.stats.multitest", reason="statsmodels is not installed")
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    p = [0.001, 0.2, 0.04, 0.04, 0.9]
    assert stats.holm(p) == pytest.approx(list(several.multipletests(p, method="holm")[1]))
    assert stats.benjamini_hochberg(p) == pytest.approx(list(several.multipletests(p, method="fdr_bh")[1]))
    assert stats.wilson(13, 70) == pytest.approx(proportion.proportion_confint(13, 70, method="wilson"))
