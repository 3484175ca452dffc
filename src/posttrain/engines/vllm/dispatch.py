"""Work over replicas: bounded, yielded as it finishes, repeated where a server was lost in the middle."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from posttrain.engines.vllm.client import Client, Loop, LostError
from posttrain.engines.vllm.server import Launch, Server
from posttrain.errors import EngineError

MAX_LOSSES = 3  # a request that has lost its server so often is what breaks it
DEATH_SECONDS = 10.0  # how long a server that failed a request is watched before it counts as dead

T = TypeVar("T")


class Replica:
    """One server and the client to it, through all its restarts."""

    def __init__(self, number: int, launch: Launch, loop: Loop) -> None:
        self.number, self.launch, self.loop = number, launch, loop
        self.starts = 0
        self.server: Server | None = None
        self.client: Client | None = None

    def start(self, model: Path) -> None:
        """Start it, or start it again, with the weights in `model`. Errors as those of Server."""
        self.stop()
        self.server = Server(self.launch, model)
        self.client = Client(self.server.url, self.launch.config.request_timeout)
        self.starts += 1

    def stop(self) -> None:
        """Nothing of it is left when this returns."""
        if self.client is not None:
            self.loop.submit(self.client.close()).result()
            self.client = None
        if self.server is not None:
            self.server.stop()

    def ask(self, call: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """The answer to one request. EngineError where the server fails."""
        assert self.client is not None
        try:
            return self.loop.submit(call(self.client)).result()
        except LostError as error:
            raise EngineError(f"vLLM replica {self.number} failed: {error}. {self.last_words()}") from error

    def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """One request to a control endpoint; errors as in `ask`."""
        return self.ask(lambda client: client.post(path, body, **query))

    def last_words(self) -> str:
        return self.server.last_words() if self.server is not None else ""

    def is_dead(self) -> bool:
        """After a failed request: does it answer again within a moment, or is it gone?"""
        deadline = time.monotonic() + DEATH_SECONDS
        while self.server is not None and self.server.alive() and time.monotonic() < deadline:
            assert self.client is not None
            try:
                self.loop.submit(self.client.health()).result()
                return False
            except (LostError, EngineError):
                time.sleep(0.2)
        return True


@dataclass(eq=False, slots=True)
class Work(Generic[T]):
    """A request that can be repeated. `key`: of its prompt. `item`: what the caller knows it by."""

    key: str
    item: T
    call: Callable[[Client], Coroutine[Any, Any, Any]]
    result: Any = None
    cancelled: bool = False
    losses: int = 0


@dataclass(slots=True)
class _Sent:
    replica: Replica
    starts: int  # of the replica when it was sent: a restart since then has already been seen to
    future: Future[Any]


@dataclass(slots=True)
class Dispatch(Generic[T]):
    """`each`: requests that run at once on one replica. `recover` is called when a replica is found dead: it starts the
    replica again, or raises."""

    replicas: list[Replica]
    loop: Loop
    each: int
    recover: Callable[[Replica, str, int], None]
    sent: dict[Work[T], _Sent] = field(default_factory=dict)

    def run(self, source: Iterator[Work[T]]) -> Iterator[Work[T]]:
        """Work as it finishes, `source` being pulled as places free. What is abandoned is cancelled on the server."""
        done: SimpleQueue[Work[T]] = SimpleQueue()
        again: deque[Work[T]] = deque()
        try:
            while True:
                while (replica := self._free()) is not None:
                    work = again.popleft() if again else next(source, None)
                    if work is None:
                        break
                    self._send(work, replica, done)
                if not self.sent:
                    return
                work = done.get()
                sent = self.sent.pop(work)
                if sent.future.cancelled():
                    work.cancelled = True
                    yield work
                    continue
                error = sent.future.exception()
                if isinstance(error, LostError):
                    self._lost(work, sent, error)
                    again.append(work)
                    continue
                work.result = sent.future.result()  # raises what else went wrong
                yield work
        finally:
            for sent in self.sent.values():
                sent.future.cancel()
            self.sent.clear()

    def cancel(self, key: str) -> bool:
        """Ends the running work of `key`; whether there was any."""
        found = [sent for work, sent in list(self.sent.items()) if work.key == key]
        for sent in found:
            sent.future.cancel()
        return bool(found)

    def _free(self) -> Replica | None:
        """The replica with the least to do, None when all are full."""
        busy = Counter(sent.replica.number for sent in self.sent.values())
        least = min(self.replicas, key=lambda replica: busy[replica.number])
        return least if busy[least.number] < self.each else None

    def _send(self, work: Work[T], replica: Replica, done: SimpleQueue[Work[T]]) -> None:
        assert replica.client is not None
        future = self.loop.submit(work.call(replica.client))
        self.sent[work] = _Sent(replica, replica.starts, future)
        future.add_done_callback(lambda _: done.put(work))

    def _lost(self, work: Work[T], sent: _Sent, error: LostError) -> None:
        """Sees to the replica that failed `work`; afterwards it can be sent again."""
        work.losses += 1
        replica = sent.replica
        if work.losses > MAX_LOSSES:
            raise EngineError(
                f"request {work.key!r} failed {work.losses} times on the vLLM server ({error}), so it is given up. "
                f"{replica.last_words()}"
            ) from error
        if sent.starts == replica.starts and replica.is_dead():
            unfinished = 1 + sum(other.replica is replica for other in self.sent.values())
            self.recover(replica, str(error), unfinished)
