import math

import pytest
import torch

from posttrain.rl.objectives import Tokens, kl_k3, ppo_clip


def tokens(ratios, advantages):
    old = torch.zeros(len(ratios))
    logprobs = torch.tensor([math.log(r) for r in ratios], requires_grad=True)
    return Tokens(logprobs, old, torch.tensor(advantages))


def test_ppo_clip_by_hand():
    # min(r·A, clip(r, .8, 1.2)·A): only a gain beyond the clip is cut, a loss never is
    t = tokens([1.0, 1.5, 0.5, 1.5, 0.5], [1.0, 1.0, 1.0, -1.0, -1.0])
    losses, clipped = ppo_clip(t, 0.2, 0.2)
    assert losses.tolist() == pytest.approx([-1.0, -1.2, -0.5, 1.5, 0.8])
    assert clipped.tolist() == [False, True, False, False, True]


def test_the_gradient_is_minus_ratio_times_advantage_inside_and_zero_where_clipped():
    t = tokens([1.0, 1.1, 1.5, 0.5], [2.0, 1.0, 1.0, -1.0])
    ppo_clip(t, 0.2, 0.2)[0].sum().backward()
    assert t.logprobs.grad.tolist() == pytest.approx([-2.0, -1.1, 0.0, 0.0])


def test_clip_higher_lets_more_of_a_gain_through():
    t = tokens([1.25], [1.0])
    assert ppo_clip(t, 0.2, 0.2)[0].item() == pytest.approx(-1.2)
    assert ppo_clip(t, 0.2, 0.28)[0].item() == pytest.approx(-1.25)


def test_k3_is_zero_at_equality_and_never_negative():
    p = torch.tensor([-1.0, -2.0, -0.5])
    assert kl_k3(p, p).tolist() == [0.0, 0.0, 0.0]
    assert kl_k3(p, torch.tensor([-2.0, -1.0, -0.4])).tolist() == pytest.approx(
        [math.exp(-1) + 1 - 1, math.exp(1) - 1 - 1, math.exp(0.1) - 0.1 - 1], rel=1e-4
    )
