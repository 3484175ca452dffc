"""GPUs that one hasn't got: their memory, assumed speed and price, to plan for. No torch."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextvars import ContextVar
from importlib.resources import as_file, files
from pathlib import Path

from pydantic import Field

from posttrain.config import Config, load_yaml, parse
from posttrain.errors import RecipeError

USABLE = 0.92  # of a GPU's memory: the rest is the driver's, the libraries' and what fragments
EFFICIENCY = 1 / 3  # of the peak, reached in training
WORDS = re.compile(r"(?:(\d+)\s*[x×*]\s*)?(\d+)\s*(?:GB)?", re.IGNORECASE)


class Peak(Config):
    """Operations per second of dense matrix products."""

    float32: float = Field(gt=0)
    bfloat16: float = Field(gt=0)


class Gpu(Config):
    """One kind of GPU. price: dollars per hour of one."""

    memory_gb: int = Field(gt=0)
    name: str
    peak: Peak
    price: float = Field(ge=0)

    @property
    def usable(self) -> float:
        """Bytes that a process can have."""
        return USABLE * self.memory_gb * 1e9

    def training(self, dtype: str) -> float:
        """Operations per second in training."""
        return EFFICIENCY * (self.peak.float32 if dtype == "float32" else self.peak.bfloat16)


class GpuTable(Config):
    """A file of GPUs and prices."""

    as_of: str
    gpus: tuple[Gpu, ...] = Field(min_length=1)


def gpu_table(path: Path | None = None) -> GpuTable:
    """A user's table, or the one that ships. RecipeError where it can't be read."""
    if path is not None:
        return parse(GpuTable, load_yaml(path), str(path))
    with as_file(files("posttrain.models").joinpath("gpus.yaml")) as packaged:
        return parse(GpuTable, load_yaml(packaged), "gpus.yaml")


def read_wish(text: str, table: GpuTable) -> tuple[int, Gpu]:
    """ "24" or "4x80": how many, and which. RecipeError for anything else, or memory that no GPU of the table has."""
    match = WORDS.fullmatch(text.strip())
    known = {gpu.memory_gb: gpu for gpu in table.gpus}
    if match is None or int(match[1] or 1) < 1 or int(match[2]) not in known:
        raise RecipeError(
            f"no GPU {text!r} to plan for. Write its memory in GB, and how many: 24, 4x80. "
            f"Known: {', '.join(map(str, known))}; others by --prices FILE."
        )
    return int(match[1] or 1), known[int(match[2])]


_PLANNED: ContextVar[Gpu | None] = ContextVar("planned", default=None)


@contextlib.contextmanager
def planned_on(gpu: Gpu) -> Iterator[None]:
    """Forecasts made in this block are of `gpu` and not of this machine."""
    token = _PLANNED.set(gpu)
    try:
        yield
    finally:
        _PLANNED.reset(token)


def planned_gpu() -> Gpu | None:
    """The GPU that is being planned for; None: this machine."""
    return _PLANNED.get()
