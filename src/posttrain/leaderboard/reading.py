"""Answers of a stranger's Parquet file. The file is opened here and parsed in a process of its own.

That process has no keys in its environment and a bound on memory, time and what it may write, so that a file made to
harm the parser costs an entry and not the board. Nothing is unpickled: only columns of strings and numbers are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

from posttrain.errors import DataError
from posttrain.leaderboard.limits import Limits
from posttrain.leaderboard.text import clean


@dataclass(frozen=True, slots=True)
class Answer:
    """One response as it was submitted. truncated: they say that it was cut off."""

    problem_id: str
    index: int
    question: str
    response: str
    truncated: bool
    tokens: int | None


@contextlib.contextmanager
def opened(folder: Path, name: str, largest: int) -> Iterator[BufferedReader]:
    """The regular file `name` below `folder`. DataError where it leads elsewhere, is no file, or is too large.

    No link is followed, on no step of the way: a link may lead anywhere on this machine.
    """
    parts = PurePosixPath(name).parts
    shown = clean(name, 80)
    if not parts or name.startswith("/") or "\\" in name or "\0" in name or any(p in ("..", ".") for p in parts):
        raise DataError(f"{shown!r} is no path below its folder. Name a file inside the submission.")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for i, part in enumerate(parts):
            flags = os.O_RDONLY | os.O_NOFOLLOW | (os.O_NONBLOCK if i == len(parts) - 1 else os.O_DIRECTORY)
            following = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = following
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise DataError(f"{shown!r} is not a regular file. Give the file itself.")
        if facts.st_size > largest:
            raise DataError(f"{shown!r} has {facts.st_size:,} bytes; at most {largest:,} are read. Make it smaller.")
        with os.fdopen(os.dup(descriptor), "rb") as file:
            yield file
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{shown!r} is not there. Put the file into the submission's folder.") from None
    except OSError as error:
        raise DataError(
            f"{shown!r} can't be read ({error.strerror}). Give a regular file; links are not followed."
        ) from None
    finally:
        os.close(descriptor)


def read_answers(folder: Path, name: str, limits: Limits) -> tuple[list[Answer], str]:
    """The answers in a submission's Parquet file, and the file's sha256. DataError for anything but that."""
    with opened(folder, name, limits.file_bytes) as file, tempfile.TemporaryFile() as out:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        command = [sys.executable, "-m", "posttrain.leaderboard.child", str(file.fileno()), json.dumps(asdict(limits))]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                env=_bare_environment(),
                pass_fds=[file.fileno()],
                timeout=limits.seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DataError(f"{clean(name, 80)!r} takes more than {limits.seconds} s to read. Write it anew.") from None
        if done.returncode == 3:
            raise DataError(f"{clean(name, 80)!r}: {clean(done.stderr.decode(errors='replace'), 300)}")
        if done.returncode != 0:
            raise DataError(f"{clean(name, 80)!r} can't be read as Parquet (the reader ended with {done.returncode}).")
        out.seek(0)
        return [Answer(*json.loads(line)) for line in out], digest


def _bare_environment() -> dict[str, str]:
    """What Python needs to find us, and nothing that could be a secret."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONIOENCODING": "utf-8",
        "PYTHONWARNINGS": "ignore",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "OMP_NUM_THREADS": "1",
        "OMP_THREAD_LIMIT": "1",
    }
