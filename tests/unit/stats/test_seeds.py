from __future__ import annotations

import numpy as np
import pytest

from posttrain import stats
from posttrain.errors import DataError


def scores(accuracies: list[float], n: int = 200) -> np.ndarray:
    return np.array([[1.0] * round(a * n) + [0.0] * (n - round(a * n)) for a in accuracies])


def test_two_ways_of_training_are_compared_by_welch_over_their_seeds() -> None:
    weightstats = pytest.importorskip("statsmodels.stats.weightstats", reason="statsmodels is not installed")
    a, b = [0.50, 0.55, 0.52], [0.60, 0.70]
    found = stats.compare_seeds(scores(a), scores(b))
    both = weightstats.CompareMeans(weightstats.DescrStatsW(b), weightstats.DescrStatsW(a))
    assert (found.low, found.high) == pytest.approx(both.tconfint_diff(usevar="unequal"))
    assert found.p == pytest.approx(both.ttest_ind(usevar="unequal")[1])
    assert found.difference == pytest.approx(0.65 - np.mean(a))
    assert found.spread_a == pytest.approx(np.std(a, ddof=1))
    factor = (1.959964 + 0.841621) ** 2
    variance = np.var(a, ddof=1) + np.var(b, ddof=1)
    assert found.seeds_needed == max(2, int(np.ceil(factor * variance / found.difference**2)))


def test_a_model_without_seeds_is_a_fixed_point() -> None:
    found = stats.compare_seeds(scores([0.4]), scores([0.5, 0.56, 0.53]))
    turned = stats.compare_seeds(scores([0.5, 0.56, 0.53]), scores([0.4]))
    assert found.test == "t over seeds, against one model"
    assert found.low < found.difference == pytest.approx(0.13)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))


def test_more_problems_do_not_narrow_what_seeds_leave_open() -> None:
    few, many = (stats.compare_seeds(scores([0.5, 0.6], n), scores([0.6, 0.7], n)) for n in (100, 10_000))
    assert (few.low, few.high) == pytest.approx((many.low, many.high))
    assert many.items_high - many.items_low < few.items_high - few.items_low


def test_seeds_that_never_differ_leave_the_problems_to_decide() -> None:
    found = stats.compare_seeds(scores([0.5, 0.5]), scores([0.55, 0.55]))
    assert found.test == "sign-flip over problems"
    assert (found.low, found.high) == (found.items_low, found.items_high)
    assert found.seeds_needed is None


@pytest.mark.parametrize(("a", "b"), [((1, 5), (1, 5)), ((2, 5), (2, 6)), ((0, 5), (2, 5))])
def test_what_holds_no_seeds_is_refused(a: tuple[int, int], b: tuple[int, int]) -> None:
    with pytest.raises(DataError):
        stats.compare_seeds(np.zeros(a), np.zeros(b))
