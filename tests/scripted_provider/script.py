"""What the provider is told to do (`Script`) and what it saw (`Ledger`)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Seconds that a request may have been under way when the 429 with a Retry-After left, on a machine that is busy.
IN_TRANSIT = 0.5


@dataclass(frozen=True)
class Storm:
    """From the `after`-th request on, everything is refused for `seconds`; with a Retry-After where one is given."""

    after: int
    seconds: float
    retry_after: float | None = None
    as_date: bool = False
    status: int = 429


@dataclass(frozen=True)
class Script:
    """Everything is decided by `seed`, the question and how often it was asked: never by the time or the order."""

    seed: int = 0
    models: tuple[str, ...] = ("scripted",)
    key: str | None = None  # the key it accepts; None: any, and none
    latency: float = 0.02  # seconds per reply
    per_token: float = 0.0  # seconds more per completion token
    tokens: int = 20  # completion tokens that a reply claims
    text_bytes: int = 0  # filler that makes replies as long as real ones
    rate: float | None = None  # requests per minute it allows, in windows of `window` seconds
    window: float = 60.0
    slots: int | None = None  # requests it works on at once; the others wait, without a 429
    quota: int | None = None  # replies after which the account is empty
    slow: float = 1.0  # seconds before the first byte of a slow reply
    reasoning: str = "none"  # none, reasoning, reasoning_content, reasoning_details, summary, tags, parts
    faults: Mapping[str, float] = field(default_factory=dict)  # outcome → share of the requests
    storms: Sequence[Storm] = ()
    questions: Mapping[str, Sequence[str]] = field(default_factory=dict)  # question → outcome of the 1st, 2nd … asking

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Script:
        plain = dict(values)
        plain["storms"] = [Storm(**storm) for storm in plain.get("storms", ())]
        plain["models"] = tuple(plain.get("models", ("scripted",)))
        return cls(**plain)

    def outcome(self, question: str, nth: int) -> str:
        """What becomes of the `nth` (from 0) asking of `question`."""
        if question in self.questions:
            told = self.questions[question]
            return told[min(nth, len(told) - 1)]
        digest = hashlib.sha256(f"{self.seed}\0{nth}\0{question}".encode("utf-8", "replace")).digest()
        at = int.from_bytes(digest[:7], "big") / 2**56
        for name, share in self.faults.items():
            if at < share:
                return name
            at -= share
        return "ok"


@dataclass
class Ledger:
    """What came and what was answered. Times are seconds since the server began."""

    asked: Counter[str] = field(default_factory=Counter)  # question → requests
    answered: Counter[str] = field(default_factory=Counter)  # question → whole replies that left
    outcomes: Counter[str] = field(default_factory=Counter)
    arrivals: list[float] = field(default_factory=list)
    in_flight: int = 0
    peak: int = 0  # most requests at once
    early: int = 0  # requests that came while a Retry-After was running
    storms: list[tuple[float, float]] = field(default_factory=list)  # when each began and ends
    barred_until: float = 0.0
    barred_since: float = 0.0

    def arrive(self, now: float, question: str) -> int:
        """How often `question` was asked before."""
        nth = self.asked[question]
        self.asked[question] += 1
        self.arrivals.append(now)
        if self.barred_since + IN_TRANSIT < now < self.barred_until:
            self.early += 1
        return nth

    def bar(self, now: float, seconds: float) -> None:
        """A Retry-After of so many seconds has been said."""
        if now >= self.barred_until:
            self.barred_since = now
        self.barred_until = max(self.barred_until, now + seconds)

    def busiest(self, window: float) -> int:
        """Most arrivals within any `window` seconds."""
        best = first = 0
        for last, when in enumerate(self.arrivals):
            while when - self.arrivals[first] >= window:
                first += 1
            best = max(best, last - first + 1)
        return best

    def as_json(self) -> dict[str, Any]:
        return {
            "asked": dict(self.asked),
            "answered": dict(self.answered),
            "outcomes": dict(self.outcomes),
            "arrivals": self.arrivals,
            "peak": self.peak,
            "early": self.early,
            "storms": self.storms,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ledger:
        counters = {name: Counter(values[name]) for name in ("asked", "answered", "outcomes")}
        storms = [(began, ends) for began, ends in values["storms"]]
        return cls(
            **counters, arrivals=list(values["arrivals"]), peak=values["peak"], early=values["early"], storms=storms
        )
