"""An order as JSON-able values, for another process or another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from posttrain.config import parse
from posttrain.pipeline.make import Again
from posttrain.pipeline.order import Order
from posttrain.stage import stage_spec
from posttrain.store import Artifact
from posttrain.store.artifacts import packed, unpacked


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
