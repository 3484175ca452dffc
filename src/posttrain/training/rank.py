"""``python -m posttrain.training.rank JOB NODE [LOCAL]``: one rank of a launch, or all ranks of one machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

from posttrain.errors import PosttrainError
from posttrain.training.launch import run_rank, start_ranks


def main() -> None:
    """Exit code 0, 2 for an error meant for the user; anything else leaves its traceback in the rank's log."""
    job_file, node = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) == 3:
        job = json.loads(job_file.read_text(encoding="utf-8"))
        children = start_ranks(job, job_file.parent, range(int(job["config"]["launch"].get("processes", 1))), node)
        sys.exit(max(abs(child.wait()) for child in children.values()))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        run_rank(job_file, node, int(sys.argv[3]))
    except PosttrainError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        sys.exit(2)
    # Everything is written and the group is closed. PyTorch's own threads may still ask for the interpreter's lock, and
    # one that does so while the interpreter is taken down aborts the process ("terminate called without an active
    # exception").
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """Standard input ends when the process that started this one does, however it dies."""
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(3)


if __name__ == "__main__":
    main()
