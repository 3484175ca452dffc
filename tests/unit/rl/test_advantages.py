import math

import pytest

from posttrain.errors import TrainingError
from posttrain.rl.algorithms.advantages import group_advantages

REWARDS = [1.0, 0.0, 0.0, 1.0]  # mean 0.5, Bessel std sqrt(1/3)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", [1, 0, 0, 1]),
        ("group_mean", [0.5, -0.5, -0.5, 0.5]),
        ("group_norm", [0.5 / (math.sqrt(1 / 3) + 1e-6) * s for s in (1, -1, -1, 1)]),
        ("leave_one_out", [1 - 1 / 3, -2 / 3, -2 / 3, 1 - 1 / 3]),  # x − (Σx − x)/(G−1)
    ],
)
def test_each_row_has_the_value_of_its_formula(name, expected):
    assert group_advantages(name, REWARDS, 1e-6) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["group_mean", "group_norm", "leave_one_out"])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3])
def test_equal_rewards_give_exactly_zero(name, value):
    assert group_advantages(name, [value] * 7, 1e-6) == [0.0] * 7


@pytest.mark.parametrize("name", ["group_mean", "group_norm", "leave_one_out"])
def test_a_group_that_lost_all_but_one_member_has_no_signal(name):
    assert group_advantages(name, [1.0], 1e-6) == [0.0]


def test_an_unknown_name_is_refused():
    with pytest.raises(TrainingError, match="unknown"):
        group_advantages("gae", REWARDS, 1e-6)
