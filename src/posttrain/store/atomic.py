"""Every file appears whole or not at all: write to a temporary in the same folder, fsync, rename, fsync the folder."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from posttrain.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the ways a disk says that it is full


@contextlib.contextmanager
def write_atomic(path: Path) -> Iterator[IO[bytes]]:
    """A binary file object; `path` is replaced when the block ends well and untouched when it raises."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise StoreError(
            f"can't write {path}: {error.strerror}. Nothing was written: free some space or choose another folder."
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        _discard(temporary)
        if error.errno in FULL:
            raise StoreError(
                f"no space left to write {path}. Nothing was half-written: free some space and run again."
            ) from error
        raise
    except BaseException:
        _discard(temporary)
        raise


def _discard(temporary: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Makes renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Readable, sorted-as-given JSON; NaN is refused because other readers can't parse it."""
    with write_atomic(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with write_atomic(path) as file:
        pq.write_table(table, file, compression="zstd")
