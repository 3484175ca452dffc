"""What a run has done so far, for the screen."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from posttrain.providers.reply import Reply


@dataclass(slots=True)
class Live:
    """Counts of one `ask`. Written by its thread; `copy` is for those who look."""

    journaled: int = 0  # replies that were there before
    replies: int = 0  # new ones
    failed: int = 0  # requests that were given up
    truncated: int = 0
    filtered: int = 0
    sent: int = 0  # requests that left, repeats included
    faults: int = 0  # of those: broken
    refusals: int = 0  # of those: refused because the provider was closed
    waves: int = 0  # times that it closed
    in_flight: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0  # dollars of the new replies with a known price
    unpriced: int = 0  # new replies without one
    seconds: float = 0.0  # since the start
    closed_for: float = 0.0  # seconds until the provider is asked again; 0: it is open

    def count(self, reply: Reply) -> None:
        """A new reply has come."""
        self.replies += 1
        self.truncated += reply.finish_reason == "length"
        self.filtered += reply.finish_reason == "content_filter"
        self.prompt_tokens += reply.prompt_tokens or 0
        self.completion_tokens += reply.completion_tokens or 0
        if reply.cost is None:
            self.unpriced += 1
        else:
            self.cost += reply.cost

    @property
    def per_minute(self) -> float:
        """Requests sent per minute."""
        return 60 * self.sent / self.seconds if self.seconds > 0 else 0.0

    @property
    def error_rate(self) -> float:
        """Share of the requests that brought nothing."""
        return (self.faults + self.refusals) / self.sent if self.sent else 0.0

    def copy(self) -> Live:
        return dataclasses.replace(self)
