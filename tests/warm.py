"""A process that has imported what is heavy and forks itself for every command, so that a kill test pays for the
imports once, and its kills land in the work.

``start = Warm(env)`` is a way to start commands for `tests.kill`: ``start(["run", "recipe.yaml"], cwd, env)`` runs the
command line with these arguments in a fork with a process group of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[1]


class Warm:
    """One command at a time. A context manager: leaving it ends the server."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = {**env, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), env.get("PYTHONPATH")]))}

    def __enter__(self) -> Warm:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.communicate(timeout=60)

    def __call__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Fork:
        """`command`: arguments of posttrain."""
        return Fork(self._server, command, cwd, env)


class Fork:
    """A command that runs in a fork of the server."""

    def __init__(
        self, server: subprocess.Popen[bytes], command: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> None:
        assert server.stdin is not None
        assert server.stdout is not None
        self._answers = server.stdout
        self._code: int | None = None
        handle, name = tempfile.mkstemp(prefix="posttrain-fork-")
        os.close(handle)
        self._log = Path(name)
        server.stdin.write((json.dumps([list(command), str(cwd), dict(env), name]) + "\n").encode())
        self.pid = int(self._answers.readline())

    def wait(self, timeout: float | None = None) -> int:
        """The exit code (negative: the signal that ended it). subprocess.TimeoutExpired after `timeout` seconds."""
        if self._code is None:
            if not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("fork", timeout or 0)
            self._code = int(self._answers.readline())
        return self._code

    def said(self) -> str:
        """What it wrote; asked once, after its end."""
        text = self._log.read_text(errors="replace")
        self._log.unlink()
        return text


def serve() -> None:
    """Reads ``[arguments, folder, environment, log]`` lines.

    Answers each with the fork's process id at once and its exit code at its end.
    """
    import matplotlib.pyplot  # noqa: F401
    import torch
    import transformers.models.qwen2.modeling_qwen2  # noqa: F401

    import posttrain.evals.engines
    import posttrain.report.html
    import posttrain.rl.loop
    import posttrain.sft.finetune
    import posttrain.sft.pretrain  # noqa: F401

    torch.set_num_threads(1)  # a pool of threads would not survive the fork
    for line in sys.stdin:
        arguments, folder, environment, log = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ.update(environment)
            _become(arguments, folder, log)
        with contextlib.suppress(OSError):  # the child does the same; whoever is first
            os.setpgid(child, child)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(arguments: list[str], folder: str, log: str) -> None:
    """The forked process: never returns."""
    from posttrain.cli import main

    os.setpgid(0, 0)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for mine, at in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(mine, at)
    code: object = 1
    try:
        main(arguments)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    serve()
