"""Processes that are told lines of JSON and answer in such lines: who starts one, and how it outlives nobody."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
GRACE = 30.0  # seconds to close an engine, a server say
PARENT_EVERY = 0.2  # seconds between looks at who the parent is
SHOWN = 15  # lines of a dead process's log that an error quotes


class Helper:
    """One process, and a thread that reads what it says.

    module: what it runs, as ``python -m module``; it calls `listen`. log: where its prints and errors go.
    said: is given (this helper, a line), and (this helper, None) when it has ended. keep: descriptors that it inherits.
    """

    def __init__(
        self,
        module: str,
        said: queue.SimpleQueue[tuple[Helper, Line | None]],
        *,
        log: Path,
        environment: Mapping[str, str],
        keep: Sequence[int] = (),
    ) -> None:
        self.log = log
        self._said = said
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env=dict(environment),
                pass_fds=keep,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, line: Line) -> None:
        """One line for the process."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: the reader says so

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.put((self, json.loads(line)))
        self._said.put((self, None))

    def stop(self) -> None:
        """Ends it, so that it closes its engine; what it has finished stands."""
        self.process.terminate()
        try:
            self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def last_words(self) -> tuple[int, str]:
        """Its exit code, and the end of its log."""
        code = self.process.wait()
        return code, "\n".join(self.log.read_text(errors="replace").splitlines()[-SHOWN:])


def listen() -> tuple[queue.SimpleQueue[Line], Callable[[Line], None]]:
    """What a `Helper` calls first: the lines that it is told, and how it answers.

    From here on whatever a library prints goes to the log. It ends well (SystemExit) when it is asked to, and at once
    when its stdin ends or its parent is another.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, and the parent ends us
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    end_when_asked(0)  # the parent wants no more: close the engine well
    lines: queue.SimpleQueue[Line] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    threading.Thread(target=_look, args=(os.getppid(),), daemon=True).start()

    def say(line: Line) -> None:
        answers.write(json.dumps(line) + "\n")
        answers.flush()

    return lines, say


def end_when_asked(code: int) -> None:
    """SIGTERM ends this process well, by SystemExit(code): once. Asked again while it ends, it would break that off."""

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(code)

    signal.signal(signal.SIGTERM, end)


def _listen(lines: queue.SimpleQueue[Line]) -> None:
    for line in sys.stdin:
        lines.put(json.loads(line))
    os._exit(1)


def _look(parent: int) -> None:
    """A process that the parent forked may hold the other end of our stdin open: ask the system too."""
    while os.getppid() == parent:
        time.sleep(PARENT_EVERY)
    os._exit(1)


def wait_to_be_ended() -> None:
    """For a helper that has said why it failed: its parent ends it when it has read that."""
    while True:
        time.sleep(PARENT_EVERY)
