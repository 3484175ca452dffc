"""The engine's own products and draws against PyTorch's, and that a row's result knows nothing of the other rows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from posttrain.engines import Sampling
from posttrain.engines.drawing import draw_compiled
from posttrain.engines.native.kernel import load_kernel
from posttrain.engines.native.products import Product
from posttrain.engines.sampler import process

DTYPES = pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 3e-6), (torch.bfloat16, 1e-2)])
needs_kernel = pytest.mark.skipif(load_kernel(64, 2) is None, reason="there is no C compiler")


@needs_kernel
@DTYPES
@pytest.mark.parametrize("rows", [1, 7, 17, 64, 131])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_product_is_that_of_the_stacked_matrices(
    rows: int, dtype: torch.dtype, near: float, few: bool, biased: bool
) -> None:
    torch.manual_seed(rows)
    parts = [torch.randn(outs, 608).to(dtype) for outs in (96, 40, 8)]
    bias = torch.randn(144).to(dtype) if biased else None
    x, add = torch.randn(rows, 608), torch.randn(rows, 144)
    found = Product(parts, bias, load_kernel(64, 2), few=few)(x, add)
    wanted = F.linear(x.double(), torch.cat(parts).double(), None if bias is None else bias.double()) + add
    assert found.dtype == torch.float32
    assert (found - wanted).norm() <= near * wanted.norm()


@needs_kernel
@DTYPES
@pytest.mark.parametrize("width", [32, 48, 40])
@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_a_gated_product_is_silu_of_the_gates_times_their_partners(
    width: int, dtype: torch.dtype, near: float, few: bool, biased: bool
) -> None:
    torch.manual_seed(width)
    gate, up = torch.randn(2, width, 64).to(dtype)
    bias = torch.randn(2 * width).to(dtype) if biased else None
    x = torch.randn(9, 64)
    found = Product([gate, up], bias, load_kernel(64, 2), few=few, gated=True)(x)
    both = F.linear(x.double(), torch.cat([gate, up]).double(), None if bias is None else bias.double())
    wanted = F.silu(both[:, :width]) * both[:, width:]
    assert (found - wanted).norm() <= near * wanted.norm()


@needs_kernel
def test_a_rows_product_is_the_same_to_the_bit_however_many_rows_there_are() -> None:
    torch.manual_seed(0)
    kernel = load_kernel(64, 2)
    product = Product([torch.randn(96, 320)], None, kernel)
    if not product.packed:
        pytest.skip("this processor has no AVX-512 for packed products")
    x = torch.randn(200, 320)
    whole = product(x)
    for rows in (slice(0, 1), slice(3, 12), slice(60, 70), slice(199, 200)):
        assert torch.equal(product(x[rows]), whole[rows])


def test_a_compiled_draw_is_the_inverse_of_the_cumulated_distribution() -> None:
    torch.manual_seed(0)
    logits = process(torch.randn(300, 2500) * 3, Sampling(top_k=900))
    uniform = torch.rand(300, 1)
    uniform[0], uniform[1] = 0.0, 1 - 2**-24
    drawn = draw_compiled(logits, uniform)
    if drawn is None:
        pytest.skip("there is no C compiler")
    tokens, logprobs = drawn
    exact = logits.double().log_softmax(-1)
    cumulated = exact.exp().cumsum(-1)
    torch.testing.assert_close(logprobs.double(), exact.gather(1, tokens[:, None])[:, 0], atol=2e-6, rtol=0)
    after = cumulated.gather(1, tokens[:, None])
    before = after - exact.exp().gather(1, tokens[:, None])
    assert (before <= uniform.double() + 1e-6).all()
    assert (after >= uniform.double() - 1e-6).all()
    assert exact.gather(1, tokens[:, None]).isfinite().all(), "never a token that was removed"


@pytest.mark.parametrize("vocab", [1, 15, 16, 17, 1024, 1025, 3000])
def test_a_draw_takes_vocabularies_of_any_size(vocab: int) -> None:
    logits = torch.full((4, vocab), -50.0)
    logits[:, -1] = 50.0
    drawn = draw_compiled(logits, torch.tensor([[0.0], [0.3], [0.9], [0.9999999]]))
    if drawn is None:
        pytest.skip("there is no C compiler")
    tokens, logprobs = drawn
    assert tokens[1:].tolist() == [vocab - 1] * 3
    assert logprobs[1:].abs().max() < 1e-6


def test_a_row_with_a_nan_has_a_log_probability_of_nan() -> None:
    logits = torch.zeros(2, 100)
    logits[1, 40] = float("nan")
    drawn = draw_compiled(logits, torch.full((2, 1), 0.5))
    if drawn is None:
        pytest.skip("there is no C compiler")
    assert drawn[1].isnan().tolist() == [False, True]
