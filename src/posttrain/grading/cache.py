"""The last verdicts, kept by (spec, gold, extracted)."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple


class Decision(NamedTuple):
    """What a comparison said, and its reason code."""

    correct: bool | None
    reason: str


Key = tuple[str, str, str]


class Cache:
    """Least recently used decisions; safe in any thread. size 0 keeps nothing."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._kept: OrderedDict[Key, Decision] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Decision | None:
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Key, decision: Decision) -> None:
        with self._lock:
            self._kept[key] = decision
            while len(self._kept) > self.size:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
