"""How far a candidate program is shut in here, and the refusal to run it when that is not far enough."""

from __future__ import annotations

import ctypes
import functools
import platform
import shutil
import subprocess
import sys
from enum import IntEnum

from posttrain.errors import GradingError, did_you_mean


class Isolation(IntEnum):
    """What stands between a candidate program and this machine; each level contains the one before."""

    LIMITS = (
        1  # memory, time, files and output are limited; its own process group and directory. It can read and connect
    )
    KERNEL = 2  # and no privileges, files by Landlock, system calls by seccomp: no network, no processes
    NAMESPACES = 3  # and namespaces of its own by bubblewrap


def landlock_abi() -> int:
    """The kernel's Landlock version; 0 without Landlock."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(444, None, ctypes.c_size_t(0), 1)))


def has_seccomp() -> bool:
    """Whether this kernel filters system calls on an architecture whose numbers the launcher knows."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return False
    with open("/proc/self/status") as status:
        return any(line.startswith("Seccomp:") for line in status)


def has_bubblewrap() -> bool:
    """Whether bwrap is installed and may make namespaces here."""
    path = shutil.which("bwrap")
    if path is None:
        return False
    trial = [path, "--unshare-all", "--ro-bind", "/", "/", sys.executable, "-I", "-S", "-c", "pass"]
    return subprocess.run(trial, capture_output=True, timeout=20, check=False).returncode == 0


@functools.cache
def available() -> Isolation:
    """The highest level that this machine offers."""
    if landlock_abi() == 0 or not has_seccomp():
        return Isolation.LIMITS
    return Isolation.NAMESPACES if has_bubblewrap() else Isolation.KERNEL


def level_named(name: str) -> Isolation:
    """The level of a name in a config: limits, kernel, namespaces."""
    if name.upper() not in Isolation.__members__:
        known = [level.name.lower() for level in Isolation]
        raise GradingError(f"unknown isolation {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")
    return Isolation[name.upper()]


def require(level: Isolation) -> Isolation:
    """The level that will be used. GradingError if this machine offers less than is asked for: nothing is run then."""
    here = available()
    if here < level:
        missing = []
        if landlock_abi() == 0:
            missing.append("Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK and landlock in lsm=)")
        if not has_seccomp():
            missing.append("seccomp on x86_64 or aarch64")
        if level is Isolation.NAMESPACES and not missing:
            missing.append("bubblewrap (bwrap) with unprivileged user namespaces")
        raise GradingError(
            f"programs must run with isolation {level.name.lower()!r}, and this machine offers {here.name.lower()!r}:"
            f" it lacks {' and '.join(missing)}. Enable that, run in a container that has it, or ask for less."
        )
    return here
