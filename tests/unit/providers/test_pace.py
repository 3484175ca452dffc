"""The pacer in simulated time: rates, storms, hidden limits, tokens; no clock and no socket."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posttrain.providers import Limits
from posttrain.providers.pace import Pacer

Server = Callable[[float, int], tuple[str, float | None, float]]  # (now, in flight) → (outcome, Retry-After, latency)


@dataclass
class Sim:
    """A client that always has something to ask."""

    limits: Limits
    server: Server
    tokens: float = 0.0
    used: float = 0.0
    sent: list[float] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    peak: int = 0

    def run(self, seconds: float) -> Sim:
        now, in_flight = 0.0, 0
        self.pacer = pacer = Pacer(self.limits, now, seed=0)
        ends: list[tuple[float, float, str, float | None]] = []
        while now < seconds:
            while ends and ends[0][0] <= now:
                _, began, outcome, wait = heapq.heappop(ends)
                in_flight -= 1
                if outcome == "ok":
                    pacer.succeeded(now, now - began, 100, in_flight + 1)
                    pacer.refund(now, self.tokens - self.used)
                    self.good.append(now)
                elif outcome == "closed":
                    pacer.refused(now, began, wait)
                    pacer.refund(now, self.tokens)
                else:
                    pacer.faulted(now, began)
            delay = pacer.delay(now, self.tokens, in_flight)
            if delay <= 0:
                in_flight += 1
                self.peak = max(self.peak, in_flight)
                pacer.sent(now, self.tokens)
                outcome, wait, latency = self.server(now, in_flight)
                heapq.heappush(ends, (now + latency, now, outcome, wait))
                self.sent.append(now)
            else:
                after = now + max(delay, 1e-4)
                now = min(after, ends[0][0]) if ends else after
        return self

    def rate(self, since: float, until: float) -> float:
        return sum(since <= t < until for t in self.good) / (until - since)

    def busiest(self, window: float) -> int:
        best = first = 0
        for last, when in enumerate(self.sent):
            while when - self.sent[first] >= window:
                first += 1
            best = max(best, last - first + 1)
        return best


def always(outcome: str = "ok", latency: float = 0.2) -> Server:
    return lambda now, in_flight: (outcome, None, latency)


@pytest.mark.parametrize("per_minute", [10, 60, 500, 5000])
def test_a_minute_never_holds_more_than_the_limit_and_reaches_95_percent(per_minute: float) -> None:
    sim = Sim(Limits(requests_per_minute=per_minute, concurrency=512), always()).run(185)
    assert sim.busiest(60.0) <= per_minute
    assert sim.rate(60, 180) * 60 >= 0.95 * per_minute


@given(st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60))
def test_the_limit_holds_whatever_the_pauses_of_the_caller_are(pauses: list[float]) -> None:
    pacer, now, sent = Pacer(Limits(requests_per_minute=60), 0.0, seed=0), 0.0, []
    for pause in pauses:
        now += pause
        now += max(0.0, pacer.delay(now, 0, 0))
        pacer.sent(now, 0)
        sent.append(now)
    for i, when in enumerate(sent):
        assert sum(when <= t < when + 60 for t in sent[i:]) <= 60


def test_tokens_per_minute_hold_and_what_is_not_used_comes_back() -> None:
    limits = Limits(tokens_per_minute=60_000, concurrency=64)
    greedy = Sim(limits, always(), tokens=1000, used=1000).run(181)
    assert greedy.busiest(60.0) * 1000 <= 60_000
    frugal = Sim(limits, always(), tokens=1000, used=250).run(181)
    assert frugal.busiest(60.0) * 250 <= 60_000
    assert frugal.rate(60, 180) > 3.5 * greedy.rate(60, 180)


def test_a_request_larger_than_the_bucket_leaves_all_the_same() -> None:
    sim = Sim(Limits(tokens_per_minute=6000), always(), tokens=5000, used=5000).run(600)
    assert 5 <= len(sim.sent) <= 12


@pytest.mark.parametrize("retry_after", [None, 1.0, 5.0])
@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("length", [2.0, 20.0, 60.0])
def test_after_a_storm_nine_tenths_of_the_limit_are_back_within_30_seconds(
    retry_after: float | None, share: float, length: float
) -> None:
    count = 0

    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        nonlocal count
        count += 1
        if 20 <= now < 20 + length and count % 2 <= 2 * share - 1:
            return "closed", retry_after, 0.05
        return "ok", None, 0.2

    sim = Sim(Limits(requests_per_minute=5000, concurrency=512), server).run(20 + length + 45)
    assert sim.rate(20 + length + 30, 20 + length + 40) >= 0.9 * 5000 / 60


def test_nothing_is_sent_during_a_retry_after() -> None:
    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        return ("closed", 7.0, 0.03) if 10 <= now < 10.2 else ("ok", None, 0.2)

    sim = Sim(Limits(requests_per_minute=5000, concurrency=512), server).run(30)
    first = next(t for t in sim.sent if t >= 10) + 0.03
    last_refusal = max(t for t in sim.sent if 10 <= t < 10.2) + 0.03
    assert not [t for t in sim.sent if first < t < last_refusal + 7.0]


def test_a_wave_is_cut_once_however_many_refusals_it_has() -> None:
    pacer = Pacer(Limits(requests_per_minute=6000), 0.0, seed=0)
    for _ in range(50):
        pacer.sent(1.0, 0)
    assert pacer.rate is not None
    pacer.refused(1.2, 1.0, 2.0)
    once = pacer.rate.value
    for n in range(49):
        pacer.refused(1.21 + n / 1000, 1.0, 2.0)
    assert pacer.rate.value == once < 0.75 * pacer.rate.most
    assert pacer.waves == 1


def test_one_stray_429_in_fifty_costs_little() -> None:
    count = 0

    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        nonlocal count
        count += 1
        return ("closed" if count % 50 == 0 else "ok"), None, 0.2

    sim = Sim(Limits(requests_per_minute=5000, concurrency=512), server).run(60)
    assert sim.rate(20, 60) * 60 >= 0.9 * 5000


def test_a_limit_lower_than_the_one_declared_is_found_and_used() -> None:
    times: list[float] = []

    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        times[:] = [t for t in times if t > now - 1]
        if len(times) >= 20:  # 1,200 per minute, by the second
            return "closed", None, 0.02
        times.append(now)
        return "ok", None, 0.2

    sim = Sim(Limits(requests_per_minute=5000, concurrency=512), server).run(120)
    assert sim.rate(60, 120) >= 0.7 * 20
    assert len(sim.good) >= 0.5 * len(sim.sent)


def test_a_silent_server_is_filled_and_not_buried() -> None:
    """16 slots of 0.5 s: full at 16; what is beyond that only waits."""

    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        return "ok", None, 0.5 * max(1.0, in_flight / 16)

    sim = Sim(Limits(concurrency=1024), server).run(120)
    assert sim.rate(60, 120) >= 0.95 * 32
    assert sim.peak <= 8 * 16


def test_a_provider_that_is_down_is_asked_ever_less_often() -> None:
    sim = Sim(Limits(requests_per_minute=5000, concurrency=64), always("closed", 0.01)).run(120)
    assert sim.pacer.waves >= 8
    assert sum(t > 60 for t in sim.sent) < 60 * 5
    assert sim.pacer.closed_since is not None
    assert sim.pacer.closed_since < 0.2


def test_faults_in_a_row_close_the_gate_and_faults_among_successes_do_not() -> None:
    assert Sim(Limits(requests_per_minute=5000), always("fault", 0.01)).run(20).pacer.waves >= 3
    count = 0

    def server(now: float, in_flight: int) -> tuple[str, float | None, float]:
        nonlocal count
        count += 1
        return ("fault" if count % 3 == 0 else "ok"), None, 0.05

    sim = Sim(Limits(requests_per_minute=5000), server).run(20)
    assert sim.pacer.all_waves == 0
    assert math.isclose(len(sim.sent) / 20, 5000 / 60, rel_tol=0.05)
