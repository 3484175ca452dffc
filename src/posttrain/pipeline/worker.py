"""One stage in a process of its own: reads a job from stdin, makes the artifact, writes the outcome beside the log."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from posttrain.config import parse
from posttrain.errors import PosttrainError
from posttrain.pipeline.make import Again, make
from posttrain.pipeline.order import Order
from posttrain.stage import stage_spec
from posttrain.store import Artifact, write_json
from posttrain.store.artifacts import packed, unpacked


def outcome_path(log: Path) -> Path:
    """Where the outcome of the process with this log is written."""
    return log.with_suffix(".outcome.json")


def job_of(order: Order, device: str, again: Again) -> dict[str, Any]:
    """An order as JSON-able values; `order_of` reads it back."""
    return {
        "stage": order.spec.name,
        "config": order.config.model_dump(mode="json", exclude_unset=True),
        "inputs": {
            name: [packed(a) for a in given] if isinstance(given, list) else packed(given)
            for name, given in order.inputs.items()
        },
        "directory": str(order.directory),
        "seed": order.seed,
        "label": order.label,
        "tracking": list(order.tracking),
        "device": device,
        "again": again,
    }


def order_of(job: dict[str, Any]) -> Order:
    """The order that `job_of` packed."""
    spec = stage_spec(job["stage"])
    inputs: dict[str, Artifact | list[Artifact]] = {
        name: [unpacked(a) for a in given] if isinstance(given, list) else unpacked(given)
        for name, given in job["inputs"].items()
    }
    config = parse(spec.config, job["config"], f"stage '{job['stage']}'")
    tracking = tuple(job["tracking"])
    return Order(spec, config, inputs, Path(job["directory"]), job["seed"], job["label"], tracking)


def main() -> None:
    """Exit code 0, or 2 for an error meant for the user; anything else leaves its traceback in the log."""
    log = Path(sys.argv[1])
    job = json.load(sys.stdin)
    try:
        made = make(order_of(job), device=job["device"], again=job["again"])
    except PosttrainError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        write_json(outcome_path(log), {"error": type(error).__name__, "message": str(error)})
        sys.exit(2)
    aside = str(made.aside) if made.aside else None
    write_json(outcome_path(log), {"outcome": made.outcome, "summary": dict(made.summary), "aside": aside})


if __name__ == "__main__":
    main()
