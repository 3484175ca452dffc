"""The devices that suites run on side by side."""

from __future__ import annotations

from posttrain.store.environment import visible_gpus


def devices(wanted: str) -> list[tuple[str, str | None]]:
    """(what the suite is told, CUDA_VISIBLE_DEVICES) for each process that may run at once.

    wanted: `auto`, `cpu` or `cuda`, as a Workspace says. Every GPU that this process may see is one; without any, the
    processor is one device, and tasks follow each other.
    """
    listed = visible_gpus() if wanted != "cpu" else []
    return [("cuda", entry) for entry in listed] or [("cpu", "")]
