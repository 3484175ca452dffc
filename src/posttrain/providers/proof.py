"""A reasoning teacher has to show its reasoning before much is paid: the first replies prove it, or the run stops."""

from __future__ import annotations

from posttrain.errors import ProviderError
from posttrain.providers.reasoning import FIELDS
from posttrain.providers.reply import Reply
from posttrain.providers.teacher import Teacher

FIRST = 5  # replies


class Proof:
    """Holds the requests back to FIRST until one reply has come with reasoning."""

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._wanted = teacher.quirks.reasoning
        self._without = 0

    def allows(self, in_flight: int) -> bool:
        """Whether one more request may leave."""
        return not self._wanted or in_flight + self._without < FIRST

    def see(self, reply: Reply) -> ProviderError | None:
        """Takes note of a reply; the error to stop with, when it was one too many without reasoning."""
        if not self._wanted or reply.finish_reason not in ("stop", "length"):
            return None
        if reply.reasoning_kind != "none":
            self._wanted = False
            return None
        self._without += 1
        if self._without < FIRST:
            return None
        hidden = (
            f" ({reply.reasoning_tokens} reasoning tokens were counted, but not shown)"
            if reply.reasoning_tokens
            else ""
        )
        return ProviderError(
            f"teacher '{self._teacher.name}' is a reasoning teacher, but its first {FIRST} replies carry no "
            f"reasoning{hidden}: nothing under {', '.join(FIELDS)}, nor in <think> tags. Ask for it with "
            "quirks.extra_body, or say that it shows none with quirks.reasoning: false."
        )
