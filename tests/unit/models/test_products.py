"""Products of a training step: gradients against double precision, however the factors lie."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posttrain.models import products
from posttrain.models.lean import lean
from posttrain.models.products import linear, weight_gradient

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-8}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "PyTorch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "ins", "outs"), [(64, 32, 96), (64, 96, 32), (77, 33, 50), (50, 70, 1)])
def test_the_gradient_of_a_weight_is_that_of_double_precision(
    rows: int, ins: int, outs: int, dtype: torch.dtype, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and lean() is None:
        pytest.skip("no C compiler here")
    if not compiled:
        monkeypatch.setattr(products, "serves", lambda x: False)
    draw = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(rows, width, generator=draw).to(dtype) for width in (ins, outs))
    expected = grad.double().t() @ x.double()
    for asked in (dtype, torch.float32):
        found = weight_gradient(grad, x, asked)
        assert found.dtype == asked
        torch.testing.assert_close(found.double(), expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype] * rows**0.5)


def test_weights_below_one_another_get_the_gradients_that_each_alone_would() -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(32, outs, bias=bias) for outs, bias in ((64, True), (32, True))]
    x = torch.randn(50, 32)
    linear(x, *modules).square().sum().backward()
    found = [(m.weight.grad, m.bias.grad) for m in modules]
    for module in modules:
        module.zero_grad()
    torch.cat([m(x) for m in modules], 1).square().sum().backward()
    for (weight, bias), module in zip(found, modules, strict=True):
        torch.testing.assert_close(weight, module.weight.grad)
        torch.testing.assert_close(bias, module.bias.grad)
