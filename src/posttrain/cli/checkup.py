"""What `posttrain doctor` looks at. Reads metadata and /proc; imports no torch."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from posttrain.engines.vllm import VLLMConfig
from posttrain.engines.vllm.server import find_environment
from posttrain.errors import EngineError
from posttrain.store.environment import gpu_names, hardware

EXTRAS = {
    "hub": ("datasets", "huggingface_hub"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
    "tensorboard": ("tensorboard",),
}
CPU_FLAGS = {"amx_bf16": "AMX bf16", "avx512_bf16": "AVX512 bf16", "avx2": "AVX2"}
LOW_DISK_GB = 10
LOW_MEMORY_GIB = 4


class Finding(NamedTuple):
    """One line: what was looked at, whether it is fine, the fact, and what to do where it is not."""

    subject: str
    ok: bool
    fact: str
    remedy: str = ""


def look() -> list[Finding]:
    """Everything, in the order people care about."""
    return [*_python(), *_machine(), *_gpus(), *_extras(), *_vllm(), *_mirror(), *_disk()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]}, {sys.executable}")
    for name, low, high in (("torch", (2, 11), (2, 14)), ("transformers", (5, 16), (6, 0))):
        version = _version(name)
        if version is None:
            yield Finding(name, False, "not installed", "pip install posttrain brings it")
            continue
        numbers = tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in version.split(".")[:2])
        fits = low <= numbers < high
        supported = f"supported: {'.'.join(map(str, low))} to below {'.'.join(map(str, high))}"
        yield Finding(name, fits, version, "" if fits else supported)


def _machine() -> Iterator[Finding]:
    facts = hardware()
    yield Finding("cpu", True, f"{facts['cpu']}, {facts['cores']} cores")
    info = Path("/proc/cpuinfo")
    flags = (
        next((line.split() for line in info.read_text().splitlines() if line.startswith("flags")), [])
        if info.exists()
        else []
    )
    found = [word for flag, word in CPU_FLAGS.items() if flag in flags]
    fast = any("bf16" in word for word in found)
    remedy = "" if fast else "no bf16 in this CPU: train in float32 here"
    yield Finding("cpu bf16", fast, ", ".join(found) or "none of AMX bf16, AVX512 bf16, AVX2", remedy)
    memory = facts["memory_gib"]
    yield Finding("memory", memory >= LOW_MEMORY_GIB, f"{memory} GiB")


def _gpus() -> Iterator[Finding]:
    names = gpu_names()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "" if visible is None else f", CUDA_VISIBLE_DEVICES={visible}"
    remedy = "" if names else "none is needed for quickstart; a 1.5B model wants one"
    yield Finding("gpus", bool(names), (", ".join(names) or "none") + seen, remedy)


def _extras() -> Iterator[Finding]:
    for extra, packages in EXTRAS.items():
        versions = {name: _version(name) for name in packages}
        there = all(versions.values())
        fact = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
        yield Finding(f"extra {extra}", there, fact, "" if there else f"pip install 'posttrain[{extra}]'")


def _vllm() -> Iterator[Finding]:
    try:
        found = find_environment(VLLMConfig())
    except EngineError as missing:
        yield Finding("vllm environment", False, "none", f"optional; {missing}")
        return
    yield Finding("vllm environment", True, f"{found.python} ({'CPU' if found.cpu else 'GPU'} build)")


def _mirror() -> Iterator[Finding]:
    given = os.environ.get("POSTTRAIN_DATA")
    there = given is not None and Path(given).is_dir()
    remedy = "" if there else "optional; POSTTRAIN_DATA names a local mirror, `posttrain fetch` makes one"
    yield Finding("data mirror", there, given or "POSTTRAIN_DATA is not set", remedy)


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(".").free / 1e9
    yield Finding(
        "disk here", free >= LOW_DISK_GB, f"{free:.0f} GB free", "" if free >= LOW_DISK_GB else "checkpoints are big"
    )
