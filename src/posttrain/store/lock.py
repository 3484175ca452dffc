"""One lock per folder: `flock`, which the kernel releases when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from posttrain.errors import LockedError, StoreError

NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Holds `folder` for the block and yields the lock's file descriptor.

    A child process that inherits the descriptor keeps the lock when its parent dies, so nobody writes beside it.
    LockedError, which says who holds it and since when, if another process does.
    """
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"can't write to {folder}: {error.strerror}. Choose another folder.") from error
    try:
        _acquire(descriptor, path)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(_holder()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(
            f"{path.parent} is in use by {_describe(path)}. Wait for it, stop it, or use another name=."
        ) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise StoreError(
            f"{path.parent} is on a file system without locks ({error.strerror}). Keep runs on a local disk."
        ) from error


def _holder() -> dict[str, str | int]:
    since = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _describe(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']} (or one it started) since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"  # it has the lock and is about to write its name


def working(folder: Path) -> str | None:
    """Who works in `folder`, in words: a living process of this machine that its lock file names. None for nobody, and
    for one of another machine, who can not be asked.

    The lock itself is not tried: that would be in the way of one who is about to take it.
    """
    try:
        holder = json.loads((folder / NAME).read_text(encoding="utf-8"))
        pid, host, since = int(holder["pid"]), str(holder["host"]), str(holder["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if host != socket.gethostname():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # another user's process: it lives
    return f"process {pid} here, since {since}"
