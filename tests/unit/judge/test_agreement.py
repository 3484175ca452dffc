"""What a judge is worth: kappa, its interval, and its liking for a place or for length."""

from __future__ import annotations

import numpy as np
import pytest

from posttrain.errors import DataError
from posttrain.judge.agreement import cohen_kappa
from posttrain.judge.asks import Answered, Ask, Judged, Opinion
from posttrain.judge.bias import length_bias, position_bias
from posttrain.judge.length_controlled import fit, items_of, length_controlled


def test_kappa_is_the_formula_on_a_table_of_counts() -> None:
    """Agreement .29 where chance gives .35."""
    table = [[50, 26, 24], [24, 4, 32], [6, 30, 4]]
    a = [i for i, row in enumerate(table) for n in row for _ in range(n)]
    b = [j for row in table for j, n in enumerate(row) for _ in range(n)]
    rows, columns = np.array(table).sum(axis=1) / 200, np.array(table).sum(axis=0) / 200
    expected = float((rows * columns).sum())
    found = cohen_kappa(a, b)
    assert found.agreement == pytest.approx(58 / 200)
    assert expected == pytest.approx(0.35)
    assert found.kappa == pytest.approx((0.29 - 0.35) / (1 - 0.35))
    assert found.table == tuple(tuple(row) for row in table)


def test_raters_who_always_say_the_same_one_thing_have_no_kappa() -> None:
    found = cohen_kappa([True] * 5, [True] * 5, categories=(False, True))
    assert (found.agreement, found.kappa, found.low) == (1.0, None, None)


def test_ratings_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="two ratings of every item"):
        cohen_kappa([1], [1, 2])
    with pytest.raises(DataError, match="'c' is none of the categories"):
        cohen_kappa(["a"], ["c"], categories=["a", "b"])


def pair(
    problem: int, preference: float | None, order: int, mine: str = "long answer", theirs: str = "short"
) -> Judged:
    ask = Ask("preference", "m", "b", f"p/{problem}", 0, "?", mine, other="o", other_response=theirs, order=order)
    opinion = Opinion(preference=preference) if preference is not None else None
    return Judged(ask, opinion, "ok" if opinion else "unparsed", (Answered(""),))


def test_a_judge_that_always_takes_the_first_place_is_found_out() -> None:
    always = [pair(i, 1.0 if order == 0 else 0.0, order) for i in range(20) for order in (0, 1)]
    found = position_bias(always)
    assert found is not None
    assert (found["pairs"], found["first"], found["consistent"]) == (20, 1.0, 0.0)
    fair = [pair(i, 1.0, order) for i in range(20) for order in (0, 1)]
    told = position_bias(fair)
    assert told is not None
    assert (told["first"], told["consistent"]) == (0.5, 1.0)
    assert position_bias([pair(0, 1.0, 0), pair(0, None, 1), pair(1, 1.0, 0)]) is None


def test_a_judge_that_takes_the_longer_answer_is_found_out() -> None:
    found = length_bias([pair(0, 1.0, 0), pair(1, 1.0, 1), pair(2, 0.0, 0), pair(3, 0.5, 0), pair(4, None, 0)])
    assert found is not None
    assert (found["n"], found["longer"]) == (3, pytest.approx(2 / 3))
    assert length_bias([pair(0, 1.0, 0, "same", "size")]) is None


def test_the_fit_stands_where_the_objective_has_its_least_value() -> None:
    """Subgradients: |C Σ weight (σ − p) x_j| is 1 where w_j ≠ 0, and at most 1 where it is 0."""
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=200), np.ones(200)])
    p, weight = rng.random(200), rng.random(200)
    for c in (1e-3, 0.05, 3.0):
        w = fit(x, p, weight, c)
        slope = c * x.T @ (weight * (1 / (1 + np.exp(-x @ w)) - p))
        for value, coefficient in zip(slope, w, strict=True):
            if coefficient == 0:
                assert abs(value) <= 1 + 1e-6
            else:
                assert value == pytest.approx(-np.sign(coefficient), abs=1e-5)


def test_controlling_for_length_takes_the_length_out() -> None:
    """A judge that only looks at length: the raw rate is high, the controlled one is a half."""
    rng = np.random.default_rng(5)
    delta = rng.normal(-300, 400, 1000)  # the model's answers are longer
    chance = 1 / (1 + np.exp(3 * np.tanh(delta / delta.std(ddof=1))))
    found = length_controlled((rng.random(1000) < chance).astype(float), delta)
    assert np.mean(chance) > 0.65
    assert found.win_rate == pytest.approx(0.5, abs=0.06)
    assert found.low < found.win_rate < found.high
    assert found.length < -1


def test_what_cannot_be_controlled_for_length_is_refused() -> None:
    with pytest.raises(DataError, match="at least 10 judgements, and has 3"):
        length_controlled([1.0, 0.0, 1.0], [1, 2, 3])
    with pytest.raises(DataError, match="by the same length"):
        length_controlled([0.0, 1.0] * 10, [5] * 20)
    with pytest.raises(DataError, match="between 0 and 1"):
        length_controlled([2.0, 1.0] * 10, range(20))
    assert items_of(["alpaca_eval/17"]) == [17]
    with pytest.raises(DataError, match="tells no place"):
        items_of(["one"])
