"""``python -m posttrain.cluster.slurm.worker FOLDER DIGEST NODE``: what a job's file starts. It makes one stage.

FOLDER is the run's `slurm/`, DIGEST names the recipe that was frozen there. SIGUSR1 (the limit is near) and SIGTERM end
the stage as Ctrl-C does: what it has saved stands, and the next attempt goes on from it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from posttrain.cluster.slurm.freezing import thawed
from posttrain.cluster.slurm.jobs import STOPPED
from posttrain.errors import PosttrainError
from posttrain.pipeline import run_node
from posttrain.pipeline.executor import line_of
from posttrain.store.atomic import write_atomic

SIGNALS = (signal.SIGUSR1, signal.SIGTERM)


def main() -> None:
    """Exit code 0, 2 for an error meant for the user (NODE.why has its words), STOPPED when asked to stop."""
    folder, digest, name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    for number in SIGNALS:
        signal.signal(number, _stop)
    try:
        machine = int(os.environ.get("SLURM_NODEID", "0"))
        if machine > 0:  # one of a stage's further machines
            from posttrain.training.rank import follow

            sys.exit(follow(folder.parent / name, machine))
        graph = thawed(folder, digest)
        made = run_node(graph, folder.parent, name)
        print(line_of(graph.nodes[name], made, graph), flush=True)
    except KeyboardInterrupt:
        print(f"{name}: stopped; what it saved stands", flush=True)
        sys.exit(STOPPED)
    except PosttrainError as error:
        said = "\n  ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
        print(said, flush=True)
        with write_atomic(folder / "logs" / f"{name}.why") as file:
            file.write(f"{said}\n".encode())
        sys.exit(2)


def _stop(number: int, frame: FrameType | None) -> None:
    for further in SIGNALS:  # SLURM sends one after the other; the second would break off what the first began
        signal.signal(further, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
