"""What the C library does with memory that was freed."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_TRIM, _MAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_LARGEST = (1 << 31) - 1  # an int, in bytes


@cache
def keep_freed_memory() -> bool:
    """Whether large buffers that are freed now stay with this process, for its next ones. On the CPU, for training.

    glibc gives a large buffer back to the system when it is freed, and the next one of its size comes as new pages that
    the system has to clear: a twentieth of a small model's training step. The peak stays what it was; what is freed
    below it is not given back any more. False where the C library is another one.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MAP, _LARGEST) and mallopt(_TRIM, _LARGEST))
