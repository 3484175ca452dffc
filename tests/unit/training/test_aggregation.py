"""Aggregation against hand-computed values, and the invariance that makes it the only one."""

import pytest
import torch

from posttrain.errors import TrainingError
from posttrain.training.aggregation import Denominators, token_weights

# Two sequences of 1 and 3 supervised tokens with values 2 and 4, 6, 8.
SEQUENCE = torch.tensor([0, 1, 1, 1])
VALUES = torch.tensor([2.0, 4.0, 6.0, 8.0])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("token_mean", 20 / 4),
        ("sequence_mean", (2 + 6) / 2),
        ("sequence_sum", 20 / 2),
        ("constant", 20 / (2 * 10)),
    ],
)
def test_each_row_of_the_table_has_the_value_of_its_formula(kind, expected):
    weights = token_weights(kind, SEQUENCE, Denominators(sequences=2, tokens=4, limit=10))
    assert float((VALUES * weights).sum()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["token_mean", "sequence_mean", "sequence_sum", "constant"])
def test_the_sum_is_the_same_when_the_sequences_are_in_different_micro_batches(kind):
    of = Denominators(sequences=2, tokens=4, limit=10)
    whole = (VALUES * token_weights(kind, SEQUENCE, of)).sum()
    first = (VALUES[:1] * token_weights(kind, torch.tensor([0]), of)).sum()
    second = (VALUES[1:] * token_weights(kind, torch.tensor([0, 0, 0]), of)).sum()
    assert float(first + second) == pytest.approx(float(whole), rel=1e-6)


def test_constant_without_its_length_is_refused():
    with pytest.raises(TrainingError, match="generation limit"):
        token_weights("constant", SEQUENCE, Denominators(sequences=2, tokens=4))
