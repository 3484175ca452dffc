"""Space held back for replies that are paid for and on their way.

A full disk shows itself when something is written, and then it is too late: hundreds of requests may be in flight,
each to bring a reply that can't be kept. So before a request leaves, room for its reply is reserved in a file beside
the journal. When the disk is full the file goes, the replies take its place, and nothing more is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from pathlib import Path

from posttrain.errors import StoreError
from posttrain.store.atomic import FULL

STEP = 1 << 20  # bytes; the reserve grows in steps, so that most requests cost no system call
BYTES_PER_TOKEN = 8  # text, escaped as JSON, of most languages; a reply rarely is as long as it may be
FRAME = 16_384  # bytes around the text: usage, ids, and what a chatty provider adds
_CANT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def room_for(max_tokens: int | None) -> int:
    """Bytes that a reply of at most so many tokens may need in the journal."""
    return FRAME + BYTES_PER_TOKEN * (max_tokens or 8192)


class Ballast:
    """A file of `size` bytes that stands for replies to come.

    One thread asks for room before it sends, another gives the room up when the disk is full: once given up it is
    never taken again, or the replies on their way would find it gone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._able = True
        self._given_up = False
        self._lock = threading.Lock()
        self._remove()  # what a killed process has left

    def hold(self, size: int) -> None:
        """Makes the reserve at least `size` bytes. StoreError where the disk has no room for it, or had none before."""
        with self._lock:
            if self._given_up:
                raise StoreError(
                    f"the disk of {self.path.parent} is full. Every reply is kept, and nothing more was sent: free "
                    "some space and run the same command again."
                )
            if size > self.size and self._able:
                self._grow(size)

    def _grow(self, size: int) -> None:
        wanted = -(-size // STEP) * STEP
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(file, 0, wanted)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno in _CANT:
                self._able = False  # this file system can't reserve: the journal's own errors remain
                return
            if error.errno not in FULL:
                raise
            raise StoreError(
                f"the disk of {self.path.parent} has less than {wanted / 1e6:.0f} MB left, and the replies on their "
                "way may need them. Nothing more was sent: free some space and run the same command again."
            ) from error
        self.size = wanted

    def release(self) -> bool:
        """Gives the space back for good; True where there was any."""
        with self._lock:
            self._given_up = True
            held, self.size = self.size, 0
            self._remove()
            return held > 0

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
