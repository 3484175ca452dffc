"""What several processes say at once: a pane each on a terminal, elsewhere their lines with their names before them."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

LINES = 6  # of a log that its pane shows
WIDTH = 2000  # characters of one line that are kept
AT_ONCE = 1 << 20  # bytes read of a log at a time


class Panes(Protocol):
    """Where the logs of running processes are watched. A context manager."""

    def follow(self, name: str, log: Path) -> None: ...  # what is appended from here on is shown

    def drop(self, name: str) -> None: ...  # its last lines are shown first

    def look(self) -> None: ...  # shows what has come since; called again and again

    def say(self, line: str) -> None: ...  # a line of the run itself

    def __enter__(self) -> Panes: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Tail:
    """The whole lines that are appended to a file; control characters are taken out."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def lines(self, *, end: bool = False) -> list[str]:
        """What has come since the last call; at the `end` also a line without its newline."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._at)
            content = file.read(AT_ONCE)
        self._at += len(content)
        *whole, self._rest = (self._rest + content).replace(b"\r", b"\n").split(b"\n")
        if end and self._rest:
            whole, self._rest = [*whole, self._rest], b""
        return [_printable(line) for line in whole if line.strip()]


def _printable(line: bytes) -> str:
    return "".join(c if c.isprintable() else " " for c in line.decode(errors="replace")[:WIDTH])


class Prefixed:
    """``[scores/2] sft on problems/test: 512/1000 samples``: for logs, pipes and pagers."""

    def __init__(self) -> None:
        self._tails: dict[str, Tail] = {}

    def follow(self, name: str, log: Path) -> None:
        self._tails[name] = Tail(log)

    def drop(self, name: str) -> None:
        tail = self._tails.pop(name, None)
        if tail is not None:
            self._show(name, tail.lines(end=True))

    def look(self) -> None:
        for name, tail in self._tails.items():
            self._show(name, tail.lines())

    def say(self, line: str) -> None:
        print(line, flush=True)

    def _show(self, name: str, lines: list[str]) -> None:
        for line in lines:
            print(f"[{name}] {line.rstrip()}", flush=True)

    def __enter__(self) -> Prefixed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._tails):
            self.drop(name)


class Unwatched:
    """The run's own lines and nothing of the logs."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say

    def follow(self, name: str, log: Path) -> None: ...

    def drop(self, name: str) -> None: ...

    def look(self) -> None: ...

    def __enter__(self) -> Unwatched:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Framed:
    """A frame for each process with the last lines of its log, below the run's own lines."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._tails: dict[str, tuple[Tail, deque[str]]] = {}
        self._live: Live = Live(console=Console(), refresh_per_second=8, transient=True, get_renderable=self._drawn)

    def follow(self, name: str, log: Path) -> None:
        self._tails[name] = Tail(log), deque(maxlen=LINES)

    def drop(self, name: str) -> None:
        self._tails.pop(name, None)

    def look(self) -> None:
        for tail, last in self._tails.values():
            last.extend(tail.lines())

    def say(self, line: str) -> None:
        from rich.text import Text

        self._live.console.print(Text(line))

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        return Group(
            *(
                Panel(Text("\n".join(last), no_wrap=True, overflow="ellipsis"), title=Text(name), title_align="left")
                for name, (_, last) in self._tails.items()
            )
        )

    def __enter__(self) -> Framed:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def panes_for(*, quiet: bool = False) -> Panes:
    """Frames on a terminal, prefixed lines elsewhere; quiet: neither."""
    if quiet:
        return Unwatched(functools.partial(print, flush=True))
    return Framed() if sys.stdout.isatty() else Prefixed()
