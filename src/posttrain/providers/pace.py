"""When the next request may leave: requests and tokens per minute, how many at once, and what the provider says to it.

`Pacer` is pure: it is told the time, and has no lock, no clock and no socket. Its parts:

- Requests per minute: GCRA (ITU-T I.371) a little below the limit and with a quarter of a second of burst, so that no
  window of a minute holds more than the limit.
- Tokens per minute: a bucket; a request takes its prompt and its max_tokens, and gets back what it didn't use.
- A refusal (429, 503, a refused connection) cuts the rate and the number at once, once per wave: refusals of requests
  that were sent before the cut belong to the wave. The cut is proportional to the share of refusals (DCTCP, RFC
  8257), and stray ones cost nothing; a Retry-After always cuts. Growth is fast up to nine tenths of where it was
  before, then slow and ever faster (as in CUBIC, RFC 9438), so a storm is forgotten within half a minute, and a limit
  is not.
- A Retry-After closes the gate for its time. Without one the gate closes when nothing but refusals comes, for ever
  longer.
- Where no limit is known, latency counts: a server that never refuses queues, and its seconds per token grow (the
  gradient of Netflix's concurrency-limits, against the best seen).
"""

from __future__ import annotations

import math
import random

from posttrain.providers.teacher import Limits

HEADROOM = 0.99  # of the limit of requests; with BURST: (60 + 0.25) · 0.99 < 60
BURST = 0.25  # seconds of requests that may leave at once, to make up for a late wake-up
TOKEN_HEADROOM, TOKEN_BURST = 0.95, 3.0  # (60 + 3) · 0.95 < 60
WEIGHT = 1 / 256  # of one outcome in the share of refusals: 2 % of stray ones stay well below STRAY
STRAY = 0.05  # share of refusals below which they are no sign of a limit
STORM = 8  # refusals or faults without a success between them that close the gate
LEAST = 1 / 32  # of the limit; the rate never falls below
LONGEST_PAUSE = 8.0  # seconds, of a gate that nobody closed with a Retry-After
AFTER = 0.05  # seconds added to a Retry-After: clocks tick differently
SLACK = 4.0  # times the best seconds per token that a saturated server may take
FIRST_WINDOW = 8  # requests at once to a server of which nothing is known


class Pace:
    """A number that is cut when it was too high and grows back towards `most`."""

    def __init__(self, most: float, least: float, first: float | None = None) -> None:
        self.most, self.least = most, least
        self.value = most if first is None else first
        self._plateau = most  # where it stood when it was last cut
        self._cut_at = -math.inf
        self._grown_at = 0.0

    def cut(self, factor: float, until: float, *, fresh: bool) -> None:
        """fresh: there were successes since the last cut, so where it stands now tells something."""
        if fresh:
            self._plateau = self.value
        self.value = max(self.least, self.value * factor)
        self._cut_at = self._grown_at = until

    def grow(self, now: float) -> None:
        passed, self._grown_at = min(max(now - self._grown_at, 0.0), 1.0), max(now, self._grown_at)
        slow = 0.004 * min(now - self._cut_at, 1e6)
        speed = max(slow, 0.05) if self.value < 0.9 * self._plateau else slow
        self.value = min(self.most, self.value + self.most * max(speed, 0.0) * passed)


