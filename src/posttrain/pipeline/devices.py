"""Which devices a run may use, told without importing torch."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from posttrain.errors import RecipeError
from posttrain.store.environment import visible_gpus

_NAME = re.compile(r"^(?P<kind>cpu|cuda)(:(?P<index>\d+))?$")


@dataclass(frozen=True)
class Device:
    """name: what people call it. kind: what a stage is told (`auto`, `cpu`, `cuda`). visible: CUDA_VISIBLE_DEVICES."""

    name: str
    kind: str
    visible: str | None


def devices_for(names: list[str] | None) -> list[Device]:
    """The devices named, else every GPU this process may see, else one: this process, wherever stages like to run."""
    if names is not None:
        if not names:
            raise RecipeError("devices: the list is empty. Name some, e.g. devices: [cuda:0, cuda:1], or leave it out.")
        return [_parse(name) for name in names]
    listed = visible_gpus()
    if len(listed) > 1:
        return [Device(f"cuda:{entry}", "cuda", entry) for entry in listed]
    return [Device("auto", "auto", None)]


def _parse(name: str) -> Device:
    match = _NAME.match(name)
    if match is None:
        raise RecipeError(f"devices: {name!r} is no device. Write cpu:0 or cuda:0.")
    if match["kind"] == "cpu":
        return Device(name, "cpu", "")
    listed = visible_gpus()
    index = int(match["index"] or 0)
    if index >= len(listed):
        raise RecipeError(
            f"devices: there is no {name}; this machine shows {len(listed)} GPUs. `posttrain doctor` lists them."
        )
    return Device(name, "cuda", listed[index])


def environment_of(device: Device) -> dict[str, str]:
    """The environment of a process on `device`."""
    return dict(os.environ) if device.visible is None else {**os.environ, "CUDA_VISIBLE_DEVICES": device.visible}
