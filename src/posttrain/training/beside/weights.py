"""Weights on their way from the trainer to the process beside it: ordinary model folders, in memory where it has room.

    /dev/shm/posttrain-UID-HASH/step-000040/    in memory; HASH is of the stage's folder: a later process finds it
    STAGE/.validation/step-000040/              on the disk: what memory had no room for, and what was missed
    STAGE/.validation/skeleton/                 config and tokenizer, the same for all; the folders above link to it

A folder with such a name is whole: it was written as `.step-000040.tmp` and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from posttrain.models.lora import has_adapters, plain_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MEMORY = Path("/dev/shm")
HOME = ".validation"  # in the stage's folder; hidden, so no part of the artifact
WEIGHTS = "model.safetensors"
SPARE = 2  # a place must have room for so many times what is put there
_STEP = re.compile(r"^step-(\d+)$")
_DTYPES = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True, slots=True)
class Shelf:
    """Both places of one stage. `memory` is None where there is no RAM-backed storage of our own."""

    home: Path
    memory: Path | None

    @property
    def skeleton(self) -> Path:
        return self.home / "skeleton"

    @property
    def asked(self) -> Path:
        return self.home / "asked"

    @property
    def log(self) -> Path:
        """What the process beside said."""
        return self.home / "worker.log"

    def found(self) -> dict[int, Path]:
        """Whole snapshots by step; one that stands twice (its move was interrupted) is the one on the disk."""
        found: dict[int, Path] = {}
        for place in (self.memory, self.home):
            for path in place.iterdir() if place is not None and place.is_dir() else ():
                match = _STEP.match(path.name)
                if match:
                    found[int(match[1])] = path
        return dict(sorted(found.items()))

    def in_memory(self) -> int:
        """How many snapshots stand in memory."""
        return sum(path.parent == self.memory for path in self.found().values())

    def put(self, tensors: dict[str, Tensor], step: int, *, pending: int) -> Path | None:
        """Writes the weights as a model folder: to memory if fewer than `pending` stand there, else to the disk.

        None where neither has room.
        """
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        places = [self.home]
        if self.memory is not None and self.in_memory() < pending:
            places.insert(0, self.memory)
        for place in places:
            if _room(place) < SPARE * size:
                continue
            temporary = self._begin(place, step)
            try:
                write_safetensors(temporary / WEIGHTS, tensors)
            except OSError:  # full after all
                shutil.rmtree(temporary, ignore_errors=True)
                continue
            return _done(temporary)
        return None

    def keep(self) -> list[int]:
        """Moves what stands in memory to the disk, frees the memory, and tells the steps that are on the disk now.

        A snapshot for which the disk has no room is lost.
        """
        for step, path in self.found().items():
            if path.parent == self.memory and _room(self.home) > SPARE * (path / WEIGHTS).stat().st_size:
                temporary = self._begin(self.home, step)
                shutil.copyfile(path / WEIGHTS, temporary / WEIGHTS)
                _done(temporary)
        self.free()
        return list(self.found())

    def free(self) -> None:
        """Gives the memory back."""
        if self.memory is not None:
            shutil.rmtree(self.memory, ignore_errors=True)

    def _begin(self, place: Path, step: int) -> Path:
        """A new folder under its temporary name, with the skeleton linked in."""
        temporary = place / f".step-{step:06d}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for path in self.skeleton.iterdir():
            (temporary / path.name).symlink_to(
                path.resolve() if place == self.memory else Path("../skeleton") / path.name
            )
        return temporary


def _done(temporary: Path) -> Path:
    target = temporary.with_name(temporary.name.removeprefix(".").removesuffix(".tmp"))
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    return target


def open_shelf(stage: Path) -> Shelf:
    """The places of the stage in this folder, made where they are missing.

    Memory of stages whose folder is gone is freed on the way: nobody would come back for it.
    """
    home = stage.resolve() / HOME
    home.mkdir(parents=True, exist_ok=True)
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return Shelf(home, None)
    prefix = f"posttrain-{os.getuid()}-"
    for other in MEMORY.glob(f"{prefix}*"):
        owner = other / "of"
        if _ours(other) and owner.is_file() and not Path(owner.read_text(encoding="utf-8")).is_dir():
            shutil.rmtree(other, ignore_errors=True)
    memory = MEMORY / f"{prefix}{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"
    memory.mkdir(mode=0o700, exist_ok=True)
    if not _ours(memory):  # another user may write to /dev/shm too
        return Shelf(home, None)
    (memory / "of").write_text(str(home), encoding="utf-8")
    return Shelf(home, memory)


def _ours(path: Path) -> bool:
    facts = path.lstat()
    return path.is_dir() and not path.is_symlink() and facts.st_uid == os.getuid()


def _room(place: Path) -> int:
    facts = os.statvfs(place)
    return facts.f_bavail * facts.f_frsize


def write_skeleton(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Everything of a model folder but the weights."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def weights_of(model: PreTrainedModel, state: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The model's tensors under their names, one of each that several names share (tied embeddings).

    state: the tensors, where the module itself holds parts of them only.
    """
    if state is None:
        state = plain_weights(model) if has_adapters(model) else model.state_dict()
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, torch.Size]] = set()
    for name, tensor in state.items():
        mark = (tensor.data_ptr(), tensor.shape)
        if mark not in seen:
            seen.add(mark)
            found[name] = tensor
    return found


def write_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """The safetensors format, each tensor copied once (its library makes a second copy in memory first).

    An 8-byte little-endian length, a JSON header padded to 8 bytes, the data without gaps
    (github.com/huggingface/safetensors, "Format"). OSError where there is no room.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            flat = tensor.detach().to("cpu").contiguous().reshape(-1)
            file.write(flat.view(torch.uint8).numpy().data)
