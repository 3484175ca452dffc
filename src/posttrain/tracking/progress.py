"""Progress for people: a rich bar with rate and time left on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """``with work.progress(1000, "sample") as bar: bar.update(32, accuracy=.4)``."""

    interval = 5.0  # seconds between plain lines

    def __init__(self, total: int | None, label: str, unit: str = "items", *, quiet: bool = False) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.quiet = quiet
        self.done = 0
        self._facts: dict[str, Any] = {}
        self._started = self._printed = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, facts="")
        return self

    def update(self, n: int = 1, **facts: Any) -> None:
        self.done += n
        self._facts.update(facts)
        if self._bar is not None:
            self._bar.update(self._task, advance=n, facts=_format(self._facts))
        elif not self.quiet and time.monotonic() - self._printed > self.interval:
            self._printed = time.monotonic()
            self._line()

    def _line(self) -> None:
        elapsed = max(time.monotonic() - self._started, 1e-9)
        rate = self.done / elapsed
        left = f", {(self.total - self.done) / rate:.0f} s left" if self.total and rate > 0 else ""
        of = f"/{self.total}" if self.total else ""
        print(
            f"  {self.label}: {self.done}{of} {self.unit}, {rate:.3g}/s{left}  {_format(self._facts)}".rstrip(),
            file=sys.stderr,
            flush=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif not self.quiet and self._printed != self._started:
            self._line()  # only where earlier lines were shown: short work stays silent


def _format(facts: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[facts]}"),
        console=Console(stderr=True),
        transient=True,
    )
