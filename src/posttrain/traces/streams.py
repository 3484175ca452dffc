"""Several iterators at once, each in a thread of its own: a slow teacher holds up nobody else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

T = TypeVar("T")

_ROOM = 1024  # items that may wait for the consumer
_PATIENCE = 10.0  # seconds that a thread is waited for after an error; what it was doing is journaled


class _Ended:
    """A stream's last word."""


def at_once(streams: Mapping[str, Callable[[], Iterator[T]]]) -> Iterator[tuple[str, T]]:
    """(name, item) of all streams as they come. An error of one is raised; the others end after their next item."""
    if len(streams) < 2:
        for name, opened in streams.items():
            for only in opened():
                yield name, only
        return
    waiting: queue.Queue[tuple[str, T | BaseException | _Ended]] = queue.Queue(_ROOM)
    stop = threading.Event()

    def hand_over(name: str, item: T | BaseException | _Ended) -> None:
        while not stop.is_set():
            try:
                waiting.put((name, item), timeout=0.2)
                return
            except queue.Full:
                continue

    def run(name: str, opened: Callable[[], Iterator[T]]) -> None:
        try:
            stream = opened()
            for item in stream:
                hand_over(name, item)
                if stop.is_set():
                    break
            if hasattr(stream, "close"):
                stream.close()
        except BaseException as error:  # raised again in the consumer's thread
            hand_over(name, error)
        hand_over(name, _Ended())

    threads = [
        threading.Thread(target=run, args=(name, opened), name=f"teacher {name}", daemon=True)
        for name, opened in streams.items()
    ]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            name, item = waiting.get()
            if isinstance(item, _Ended):
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield name, item
    finally:
        stop.set()
        for thread in threads:
            thread.join(_PATIENCE)
