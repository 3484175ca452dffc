"""Preference losses by hand."""

import math

import pytest
import torch

from posttrain.preference.losses import LOSSES, Pair

# Δ = logπ − logπ_ref: chosen 0.6 over 3 tokens, rejected −0.4 over 2; β = 0.5.
MARGIN = 1.0
NORMED = 0.6 / 3 + 0.4 / 2
EXPECTED = {
    "dpo": (math.log1p(math.exp(-0.5 * MARGIN)), -0.5 / (1 + math.exp(0.5 * MARGIN))),
    "ipo": ((MARGIN - 1 / (2 * 0.5)) ** 2, 2 * (MARGIN - 1 / (2 * 0.5))),
    "dpo_norm": (math.log1p(math.exp(-0.5 * NORMED)), -0.5 / 3 / (1 + math.exp(0.5 * NORMED))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_by_hand(name):
    chosen = torch.tensor([0.6], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([-0.4], dtype=torch.float64)
    loss = LOSSES[name](Pair(chosen, rejected, torch.tensor([3.0]), torch.tensor([2.0])), 0.5)
    loss.sum().backward()
    value, gradient = EXPECTED[name]
    assert loss.item() == pytest.approx(value, abs=1e-12)
    assert chosen.grad.item() == pytest.approx(gradient, abs=1e-12)


def test_at_the_reference_dpo_is_log_2_and_ipo_its_target_squared():
    zero = torch.zeros(2)
    pair = Pair(zero, zero, torch.ones(2), torch.ones(2))
    assert LOSSES["dpo"](pair, 0.1).tolist() == pytest.approx([math.log(2)] * 2)
    assert LOSSES["ipo"](pair, 0.1).tolist() == pytest.approx([25.0] * 2)
