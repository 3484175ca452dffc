"""Liger's fused loss equals ours where it runs, and says where it doesn't."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch
from tests.unit.engines.tiny import VOCAB, tiny

from posttrain.errors import MissingExtraError, TrainingError
from posttrain.models import liger
from posttrain.models.logprobs import token_stats


def test_on_a_cpu_it_is_refused_before_training() -> None:
    with pytest.raises(TrainingError, match=r"for GPUs, and this stage trains on cpu\. Take loss_kernel: ours"):
        liger.check_liger(torch.device("cpu"))


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", None)
    liger._summed.cache_clear()
    with pytest.raises(MissingExtraError, match=r"posttrain\[liger\]"):
        liger._summed()


@pytest.mark.skipif(
    not torch.cuda.is_available() or importlib.util.find_spec("liger_kernel") is None,
    reason="Liger's kernels need a GPU and the extra `liger`",
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loss_and_gradient_are_those_of_our_own(dtype: str) -> None:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(1, VOCAB, (5, 40), generator=draw).cuda()
    row = torch.arange(5, device="cuda").repeat_interleave(30)
    col = torch.arange(10, 40, device="cuda").repeat(5)
    model = tiny("qwen2").cuda()

    def outcome(kernel: str) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == "bfloat16"):
            if kernel == "liger":
                loss = liger.summed_nll(model, ids, row, col)
            else:
                loss = -token_stats(model, ids, row, col).logprobs.sum()
        (loss / len(row)).backward()
        return float(loss), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (ours, gradient), (theirs, found) = outcome("ours"), outcome("liger")
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    assert theirs == pytest.approx(ours, rel=tolerance)
    assert (found - gradient).norm() <= tolerance * gradient.norm()
