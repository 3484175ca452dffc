"""What is seen while teachers are asked: how many replies, what they cost, how fast they come, how many went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from posttrain.traces.pilot import dollars

if TYPE_CHECKING:
    from posttrain.providers import Reply
    from posttrain.stage import Workspace


class Watch:
    """A bar over all teachers. Cost and tokens are of this run; what the journal had counts as done and is free."""

    def __init__(self, work: Workspace, label: str, totals: Mapping[str, int]) -> None:
        self._work = work
        self._bar = work.progress(sum(totals.values()), f"{label} {', '.join(totals)}", "replies")
        self._began = time.monotonic()
        self.paid = 0
        self.failed = 0
        self.truncated = 0
        self.tokens = 0
        self.cost: float | None = 0.0

    def __enter__(self) -> Watch:
        self._bar.__enter__()
        return self

    def add(self, name: str, reply: Reply) -> None:
        """One more reply of teacher `name`."""
        if reply.journaled:
            self._bar.skip(1)
            return
        self.paid += 1
        self.failed += reply.finish_reason == "error"
        self.truncated += reply.finish_reason == "length"
        self.tokens += reply.completion_tokens or 0
        if reply.finish_reason != "error":
            self.cost = None if self.cost is None or reply.cost is None else self.cost + reply.cost
        self._bar.update(1, **self.facts())

    def facts(self) -> dict[str, Any]:
        """What stands beside the bar."""
        seconds = max(time.monotonic() - self._began, 1e-9)
        shown: dict[str, Any] = {
            "cost": "unknown" if self.cost is None else dollars(self.cost),
            "tokens": f"{self.tokens:,} ({self.tokens / seconds:,.0f}/s)",
        }
        for name, count in (("errors", self.failed), ("truncated", self.truncated)):
            if count:
                shown[name] = f"{100 * count / max(1, self.paid):.1f} %"
        return shown

    def told(self, name: str) -> Callable[[str], None]:
        """For what a client has to say of teacher `name` (it was refused and waits, say)."""
        return lambda line: self.say(f"{name}: {line}")

    def say(self, line: str) -> None:
        self._work.note(line)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, value, trace)
