import math

import pytest
import torch

from posttrain.errors import TrainingError
from posttrain.training.config import OptimizerConfig
from posttrain.training.optimizer import learning_rate
from posttrain.training.update import Updater


def test_cosine_starts_at_the_peak_after_warmup_and_ends_at_its_final_share():
    config = OptimizerConfig(lr=1.0, warmup=0.1, final=0.1, schedule="cosine")
    rates = [learning_rate(config, step, 101) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.55, abs=1e-6)  # half-way: the mean of peak and final
    assert rates[-1] == pytest.approx(0.1)


def test_constant_and_linear():
    assert learning_rate(OptimizerConfig(lr=2.0, schedule="constant"), 77, 100) == 2.0
    assert learning_rate(OptimizerConfig(lr=1.0, schedule="linear", final=0.0), 50, 101) == pytest.approx(0.5)


def test_the_norm_reported_is_the_one_before_clipping_and_the_step_uses_the_clipped_gradient():
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    updater = Updater.make(layer, OptimizerConfig(lr=0.1, schedule="constant", clip=1.0, eps=1e-12), 1)
    layer.weight.grad = torch.tensor([[3.0, 4.0]])
    assert updater.apply(0, "test")["grad_norm"] == pytest.approx(5.0)
    # Adam's first step is lr·sign(g), whatever the scale of g
    assert torch.allclose(before - layer.weight, torch.full((1, 2), 0.1), atol=1e-5)


def test_a_gradient_that_is_not_finite_stops_before_any_weight_is_touched():
    layer = torch.nn.Linear(2, 1, bias=False)
    before = layer.weight.detach().clone()
    updater = Updater.make(layer, OptimizerConfig(), 1)
    layer.weight.grad = torch.tensor([[math.nan, 1.0]])
    with pytest.raises(TrainingError, match="No weight was touched"):
        updater.apply(0, "batch 7")
    assert torch.equal(layer.weight, before)


def test_gains_and_biases_are_not_decayed():
    layer = torch.nn.Linear(2, 2)
    groups = Updater.make(layer, OptimizerConfig(weight_decay=0.1), 1).optimizer.param_groups
    assert {tuple(p.ndim for p in g["params"]): g["weight_decay"] for g in groups} == {(2,): 0.1, (1,): 0.0}
