"""What all will cost, told from a few: tokens, money, time and truncation, each with its interval.

M requests are left and n are known. A total over the M is forecast as M times the pilot's mean, with the interval of a
prediction: M·t(n−1)·s·sqrt(1/M + 1/n), where s is the pilot's standard deviation (for M requests the mean itself still
varies, hence 1/M). A share has Wilson's interval. Time is what the teacher's limits allow, or, where those allow
more, what so many requests at once take at the pilot's seconds per reply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.store import write_json

if TYPE_CHECKING:
    from posttrain.providers import Reply, Teacher

NAME = "pilot.json"
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Range:
    """A value with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of all requests, the n known ones included; None where nobody can know (no prices, no token counts)."""

    teacher: str
    known: int
    requests: int
    prompt_tokens: Range | None
    completion_tokens: Range | None
    dollars: Range | None
    seconds: Range | None
    truncated: Range
    correct: Range | None = None

    def lines(self) -> list[str]:
        """For people."""
        told = [f"{self.teacher}: {self.requests:,} requests, told from {self.known}"]
        for name, one in (("tokens in", self.prompt_tokens), ("tokens out", self.completion_tokens)):
            told.append(f"  {name:<12}{_number(one)}")
        told.append(f"  {'money':<12}{_money(self.dollars)}")
        told.append(f"  {'time':<12}{_time_told(self.seconds)}")
        told.append(f"  {'truncated':<12}{_span(self.truncated, _percent)}")
        if self.correct is not None:
            told.append(f"  {'correct':<12}{_span(self.correct, _percent)}")
        return told


def forecast_all(
    teacher: Teacher, replies: Sequence[Reply], requests: int, *, correct: int | None = None, batch: bool = False
) -> Forecast:
    """What `requests` will cost, from the `replies` to some of them. correct: how many of those the grader calls so.

    batch: the others are asked in batches, at that price and in a time that nobody knows.
    """
    n = len(replies)
    prompt = _total([r.prompt_tokens for r in replies], requests)
    completion = _total([r.completion_tokens for r in replies], requests)
    return Forecast(
        teacher=teacher.name,
        known=n,
        requests=requests,
        prompt_tokens=prompt,
        completion_tokens=completion,
        dollars=_total([r.cost for r in replies], requests, teacher.prices.batch if batch and teacher.prices else 1.0),
        seconds=None if batch else _time(teacher, replies, requests, prompt, completion),
        truncated=_share(sum(r.finish_reason == "length" for r in replies), n),
        correct=None if correct is None else _share(correct, n),
    )


def _total(values: Sequence[float | int | None], requests: int, scale: float = 1.0) -> Range | None:
    """Of all requests: the known ones as they are, the others by the interval of a prediction.

    scale: what each of the others counts of the pilot's.
    """
    from scipy import stats

    known = [float(v) for v in values if v is not None]
    if not known or len(known) < len(values):
        return None
    n, rest = len(known), max(0, requests - len(known))
    mean = sum(known) / n
    so_far = sum(known)
    if n < 2 or not rest:
        return Range(so_far + scale * rest * mean, so_far, math.inf if rest else so_far)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in known) / (n - 1))
    half = scale * rest * float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation * math.sqrt(1 / rest + 1 / n)
    middle = so_far + scale * rest * mean
    return Range(middle, max(so_far, middle - half), middle + half)


def _share(count: int, n: int) -> Range:
    from posttrain.stats import wilson

    low, high = wilson(count, n, CONFIDENCE)
    return Range(count / n, low, high)


def _time(
    teacher: Teacher, replies: Sequence[Reply], requests: int, prompt: Range | None, completion: Range | None
) -> Range:
    """Seconds: the slowest of what the limits on requests, on tokens and on requests at once allow."""
    limits = teacher.limits
    at_once = _total([r.seconds for r in replies], requests) or Range(0.0, 0.0, math.inf)
    floors = [requests * 60 / limits.requests_per_minute] if limits.requests_per_minute else []

    def slowest(which: str) -> float:
        bounds = [float(getattr(at_once, which)) / limits.concurrency, *floors]
        if limits.tokens_per_minute and prompt is not None and completion is not None:
            tokens = float(getattr(prompt, which)) + float(getattr(completion, which))
            bounds.append(tokens * 60 / limits.tokens_per_minute)
        return max(bounds)

    return Range(slowest("value"), slowest("low"), slowest("high"))


def keep(folder: Path, forecast: Forecast) -> None:
    """Beside the journal, where a plan finds it."""
    told = asdict(forecast)
    finite = {
        k: {n: v if math.isfinite(v) else None for n, v in r.items()} if isinstance(r, dict) else r
        for k, r in told.items()
    }
    write_json(folder / NAME, finite)


def per_request(told: dict[str, Any], name: str) -> float | None:
    """A kept forecast's mean of `name` (dollars, completion_tokens …) per request."""
    value = (told.get(name) or {}).get("value")
    return float(value) / told["requests"] if value is not None and told.get("requests") else None


def _number(one: Range | None) -> str:
    return "unknown: the provider doesn't count" if one is None else _span(one, lambda v: f"{v:,.0f}")


def _time_told(one: Range | None) -> str:
    return "unknown: batches take up to a day" if one is None else _span(one, _duration)


def _money(one: Range | None) -> str:
    return "unknown: no price is known" if one is None else _span(one, dollars)


def dollars(value: float) -> str:
    """``$12.34``; small sums with more digits."""
    return f"${value:.2f}" if value >= 1 or value == 0 else f"${value:.2g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _duration(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _span(one: Range, shown: Any) -> str:
    high = shown(one.high) if math.isfinite(one.high) else "?"
    return f"{shown(one.value)} [{shown(one.low)}, {high}]"
