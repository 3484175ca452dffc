"""Progress for people: a rich bar with rate and time left on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import functools
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress:
    """``with work.progress(1000, "eval", "samples") as bar: bar.update(32, accuracy=.4)``.

    Facts given to `update` stand beside the bar until they are replaced. Short work prints no plain lines at all.
    """

    interval = 5.0  # seconds between plain lines

    def __init__(self, total: int | None, label: str, unit: str = "items", *, quiet: bool = False) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.quiet = quiet
        self.done = 0
        self._skipped = 0
        self._facts: dict[str, Any] = {}
        self._started = self._printed = time.monotonic()
        self._bar: tuple[Bar, TaskID] | None = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            bar = _rich_bar()
            self._bar = bar, bar.add_task(self.label, total=self.total, facts="")
            bar.start()
        return self

    def skip(self, n: int) -> None:
        """`n` were done before this process: they count as done, and not towards the rate."""
        self._skipped += n
        self.update(n)

    def update(self, n: int = 1, **facts: Any) -> None:
        """`n` more are done."""
        self.done += n
        self._facts.update(facts)
        if self._bar is not None:
            bar, task = self._bar
            bar.update(task, advance=n, facts=self._pace())
        elif not self.quiet and time.monotonic() - self._printed > self.interval:
            self._line()

    def _line(self) -> None:
        self._printed = time.monotonic()
        of = f"/{self.total}" if self.total else ""
        print(f"  {self.label}: {self.done}{of} {self.unit}, {self._pace()}", file=sys.stderr, flush=True)

    def _pace(self) -> str:
        """Rate, time left and the facts: ``12.5/s, 3 min 20 s left  loss 0.41``."""
        rate = (self.done - self._skipped) / max(time.monotonic() - self._started, 1e-9)
        left = f", {_duration((self.total - self.done) / rate)} left" if self.total and rate > 0 else ""
        return f"{rate:.3g}/s{left}  {_format(self._facts)}".rstrip()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar[0].stop()
        elif not self.quiet and self._printed != self._started:
            self._line()  # only where earlier lines were shown: short work stays silent


def _format(facts: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())


def _duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@functools.cache
def _console() -> Console:
    """One console, so that a bar opened inside another's block stands below it instead of over it."""
    from rich.console import Console

    return Console(stderr=True)


def _rich_bar() -> Bar:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    return Bar(
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[facts]}", markup=False),
        console=_console(),
        transient=True,
    )
