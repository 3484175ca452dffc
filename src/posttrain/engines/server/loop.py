"""One thread drives the engine; requests of all connections join its running batch between two tokens."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import torch

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import NativeEngine
from posttrain.records import Completion

MOST_WAITING = 4096  # prompts that wait for a row; beyond, clients are asked to come again


@dataclass(frozen=True, slots=True)
class Piece:
    """New tokens of sample `index` of the prompt `key`; `done` with the last one. error: it failed, and why."""

    key: str
    index: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    done: Completion | None = None
    error: str | None = None


Listener = Callable[[Piece], None]


class EngineLoop:
    """Submitted prompts are answered piece by piece to their listener, which is called in the engine's thread."""

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine
        self._inbox: queue.Queue[Prompt | None] = queue.Queue(MOST_WAITING)
        self._listeners: dict[str, Listener] = {}
        self._gone: set[str] = set()
        self._lock = threading.Lock()
        self._may_wait = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> int:
        """Prompts at work or waiting."""
        return len(self._listeners)

    def submit(self, prompts: tuple[Prompt, ...], listener: Listener) -> bool:
        """False where too many wait already: nothing was begun then."""
        with self._lock:
            if self._closed or self._inbox.qsize() + len(prompts) > MOST_WAITING:
                return False
            for prompt in prompts:
                self._listeners[prompt.key] = listener
                self._inbox.put_nowait(prompt)
        return True

    def cancel(self, prompts: tuple[Prompt, ...]) -> None:
        """The listener hears no more of them, and their rows are free before the next token."""
        with self._lock:
            for prompt in prompts:
                if self._listeners.pop(prompt.key, None) is not None:
                    self._gone.add(prompt.key)

    def close(self) -> None:
        """End what runs and wait for the thread."""
        with self._lock:
            self._closed = True
            self._listeners.clear()
        with suppress(queue.Full):  # a thread with a full inbox is awake
            self._inbox.put_nowait(None)
        self._thread.join()

    def _source(self) -> Iterator[Prompt | None]:
        """What came in. Waits only when nothing runs, and then only for the first prompt of a step."""
        while not self._closed:
            try:
                prompt = self._inbox.get(block=self._may_wait)
            except queue.Empty:
                prompt = None
            self._may_wait = False
            if prompt is not None and prompt.key not in self._listeners:
                self._gone.discard(prompt.key)
                continue  # cancelled before it began
            yield prompt

    def _run(self) -> None:
        try:
            while not self._closed:
                try:
                    self._serve()
                except RuntimeError as error:  # EngineError, out of memory: whoever waits is told, the next may try
                    self._fail(str(error))
        finally:  # a bug: its traceback goes to standard error, and nobody is left waiting
            self._closed = True
            self._fail("the engine has stopped")

    @property
    def alive(self) -> bool:
        return not self._closed

    def _fail(self, why: str) -> None:
        with self._lock:
            failed = dict(self._listeners)
            self._listeners.clear()
        for key, listener in failed.items():
            listener(Piece(key, 0, error=why))

    def _serve(self) -> None:
        batch = self.engine.live(self._source(), Sampling())
        while not self._closed:
            self._may_wait = not batch.busy
            with self._lock:
                gone, self._gone = self._gone, set()
            with torch.inference_mode():
                if gone:
                    batch.cancel(gone)
                finished = batch.step() or []
            for state, row in zip(batch.rows.rows, range(batch.rows.active), strict=True):
                told, count = state.told, int(batch.rows.counts[row])
                state.told = count
                ids, values = batch.rows.tokens[row, told:count], batch.rows.values[0, row, told:count]
                self._tell(Piece(state.prompt.key, state.index, tuple(ids.tolist()), tuple(values.tolist())))
            for completion in finished:
                self._tell(Piece(completion.key, completion.index, done=completion))

    def _tell(self, piece: Piece) -> None:
        listener = self._listeners.get(piece.key)
        if listener is not None:
            listener(piece)

    def forget(self, prompts: tuple[Prompt, ...]) -> None:
        """All samples of these have ended."""
        with self._lock:
            for prompt in prompts:
                self._listeners.pop(prompt.key, None)
