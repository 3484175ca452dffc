"""What a manifest says of the code, the libraries and the machine that made an artifact. Imports none of them."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import posttrain

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pyarrow", "pydantic", "datasets")


@functools.cache
def code_version() -> dict[str, Any]:
    """posttrain's version; in a git checkout also its commit, and whether the package's files differ from it."""
    package = Path(posttrain.__file__).parent
    version: dict[str, Any] = {"posttrain": posttrain.__version__}
    if not (package.parent.parent / ".git").exists():
        return version  # installed: the version says it all
    commit = _git(package, "rev-parse", "HEAD")
    if commit:
        version["commit"] = commit
        version["changed"] = bool(_git(package, "status", "--porcelain", "--", "."))
    return version


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""  # no git here: the version alone has to do
    return done.stdout.strip() if done.returncode == 0 else ""


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of what can change a result, read from package metadata."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def hardware() -> dict[str, Any]:
    """CPU model, cores this process may use, memory in GiB, GPU names."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpus": gpu_names(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def gpu_names() -> list[str]:
    """NVIDIA GPUs as the driver lists them, in its order."""
    names = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in path.read_text().splitlines():
            if line.startswith("Model:"):
                names.append(line.partition(":")[2].strip())
    return names


def visible_gpus() -> list[str]:
    """Entries of CUDA_VISIBLE_DEVICES, or the indexes of all GPUs where it is not set."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    if setting is not None:
        return [entry.strip() for entry in setting.split(",") if entry.strip() not in ("", "-1")]
    return sorted((p.name.removeprefix("nvidia") for p in Path("/dev").glob("nvidia[0-9]*")), key=int)
