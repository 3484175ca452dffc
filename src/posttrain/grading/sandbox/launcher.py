"""Closes the doors behind itself, then becomes the program: `python -I -S launcher.py CONFIG`; imports only stdlib.

In order: limits, capabilities, no_new_privs, Landlock (files), seccomp (system calls), execve. Every step that the
configuration asks for must succeed, or the program is not started (exit code FAILED and a line on standard error).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import struct
import sys
from typing import Any

FAILED = 111
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG = 22, 24, 38, 1

# System calls that a program of a test needs for nothing: network, other processes, mounts, keys, kernel interfaces,
# and the modes, owners, times and attributes of files, which Landlock doesn't guard.
_DENIED = {
    "x86_64": "41 42 43 44 45 46 47 49 50 288 57 58 62 101 103 133 135 155 161 163 164 165 166 167 169 170 172 173 175"
    " 176 179 200 227 246 248 249 250 272 298 300 304 308 310 311 312 313 319 321 323 424 425 426 427 428 429 430 431"
    " 432 433 434 438 440 442 129 297 29 64 68 160 90 91 92 93 94 260 268 452 132 235 261 280 188 189 190 197 198 199",
    "aarch64": "198 200 201 202 203 206 207 211 212 242 117 116 33 92 41 51 89 170 40 39 224 142 161 105 106 60 130"
    " 112 104 217 218 219 97 241 262 265 268 270 271 272 273 279 280 282 424 425 426 427 428 429 430 431 432 433 434"
    " 438 440 442 138 240 129 194 190 186 164 52 53 54 55 88 452 5 6 7 14 15 16",
}
_NUMBERS = {  # architecture: (audit id, clone, clone3, tgkill, prlimit64, capset)
    "x86_64": (0xC000003E, 56, 435, 234, 302, 126),
    "aarch64": (0xC00000B7, 220, 435, 131, 261, 91),
}
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _EAGAIN, _ENOSYS = 1, 11, 38
_CLONE_THREAD = 0x00010000


def checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def set_limits(limits: dict[str, int]) -> None:
    """memory in bytes, seconds of processor time, file size in bytes, open files."""
    for name, value in (
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_CPU", limits["seconds"]),
        ("RLIMIT_FSIZE", limits["file_bytes"]),
        ("RLIMIT_NOFILE", limits["files"]),
        ("RLIMIT_STACK", 64 << 20),
        ("RLIMIT_CORE", 0),
    ):
        resource.setrlimit(getattr(resource, name), (value, value))


def drop_capabilities() -> None:
    """Root without its powers; no_new_privs keeps execve from giving them back."""
    for capability in range(64):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # fails beyond the last capability and for ordinary users
    header = struct.pack("Ii", 0x20080522, 0)
    checked(LIBC.syscall(_NUMBERS[platform.machine()][5], header, bytes(24)), "capset")


def restrict_files(abi: int, readable: list[str], writable: list[str]) -> None:
    """Landlock: reading and executing under `readable`, everything under `writable`, no TCP, no signals outside."""
    rights = {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)
    handled = (1 << rights) - 1
    network = 3 if abi >= 4 else 0
    scoped = 3 if abi >= 6 else 0
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    attributes = struct.pack("QQQ", handled, network, scoped)
    ruleset = checked(LIBC.syscall(444, attributes, ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    read_only = 0b1101  # execute, read file, read directory
    for path, access in [(p, read_only) for p in readable] + [(p, handled) for p in writable]:
        if not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            access &= 0b111 | (1 << 14)  # of a file only: execute, write, read, truncate
            access &= handled
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", access, handle)
        checked(LIBC.syscall(445, ruleset, 1, rule, 0), f"landlock_add_rule {path}")
        os.close(handle)
    checked(LIBC.syscall(446, ruleset, 0), "landlock_restrict_self")
    os.close(ruleset)


def filter_program(machine: str) -> bytes:
    """The seccomp filter as BPF instructions (code, jump if true, jump if false, constant)."""
    audit, clone, clone3, tgkill, prlimit, _ = _NUMBERS[machine]
    load, equal, any_bit, at_least, answer = 0x20, 0x15, 0x45, 0x35, 0x06
    code: list[tuple[int, int, int, int]] = [
        (load, 0, 0, 4),  # the architecture
        (equal, 1, 0, audit),
        (answer, 0, 0, _KILL),
        (load, 0, 0, 0),  # the number of the call
    ]
    if machine == "x86_64":
        code += [(at_least, 0, 1, 0x40000000), (answer, 0, 0, _ERRNO | _EPERM)]  # the x32 numbers
    code += [(equal, 0, 1, clone3), (answer, 0, 0, _ERRNO | _ENOSYS)]  # the C library falls back to clone
    code += [  # clone: threads only
        (equal, 0, 4, clone),
        (load, 0, 0, 16),
        (any_bit, 1, 0, _CLONE_THREAD),
        (answer, 0, 0, _ERRNO | _EAGAIN),
        (answer, 0, 0, _ALLOW),
        (equal, 0, 4, tgkill),  # tgkill: itself only (abort)
        (load, 0, 0, 16),
        (equal, 1, 0, os.getpid()),
        (answer, 0, 0, _ERRNO | _EPERM),
        (answer, 0, 0, _ALLOW),
        (equal, 0, 6, prlimit),  # prlimit: asking only
        (load, 0, 0, 32),
        (equal, 0, 3, 0),
        (load, 0, 0, 36),
        (equal, 0, 1, 0),
        (answer, 0, 0, _ALLOW),
        (answer, 0, 0, _ERRNO | _EPERM),
    ]
    for number in map(int, _DENIED[machine].split()):
        code += [(equal, 0, 1, number), (answer, 0, 0, _ERRNO | _EPERM)]
    code.append((answer, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def restrict_calls() -> None:
    code = filter_program(platform.machine())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    checked(LIBC.prctl(PR_SET_SECCOMP, 2, program, 0, 0), "seccomp")


def main(config: dict[str, Any]) -> None:
    os.chdir(config["directory"])
    set_limits(config["limits"])
    if config["kernel"]:
        if os.geteuid() == 0:
            drop_capabilities()
        checked(LIBC.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "parent-death signal")
        checked(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        restrict_files(config["landlock"], config["readable"], config["writable"])
        restrict_calls()
    os.execve(config["command"][0], config["command"], config["environment"])


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except (OSError, ValueError, KeyError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        sys.exit(FAILED)
