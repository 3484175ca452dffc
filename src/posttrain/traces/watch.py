"""What is seen while teachers are asked: how many replies, what they cost, how fast they come, how many went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from posttrain.providers import Live
from posttrain.traces.pilot import dollars

if TYPE_CHECKING:
    from posttrain.providers import Reply
    from posttrain.stage import Workspace


class Watch:
    """A bar over all teachers. Cost and tokens are of this run; what the journals had counts as done and is free."""

    def __init__(self, work: Workspace, label: str, totals: Mapping[str, int]) -> None:
        self._work = work
        self._bar = work.progress(sum(totals.values()), f"{label} {', '.join(totals)}", "replies")
        self.lives: dict[str, Live] = {name: Live() for name in totals}

    def __enter__(self) -> Watch:
        self._bar.__enter__()
        return self

    def look(self, name: str) -> Callable[[Live], None]:
        """For a client: takes its counts of teacher `name`."""

        def look(live: Live) -> None:
            self.lives[name] = live

        return look

    def add(self, reply: Reply) -> None:
        """One more reply."""
        if reply.journaled:
            self._bar.skip(1)
        else:
            self._bar.update(1, **self.facts())

    def facts(self) -> dict[str, Any]:
        """What stands beside the bar."""
        lives = list(self.lives.values())
        new, sent = sum(one.replies for one in lives), sum(one.sent for one in lives)
        tokens = sum(one.completion_tokens for one in lives)
        seconds = max((one.seconds for one in lives), default=0.0)
        shown: dict[str, Any] = {
            "cost": "unknown" if any(one.unpriced for one in lives) else dollars(sum(one.cost for one in lives)),
            "tokens": f"{tokens:,}" + (f" ({tokens / seconds:,.0f}/s)" if seconds else ""),
        }
        shares = {
            "errors": (sum(one.faults + one.refusals for one in lives), sent),
            "truncated": (sum(one.truncated for one in lives), new),
        }
        shown |= {name: f"{100 * count / of:.1f} %" for name, (count, of) in shares.items() if count and of}
        closed = [f"{name} for {one.closed_for:.0f} s" for name, one in self.lives.items() if one.closed_for]
        return shown | ({"closed": ", ".join(closed)} if closed else {"closed": "-"} if self._was_closed() else {})

    def _was_closed(self) -> bool:
        return any(one.waves for one in self.lives.values())

    def say(self, line: str) -> None:
        self._work.note(line)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, value, trace)
