"""Runs one candidate program in the sandbox and says how it ended. Never raises for what the program did."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from posttrain.errors import GradingError
from posttrain.grading.sandbox import launcher
from posttrain.grading.sandbox.isolation import Isolation, landlock_abi, require

_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/usr/share/zoneinfo")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True)
class Limits:
    """What a program may take: clock and processor seconds, bytes of memory, of each file and of output, open files."""

    seconds: float = 6.0
    memory: int = 1 << 30
    file_bytes: int = 16 << 20
    output_bytes: int = 1 << 20
    files: int = 64


@dataclass(frozen=True)
class Outcome:
    """How a program ended. ended: "exit", "timeout", "output" (it wrote too much) or "signal"."""

    ended: str
    code: int
    stdout: str
    stderr: str
    seconds: float
    isolation: Isolation

    @property
    def ok(self) -> bool:
        return self.ended == "exit" and self.code == 0


def run_program(source: str, stdin: str = "", *, limits: Limits, level: Isolation = Isolation.KERNEL) -> Outcome:
    """Runs Python source in a fresh interpreter (`-I -S`) in a directory of its own that is removed afterwards.

    level: the least isolation to accept; GradingError if this machine offers less, or the sandbox can't be built.
    """
    return run_python(["-I", "-S", "-B", "program.py"], {"program.py": source}, stdin, limits=limits, level=level)


def run_python(
    arguments: Sequence[str],
    files: Mapping[str, str],
    stdin: str = "",
    *,
    limits: Limits,
    level: Isolation = Isolation.KERNEL,
    readable: Sequence[str] = (),
) -> Outcome:
    """Runs this Python with arguments in a directory that holds these files and is removed afterwards.

    readable: folders beside the standard library that the program may read.
    """
    isolation = require(level)
    directory = Path(tempfile.mkdtemp(prefix="posttrain-program-"))
    try:
        for name, content in files.items():
            (directory / name).write_text(content, encoding="utf-8", errors="replace")
        command = _command(directory, arguments, limits, isolation, readable)
        return _run(command, directory, stdin, limits, isolation)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _python() -> str:
    return os.path.realpath(sys.executable)


def _command(
    directory: Path, arguments: Sequence[str], limits: Limits, isolation: Isolation, readable: Sequence[str]
) -> list[str]:
    python = _python()
    config: dict[str, Any] = {
        "directory": str(directory),
        "limits": {
            "memory": limits.memory,
            "seconds": int(limits.seconds) + 1,
            "file_bytes": limits.file_bytes,
            "files": limits.files,
        },
        "kernel": isolation >= Isolation.KERNEL,
        "landlock": landlock_abi(),
        "readable": [*_LIBRARIES, sys.base_prefix, python, *readable],
        "writable": [str(directory), *_DEVICES],
        "command": [python, *arguments],
        "environment": {"HOME": str(directory), "TMPDIR": str(directory), "LANG": "C.UTF-8", "PATH": ""},
    }
    launch = [python, "-I", "-S", "-B", launcher.__file__, json.dumps(config)]
    if isolation < Isolation.NAMESPACES:
        return launch
    bind = ["--unshare-all", "--die-with-parent", "--new-session", "--ro-bind", "/", "/", "--dev", "/dev"]
    return ["bwrap", *bind, "--bind", str(directory), str(directory), "--", *launch]


def _run(command: list[str], directory: Path, stdin: str, limits: Limits, isolation: Isolation) -> Outcome:
    start = time.monotonic()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=directory,
        env={"LANG": "C.UTF-8"},
        start_new_session=True,  # a group of its own, so that all of it can be killed
        close_fds=True,
    )
    try:
        ended, stdout, stderr = _converse(process, stdin.encode("utf-8", "replace"), start + limits.seconds, limits)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                cast(IO[bytes], pipe).close()
    errors = stderr.decode("utf-8", "replace")
    if ended == "exit" and code == launcher.FAILED and errors.startswith("sandbox:"):
        raise GradingError(f"the sandbox could not be built ({errors.strip()}). No program was run.")
    if ended == "exit" and code < 0:
        ended = "timeout" if -code == signal.SIGXCPU else "signal"
    return Outcome(ended, code, stdout.decode("utf-8", "replace"), errors, time.monotonic() - start, isolation)


def _converse(
    process: subprocess.Popen[bytes], stdin: bytes, deadline: float, limits: Limits
) -> tuple[str, bytes, bytes]:
    """Feeds standard input and reads both outputs until the program ends, writes too much, or runs out of time."""
    read: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    pipes = {name: cast(IO[bytes], getattr(process, name)) for name in ("stdin", "stdout", "stderr")}
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ, name)
        while any(key.data != "stdin" for key in selector.get_map().values()):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return "timeout", bytes(read["stdout"]), bytes(read["stderr"])
            for key, _ in selector.select(remaining):
                if key.data == "stdin":
                    stdin = _feed(process, selector, stdin)
                    continue
                chunk = os.read(key.fd, 65_536)
                if not chunk:
                    selector.unregister(key.fileobj)
                read[key.data] += chunk
                if len(read[key.data]) > limits.output_bytes:
                    return "output", bytes(read["stdout"]), bytes(read["stderr"])
    try:
        process.wait(timeout=max(0.01, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:  # it closed its outputs and goes on
        return "timeout", bytes(read["stdout"]), bytes(read["stderr"])
    return "exit", bytes(read["stdout"]), bytes(read["stderr"])


def _feed(process: subprocess.Popen[bytes], selector: selectors.BaseSelector, stdin: bytes) -> bytes:
    pipe = cast(IO[bytes], process.stdin)
    try:
        stdin = stdin[os.write(pipe.fileno(), stdin[:65_536]) :] if stdin else b""
    except BrokenPipeError:
        stdin = b""
    if not stdin:
        selector.unregister(pipe)
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
    return stdin
