"""Decoding with fixed buffers, as a GPU's graphs need it, on the CPU: the same numbers as without."""

from __future__ import annotations

import pytest
import torch
from tests.unit.engines.tiny import ARCHITECTURES, module_logprobs, prompts, tiny

from posttrain.engines import NativeEngine, Sampling
from posttrain.engines.native.adapters import causal_model
from posttrain.engines.native.static import _rounded, settle, tensors
from posttrain.engines.native.weights import Weights, read_shape, read_weights, rotation_table


@pytest.mark.parametrize("kind", ARCHITECTURES)
@pytest.mark.parametrize(("rows", "budget"), [(5, None), (40, None), (40, 900)])
@pytest.mark.parametrize("compiled", [False, True])
def test_fixed_buffers_change_no_number(kind: str, rows: int, budget: int | None, compiled: bool) -> None:
    """Batches that shrink, grow and are preempted: free rows, written in vain, never touch a running one."""
    model = tiny(kind)
    options = {"pad_id": 0, "max_batch": rows, "kv_budget": budget, "max_context": 192, "compiled": compiled}
    sampling = Sampling(n=2, max_tokens=90, stop_token_ids=(5, 9))
    engine = NativeEngine(model, static=True, **options)
    found = {(c.key, c.index): c for c in engine.generate(prompts(20), sampling)}
    expected = {
        (c.key, c.index): c for c in NativeEngine(model, static=False, **options).generate(prompts(20), sampling)
    }
    assert {k: c.token_ids for k, c in found.items()} == {k: c.token_ids for k, c in expected.items()}
    for completion in found.values():
        exact = module_logprobs(model, completion.prompt_ids + completion.token_ids)[len(completion.prompt_ids) - 1 :]
        torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-4, rtol=0)


def test_row_counts_are_rounded_up_to_few() -> None:
    assert [_rounded(n) for n in (1, 2, 3, 5, 8, 9, 16, 17, 256)] == [1, 2, 4, 8, 8, 16, 16, 32, 256]


def test_new_weights_settle_into_the_memory_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a captured graph reads stays where it is, and has the new values."""

    monkeypatch.setattr("posttrain.engines.native.products._ONEDNN", False)  # as on a GPU: ordinary tensors

    def laid_out(seed: int, kind: str = "qwen3") -> Weights:
        model = tiny(kind, seed=seed)
        shape = read_shape(model)
        rotation = rotation_table(causal_model(model), 64, torch.device("cpu"))
        return read_weights(model, shape, rotation, None, compiled=False, rows=1)

    old, new = laid_out(1), laid_out(2)
    addresses = [t.data_ptr() for t in tensors(old)]
    with torch.inference_mode():
        settled = settle(old, new)
    assert settled is old
    assert [t.data_ptr() for t in tensors(settled)] == addresses
    for mine, theirs in zip(tensors(settled), tensors(new), strict=True):
        assert torch.equal(mine, theirs)
    other = laid_out(1, "qwen2")
    assert settle(old, other) is other


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is at hand")
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_graphs_on_a_gpu_keep_the_modules_logprobs_and_follow_its_weights(kind: str) -> None:
    model = tiny(kind).cuda()
    engine = NativeEngine(model, pad_id=0, max_batch=16)
    for _ in range(2):
        for completion in engine.generate(prompts(24), Sampling(n=2, max_tokens=60, stop_token_ids=(5,))):
            ids = completion.prompt_ids + completion.token_ids
            exact = module_logprobs(model, ids)[len(completion.prompt_ids) - 1 :].cpu()
            torch.testing.assert_close(torch.tensor(completion.logprobs), exact, atol=1e-3, rtol=0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.02)
