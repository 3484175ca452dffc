"""The process beside as the trainer holds it: a queue of jobs to it, a queue of results from it, and its death."""

from __future__ import annotations

import contextlib
import io
import json
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any, cast

from posttrain.training.beside.weights import Shelf

GONE: dict[str, Any] = {"gone": True}  # the last thing that comes from a process


class Process:
    """Starts at once and imports while the trainer goes on; nothing here waits unless it is asked to."""

    def __init__(self, shelf: Shelf, device: str, threads: int) -> None:
        self.shelf = shelf
        arguments = [str(shelf.home), str(shelf.memory or "-"), device, str(threads)]
        with shelf.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "posttrain.training.beside.worker", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                bufsize=0,  # what a broken pipe did not take is not kept to be written again
            )
        self._results: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        assert self._process.stdout is not None
        lines = io.BufferedReader(cast("io.RawIOBase", self._process.stdout))
        self._reader = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break  # it died in the middle of a word
                self._results.put(json.loads(line))
        self._results.put(GONE)

    def send(self, job: dict[str, Any]) -> None:
        """To a process that has died, nothing is sent: that comes as a result."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")

    def result(self, wait: float = 0.0) -> dict[str, Any] | None:
        """The next result, GONE after the last one; None where there is none within `wait` seconds."""
        try:
            return self._results.get(block=wait > 0, timeout=wait or None)
        except queue.Empty:
            return None

    def epitaph(self) -> str:
        """How it ended, with the last of what it said. To be asked after GONE."""
        self._end()
        code = self._process.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        said = [line for line in self.shelf.log.read_text(errors="replace").splitlines() if line.strip()]
        return f"{how}; it said last: {said[-1].strip()}" if said else how

    def kill(self) -> None:
        """Ends it at once; nobody wants its results any more."""
        self._process.kill()
        self._end()

    def end(self) -> None:
        """Lets it end by itself: it has nothing left to do."""
        self.send({"end": True})
        self._end()

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._reader.join()
