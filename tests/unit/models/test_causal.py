"""Causal attention of documents: the compiled function, the products in its place, and PyTorch's own agree."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from posttrain.models import causal
from posttrain.models.causal import Attention, Blocks
from posttrain.models.lean import lean

pytestmark = pytest.mark.skipif(lean() is None, reason="there is no C compiler")

LENGTHS = [1, 200, 8, 31, 33, 64, 7]


def by_pytorch(qkv: Tensor, heads: int, kv_heads: int, size: int, cosine: Tensor, sine: Tensor) -> Tensor:
    """[n, Q D] in float64, document by document."""
    parts = []
    for rows in qkv.double().split(LENGTHS):
        q, k, v = rows.view(len(rows), -1, size).transpose(0, 1).split([heads, kv_heads, kv_heads])
        c, s = (torch.cat([t, t], -1)[: len(rows)].double() for t in (cosine, sine))

        def turned(x: Tensor, c: Tensor = c, s: Tensor = s) -> Tensor:
            a, b = x.chunk(2, -1)
            return x * c + torch.cat([-b, a], -1) * s

        mixed = F.scaled_dot_product_attention(
            turned(q)[None], turned(k)[None], v[None], is_causal=True, enable_gqa=True
        )
        parts.append(mixed[0].transpose(0, 1).reshape(len(rows), -1))
    return torch.cat(parts)


@pytest.mark.parametrize("compiled", [True, False], ids=["one function", "products"])
@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 2e-6), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(4, 2, 64), (3, 1, 32), (2, 2, 128)])
def test_attention_and_its_gradient_are_those_of_pytorch(
    heads: int,
    kv_heads: int,
    size: int,
    dtype: torch.dtype,
    near: float,
    compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    functions = lean()
    assert functions is not None
    if compiled and not functions.has("attention", dtype):
        pytest.skip("this processor has no AVX-512 for the compiled function")
    monkeypatch.setattr(causal, "_whole", lambda _: compiled)
    torch.manual_seed(0)
    angles = torch.outer(torch.arange(max(LENGTHS)).float(), torch.rand(size // 2))
    cosine, sine = angles.cos(), angles.sin()
    qkv = torch.randn(sum(LENGTHS) + 5, (heads + 2 * kv_heads) * size).to(dtype).requires_grad_()  # padding at the end
    found = Attention.apply(qkv, Blocks.of(LENGTHS), heads, kv_heads, size, cosine, sine)
    weigh = torch.randn(sum(LENGTHS), heads * size).to(dtype)
    (found[:-5] * weigh).sum().backward()
    again = qkv.detach().double().requires_grad_()
    wanted = by_pytorch(again[:-5], heads, kv_heads, size, cosine, sine)
    (wanted * weigh).sum().backward()
    assert found[-5:].abs().max() == 0
    assert qkv.grad is not None
    assert again.grad is not None
    assert (found[:-5] - wanted).norm() <= near * wanted.norm()
    assert (qkv.grad - again.grad).norm() <= near * again.grad.norm()
