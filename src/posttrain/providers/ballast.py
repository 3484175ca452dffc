"""Space held back for replies that are paid for and on their way.

A full disk shows itself when something is written, and then it is too late: hundreds of requests may be in flight,
each to bring a reply that can't be kept. So before a request leaves, room for its reply is reserved in a file beside
the journal. When the disk is full the file goes, the replies take its place, and nothing more is sent.
"""

from __future__ import annotations

import contextlib
import errno
import os
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
    """A file of `size` bytes that stands for replies to come."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._able = True
        self.release()  # what a killed process has left

    def hold(self, size: int) -> None:
        """Makes the reserve at least `size` bytes. StoreError where the disk has no room for it."""
        if size <= self.size or not self._able:
            return
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
        """Gives the space back; True where there was any."""
        held, self.size = self.size, 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        return held > 0