class Pacer:
    """Times are seconds of one monotonic clock."""

    def __init__(self, limits: Limits, now: float, seed: int | None = None) -> None:
        per_minute = limits.requests_per_minute
        most = (per_minute or 0.0) / 60 * HEADROOM
        self.rate = Pace(most, most * LEAST) if per_minute is not None else None
        first = min(FIRST_WINDOW, limits.concurrency) if self.rate is None else None
        self.window = Pace(float(limits.concurrency), 1.0, first)
        self.closed_until = -math.inf
        self.waves = 0  # in a row, without a success between them
        self.all_waves = 0
        self.closed_since: float | None = None  # when the first of the refusals came that no success has followed
        self._tat = now  # GCRA's theoretical arrival time
        per_minute = limits.tokens_per_minute
        self._refill = per_minute / 60 * TOKEN_HEADROOM if per_minute is not None else None
        self._capacity = (self._refill or 0.0) * TOKEN_BURST
        self._level, self._filled_at = self._capacity, now
        self._wave_at = -math.inf
        self._refusals = 0  # since the last success
        self._share = 0.0  # of refusals among the last outcomes
        self._successes = 0  # since the last wave
        self._short = self._best = 0.0  # seconds per token: lately, and at best
        self._starting = True  # the window doubles with each round trip until that is felt
        self._random = random.Random(seed)

    # ---- before a request leaves

    def delay(self, now: float, tokens: float, in_flight: int) -> float:
        """Seconds to wait until the next request may leave; 0: now; inf: until another one ends."""
        if in_flight >= max(1, int(self.window.value)):
            return math.inf
        wait = max(0.0, self.closed_until - now)
        if self.rate is not None:
            wait = max(wait, self._tat - BURST - now)
        if self._refill is not None:
            self._fill(now)
            missing = min(tokens, self._capacity) - self._level
            wait = max(wait, missing / self._refill)
        return wait

    def sent(self, now: float, tokens: float) -> None:
        """A request leaves."""
        if self.rate is not None:
            self._tat = max(self._tat, now) + 1 / self.rate.value
        if self._refill is not None:
            self._fill(now)
            self._level -= tokens

    def refund(self, now: float, tokens: float) -> None:
        """So many of the tokens of a request were not used (or, below 0, more than were taken)."""
        if self._refill is not None:
            self._fill(now)
            self._level = min(self._capacity, self._level + tokens)

    def _fill(self, now: float) -> None:
        assert self._refill is not None
        passed, self._filled_at = max(0.0, now - self._filled_at), max(now, self._filled_at)
        self._level = min(self._capacity, self._level + passed * self._refill)

    # ---- after it

    def succeeded(self, now: float, seconds: float, tokens: int | None, in_flight: int) -> None:
        """A reply came after `seconds`, of so many completion tokens, when so many requests were in flight."""
        self._refusals = self.waves = 0
        self.closed_since = None
        self._successes += 1
        self._share *= 1 - WEIGHT
        if self.rate is not None:
            self.rate.grow(now)
            self.window.grow(now)
        else:
            self._by_latency(seconds / max(16, tokens or 0), in_flight)

    def refused(self, now: float, sent_at: float, retry_after: float | None) -> None:
        """The provider refused a request that was sent at `sent_at`: too many, or it is down."""
        self._share += (1 - self._share) * WEIGHT
        self._count(now)
        if retry_after is not None:
            self.closed_until = max(self.closed_until, now + retry_after + AFTER)
        if sent_at < self._wave_at:
            return
        factor = 1 - max(self._share, 0.2 if retry_after is None else 0.6) / 2
        if retry_after is not None:
            self._wave(now, factor)
        elif self._refusals >= STORM:
            self._pause(now)
            self._wave(now, factor)
        elif self._share >= STRAY:
            self._cut(now, factor)

    def faulted(self, now: float, sent_at: float) -> None:
        """A request failed by itself (500, a broken connection). Many in a row are a wave too."""
        self._count(now)
        if self._refusals >= STORM and sent_at >= self._wave_at:
            self._pause(now)
            self._wave(now, 0.5)

    def _count(self, now: float) -> None:
        self._refusals += 1
        if self.closed_since is None:
            self.closed_since = now

    def _pause(self, now: float) -> None:
        longest = min(LONGEST_PAUSE, 2.0**self.waves)
        self.closed_until = max(self.closed_until, now + longest * self._random.uniform(0.5, 1.0))

    def _wave(self, now: float, factor: float) -> None:
        self.waves += 1
        self.all_waves += 1
        self._cut(now, factor)

    def _cut(self, now: float, factor: float) -> None:
        until = max(now, self.closed_until)
        for pace in (self.rate, self.window):
            if pace is not None:
                pace.cut(factor, until, fresh=self._successes > 0)
        self._successes = 0
        self._starting = False
        self._wave_at = now
        self._tat = max(self._tat, until)  # no burst after a pause

    def _by_latency(self, seconds: float, in_flight: int) -> None:
        self._short += (seconds - self._short) * (0.1 if self._short else 1.0)
        self._best = min(self._best * 1.0001, self._short) if self._best else self._short
        window = self.window
        if 2 * in_flight < window.value:
            return  # it isn't the window that holds us back
        ratio = self._best / self._short if self._short > 0 else 1.0
        self._starting = self._starting and ratio > 0.5
        gradient = max(0.5, min(1.0, SLACK * ratio))
        # One reply's part of the step of a round trip, which is as many replies as the window is wide.
        step = 1.0 if self._starting else (gradient - 1) + 1 / math.sqrt(window.value)
        window.value = max(1.0, min(window.most, window.value + step))
