"""The parity gate measures what it says, and sees a mismatch."""

from __future__ import annotations

import math

import pytest
from tests.unit.engines.tiny import prompts, tiny

from posttrain.engines import NativeEngine, Sampling
from posttrain.engines.parity import compare, parity, sampled_parity
from posttrain.errors import EngineError


def test_numbers_are_those_of_the_formulas() -> None:
    p = compare([-1.0, -2.0], [-1.5, -2.0])
    assert (p.tokens, p.max_difference, p.mean_difference) == (2, 0.5, 0.25)
    assert p.kl == pytest.approx((math.exp(-0.5) - 1 + 0.5) / 2)
    assert p.holds(0.5)
    assert not p.holds(0.4)


def test_nan_never_holds_and_nothing_to_compare_is_an_error() -> None:
    assert not compare([-1.0], [math.nan]).holds(1e9)
    with pytest.raises(EngineError, match=r"no tokens to compare.*Give sequences"):
        compare([], [])


def test_native_agrees_with_its_module_on_both_paths() -> None:
    model = tiny("qwen3")
    engine = NativeEngine(model, pad_id=0)
    scored = parity(engine, model, [p.token_ids for p in prompts(5, shortest=3)])
    sampled = sampled_parity(engine, model, prompts(5), Sampling(temperature=0.8, max_tokens=20))
    for result in (scored, sampled):
        assert result.holds(1e-4)
        assert 0 <= result.kl < 1e-8
    assert sampled.tokens == 100


def test_stale_weights_are_seen() -> None:
    engine = NativeEngine(tiny("qwen2", seed=1), pad_id=0)
    stale = parity(engine, tiny("qwen2", seed=2), [p.token_ids for p in prompts(5, shortest=3)])
    assert not stale.holds(0.1)
    assert stale.kl > 0.01


def test_filters_are_refused() -> None:
    model = tiny("qwen2")
    with pytest.raises(EngineError, match="top_p"):
        sampled_parity(NativeEngine(model, pad_id=0), model, prompts(1), Sampling(top_p=0.5))
