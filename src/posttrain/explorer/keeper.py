"""A thread that keeps the index up to date while the pages are read."""

from __future__ import annotations

import sqlite3
import threading

from posttrain.errors import LockedError, StoreError
from posttrain.explorer.index import Index, Progress
from posttrain.explorer.library import Library
from posttrain.store.lock import locked

PAUSE = 2.0  # seconds between two looks at the folder


class Keeper(threading.Thread):
    """Of two explorers over one folder, one writes the index and both read it."""

    def __init__(self, library: Library, index: Index) -> None:
        super().__init__(name="explorer-index", daemon=True)
        self.library, self.index = library, index
        self.trouble: tuple[str, ...] = ()
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                with locked(self.index.path.parent):
                    self._keep()
            except LockedError:
                self._ending.wait(PAUSE)
            except (StoreError, OSError, sqlite3.Error) as error:  # a full disk: pages go on without an index
                self.trouble = (f"the index can't be written ({error}); searching needs it.",)
                self._ending.wait(5 * PAUSE)

    def _keep(self) -> None:
        self.index.create()
        while not self._ending.is_set():
            self.once()
            self._ending.wait(PAUSE)

    def once(self) -> None:
        """One look: everything that is new goes in."""
        sets = list(self.library.sets().values())
        self.trouble = tuple(self.index.update(sets, self._ending.is_set))

    def progress(self) -> Progress:
        told = self.index.progress(list(self.library.sets().values()))
        return Progress(told.rows, told.sets, told.waiting, self.trouble)

    def close(self) -> None:
        self._ending.set()
        if self.is_alive():
            self.join(10)
