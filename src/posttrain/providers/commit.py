"""Group commit: one thread writes the journal, everything that waits in one write and one fdatasync.

A disk takes milliseconds to confirm, and replies come by the hundred per second; so many of them share each
confirmation.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from posttrain.errors import StoreError
from posttrain.providers.journal import Journal

GATHER = 0.004  # seconds that a reply waits for others to share its confirmation
Waiting = tuple[bytes, "asyncio.Future[int] | None", bool]


class Committer:
    """Writes lines for one event loop. `broken` is called in the loop when the journal can no longer be written."""

    def __init__(self, journal: Journal, broken: Callable[[StoreError], None]) -> None:
        self._journal, self._broken = journal, broken
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Writes `line` some time soon."""
        self._queue.put((line, None, False))

    async def written(self, line: bytes) -> int:
        """Returns when the kernel has `line`, which any death of this process leaves alone; gives its offset."""
        return await self._wait(line, sync=False)

    async def durable(self, line: bytes) -> int:
        """Returns when the disk has `line`; gives its offset. StoreError where it can't be written."""
        return await self._wait(line, sync=True)

    async def _wait(self, line: bytes, *, sync: bool) -> int:
        future: asyncio.Future[int] = self._loop.create_future()
        self._queue.put((line, future, sync))
        # A reply in hand is written whatever becomes of the one who waits for it.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Returns when everything is written."""
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            if first[2]:
                time.sleep(GATHER)
            last = self._drain(group)
            self._write(group)
            if last:
                return

    def _drain(self, group: list[Waiting]) -> bool:
        """Takes what is there; True when it was the last."""
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return False
            if item is None:
                return True
            group.append(item)

    def _write(self, group: list[Waiting]) -> None:
        try:
            offsets = self._journal.append([line for line, _, _ in group], sync=any(sync for _, _, sync in group))
        except StoreError as error:
            self._loop.call_soon_threadsafe(self._fail, group, error)
        else:
            waiting = [(f, at) for (_, f, _), at in zip(group, offsets, strict=True) if f is not None]
            if waiting:
                self._loop.call_soon_threadsafe(_resolve, waiting)

    def _fail(self, group: list[Waiting], error: StoreError) -> None:
        self._broken(error)
        for _, future, _ in group:
            if future is not None and not future.done():
                future.set_exception(error)


def _resolve(waiting: list[tuple[asyncio.Future[int], int]]) -> None:
    for future, offset in waiting:
        if not future.done():
            future.set_result(offset)
