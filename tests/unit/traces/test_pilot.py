"""What a few replies tell of all."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from posttrain.providers import Limits, Prices, Reply, Teacher
from posttrain.traces.pilot import NAME, Forecast, forecast_all, keep, per_request


def reply(tokens: int | None, *, cost: float | None = 0.001, seconds: float = 2.0, cut: bool = False) -> Reply:
    return Reply(
        key="k",
        sample=0,
        text="",
        reasoning=None,
        reasoning_kind="none",
        finish_reason="length" if cut else "stop",
        prompt_tokens=100,
        completion_tokens=tokens,
        reasoning_tokens=None,
        cached_tokens=None,
        cost=cost,
        seconds=seconds,
        model="m",
        attempts=1,
    )


def teacher(**limits: float) -> Teacher:
    return Teacher(
        name="t",
        base_url="http://x/v1",
        model="m",
        prices=Prices(input=1, output=2, batch=0.5),
        limits=Limits(**limits),  # type: ignore[arg-type]
    )


def test_a_total_is_forecast_with_the_interval_of_a_prediction() -> None:
    """n = 4, mean 25, s = 12.9099; 96 more: 100 + 2400 ± 96 · 3.18245 · 12.9099 · sqrt(1/96 + 1/4)."""
    told = forecast_all(teacher(), [reply(t) for t in (10, 20, 30, 40)], 100)
    assert told.completion_tokens is not None
    assert told.completion_tokens.value == pytest.approx(2500)
    half = 96 * 3.182446 * 12.909944 * math.sqrt(1 / 96 + 1 / 4)
    assert told.completion_tokens.high == pytest.approx(2500 + half, rel=1e-5)
    assert told.completion_tokens.low == pytest.approx(max(100, 2500 - half), rel=1e-5)
    assert told.dollars is not None
    assert (told.dollars.low, told.dollars.value, told.dollars.high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_interval_holds_what_it_says() -> None:
    """Totals of 500 from pilots of 20: 95 % of the intervals hold them; 400 draws, four standard deviations below."""
    draw = random.Random(7)
    held = 0
    for _ in range(400):
        every = [round(draw.gauss(300, 80)) for _ in range(500)]
        told = forecast_all(teacher(), [reply(t) for t in every[:20]], 500)
        assert told.completion_tokens is not None
        held += told.completion_tokens.low <= sum(every) <= told.completion_tokens.high
    assert held / 400 > 0.95 - 4 * math.sqrt(0.95 * 0.05 / 400)


def test_what_nobody_counts_or_prices_is_unknown_and_never_nothing() -> None:
    told = forecast_all(teacher(), [reply(None, cost=None), reply(10)], 50)
    assert told.completion_tokens is None
    assert told.dollars is None
    shown = "\n".join(told.lines())
    assert "unknown: no price is known" in shown
    assert "unknown: the provider doesn't count" in shown


def test_truncation_has_wilsons_interval() -> None:
    told = forecast_all(teacher(), [reply(10, cut=i < 2) for i in range(20)], 100)
    assert told.truncated.value == pytest.approx(0.1)
    assert (told.truncated.low, told.truncated.high) == pytest.approx((0.0279, 0.3010), abs=1e-4)  # Wilson, 2 of 20


def test_time_is_what_the_narrowest_limit_allows() -> None:
    replies = [reply(50, seconds=2.0) for _ in range(10)]

    def seconds(**limits: float) -> float:
        told = forecast_all(teacher(**limits), replies, 600).seconds
        assert told is not None
        return told.value

    assert seconds(concurrency=10) == pytest.approx(600 * 2 / 10)
    assert seconds(concurrency=1000, requests_per_minute=60) == pytest.approx(600)
    assert seconds(concurrency=1000, tokens_per_minute=9000) == pytest.approx(600 * 150 / 150)


def test_batches_cost_their_price_and_take_nobody_knows_how_long() -> None:
    told = forecast_all(teacher(), [reply(10), reply(10)], 102, batch=True)
    assert told.dollars is not None
    assert told.dollars.value == pytest.approx(0.002 + 100 * 0.001 * 0.5)
    assert told.seconds is None
    assert "unknown: batches take up to a day" in "\n".join(told.lines())


def test_a_kept_pilot_says_what_one_request_takes(tmp_path: Path) -> None:
    import json

    told: Forecast = forecast_all(teacher(), [reply(10), reply(30)], 200)
    keep(tmp_path, told)
    kept = json.loads((tmp_path / NAME).read_text())
    assert per_request(kept, "dollars") == pytest.approx(0.001)
    assert per_request(kept, "completion_tokens") == pytest.approx(20)
    assert per_request({}, "dollars") is None
