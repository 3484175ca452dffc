"""Stands between posttrain and a server: whoever of them dies, nothing of the other is left behind.

    python watchdog.py PARENT FOLDER COMMAND ...

leads a process group of its own and starts COMMAND in it. When COMMAND ends, or the process PARENT does (even by
SIGKILL), the whole group is ended and FOLDER is removed if PARENT could not. Standard library only: it must start fast
and in any interpreter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.25
GRACE_SECONDS = 10.0


def main(parent: int, folder: str, command: list[str]) -> int:
    """The exit code of the command; 128 + 15 where it was ended from here."""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(True))
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    orphaned = False
    while server.poll() is None and not stopping and not orphaned:
        time.sleep(POLL_SECONDS)
        orphaned = os.getppid() != parent
    code = server.poll()
    if stopping:
        print("posttrain's watchdog: told to stop (SIGTERM)", file=sys.stderr, flush=True)
    _end_group(server)
    if orphaned:
        shutil.rmtree(folder, ignore_errors=True)
    return 143 if code is None else code


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """SIGTERM to everyone in the group; SIGKILL to those that stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while (server.poll() is None or _others()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in _others():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    server.wait()


def _others() -> list[int]:
    """Living members of this process's group beside itself (Linux: read from /proc)."""
    me, group = os.getpid(), os.getpgid(0)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == me:
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                state, _, its_group = file.read().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has just ended
        if int(its_group) == group and state != "Z":
            found.append(int(entry))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
