"""One stage in a process of its own: reads a job from stdin, makes the artifact, writes the outcome beside the log."""

from __future__ import annotations

import functools
import json
import signal
import sys
from pathlib import Path

from posttrain.errors import PosttrainError
from posttrain.pipeline.devices import Device
from posttrain.pipeline.jobs import order_of
from posttrain.pipeline.make import make
from posttrain.pipeline.parts import share_among
from posttrain.store import write_json
from posttrain.talk import end_when_asked


def outcome_path(log: Path) -> Path:
    """Where the outcome of the process with this log is written."""
    return log.with_suffix(".outcome.json")


def main() -> None:
    """Exit code 0, or 2 for an error meant for the user; anything else leaves its traceback in the log."""
    # Ctrl-C reaches the whole group: the parent ends us, and we end well those who help us. A handler, not SIG_IGN:
    # that would be inherited by every program that a stage starts.
    signal.signal(signal.SIGINT, lambda *_: None)
    end_when_asked(143)
    log = Path(sys.argv[1])
    job = json.load(sys.stdin)
    devices = [Device(**one) for one in job["devices"]]
    share = functools.partial(share_among, devices, log) if len(devices) > 1 else None
    try:
        made = make(order_of(job), device=job["device"], again=job["again"], share=share)
    except PosttrainError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        write_json(outcome_path(log), {"error": type(error).__name__, "message": str(error)})
        sys.exit(2)
    aside = str(made.aside) if made.aside else None
    write_json(outcome_path(log), {"outcome": made.outcome, "summary": dict(made.summary), "aside": aside})


if __name__ == "__main__":
    main()
