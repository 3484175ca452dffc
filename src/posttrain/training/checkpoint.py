"""Resume state: everything that makes the next step the same as if nothing had happened.

Trainable weights, optimizer state, RNG states and the loop's own counters, as safetensors and JSON (never pickle), in
`.work/resume-<step>/`. A folder with that name is complete: it was written elsewhere, fsynced and renamed. Weights that
are cut in parts over ranks are put together first, so a state can be continued by any number of ranks.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from posttrain.errors import DamagedError, StoreError, TrainingError
from posttrain.store.atomic import sync_folder
from posttrain.training.distributed import Ranks, cut_like, whole

if TYPE_CHECKING:
    from torch import nn

PREFIX = "resume-"


@dataclass(slots=True)
class Saver:
    """Saves every `every` steps, or when `seconds` have passed since the last time: *when* it saves changes nothing.

    ranks: rank 0 writes, all read. identity: what a state must have been made with to be continued (model, tokenizer,
    method), by name.
    """

    folder: Path
    model: nn.Module
    optimizer: torch.optim.Optimizer
    every: int = 0
    seconds: float = 10.0
    ranks: Ranks = field(default_factory=Ranks)
    identity: dict[str, Any] = field(default_factory=dict)
    _last: float = field(default_factory=time.monotonic)

    def maybe(self, step: int, counters: dict[str, Any]) -> bool:
        """`step` optimizer steps are done; `counters` is JSON-able state of the loop. True where it saved."""
        due = step % self.every == 0 if self.every else time.monotonic() - self._last > self.seconds
        due = due if self.every else self.ranks.agree(due)
        if due and not self.ranks.deepspeed:
            self.save(step, counters)
            self._last = time.monotonic()
            return True
        return False

    def save(self, step: int, counters: dict[str, Any]) -> None:
        """StoreError where the state can't be written; the one saved before stands then.

        All ranks call it. DeepSpeed keeps its state in a form of its own, which is not saved: its stage starts again.
        """
        if self.ranks.deepspeed:
            return
        tensors, plain = _tensors(self.model, self.optimizer)
        if self.ranks.first:
            self._write(step, counters, tensors, plain)

    def _write(self, step: int, counters: dict[str, Any], tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        target = self.folder / f"{PREFIX}{step:08d}"
        if target.exists():  # complete, and of this very step: removing it first would leave a moment without any
            return
        temporary = self.folder / f".{target.name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            save_file(tensors, temporary / "state.safetensors")
            facts = {"step": step, "counters": counters, "optimizer": plain, "identity": self._identity()}
            (temporary / "state.json").write_text(json.dumps(facts), encoding="utf-8")
        except (OSError, SafetensorError) as error:  # a full disk is either, by the file it strikes
            shutil.rmtree(temporary, ignore_errors=True)
            raise StoreError(
                f"can't save the training state to {target}: {error}. The last saved state stands: free some space "
                "and run again."
            ) from error
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        temporary.rename(target)
        sync_folder(self.folder)
        for older in self.folder.glob(f"{PREFIX}*"):
            if older != target:
                shutil.rmtree(older, ignore_errors=True)

    def restore(self) -> tuple[int, dict[str, Any]]:
        """(steps done, counters) of the newest state, loaded into model and optimizer; (0, {}) where there is none.

        DamagedError for a state whose files are cut short or changed; TrainingError for that of another model,
        tokenizer or method. All ranks call it; their number may be another than before.
        """
        if self.ranks.first:
            for stale in self.folder.glob(f".{PREFIX}*.tmp"):
                shutil.rmtree(stale, ignore_errors=True)
        states = sorted(self.folder.glob(f"{PREFIX}*"))
        if not states:
            return 0, {}
        newest = states[-1]  # an older one may be there in part: the process died while it removed it
        try:
            facts = json.loads((newest / "state.json").read_text(encoding="utf-8"))
            step, counters = int(facts["step"]), dict(facts["counters"])
            plain, identity = dict(facts["optimizer"]), dict(facts["identity"])
            tensors = load_file(newest / "state.safetensors")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DamagedError(
                f"the saved training state {newest} can't be read ({error}), so the stage can't continue from it. "
                f"Remove that folder to train again from the start, or put it back from a copy."
            ) from error
        self._check(identity, newest)
        _load(tensors, plain, self.model, self.optimizer, newest)
        return step, counters

    def _identity(self) -> dict[str, Any]:
        return {**self.identity, "optimizer": type(self.optimizer).__name__}

    def _check(self, saved: dict[str, Any], where: Path) -> None:
        now = self._identity()
        for name in now.keys() & saved.keys():
            if now[name] != saved[name]:
                raise TrainingError(
                    f"{where} is the state of another {name}: {_short(saved[name])} there, {_short(now[name])} here. "
                    "Put back what it was trained with, or start the stage again with --fresh."
                )
        if self.ranks.deepspeed:
            raise TrainingError(
                f"{where} can't be continued by {self.ranks.strategy}, which keeps its state in a form of its own. Use "
                "launch.strategy: ddp or fsdp2, or start the stage again with --fresh."
            )


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}…"


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors by name, the optimizer's plain numbers by name)."""
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    plain: dict[str, Any] = {}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for name, parameter in _trainable(model).items():
        tensors[f"weight.{name}"] = whole(parameter).contiguous()
        for key, value in optimizer.state[parameter].items():
            if isinstance(value, Tensor):
                # Copied: bitsandbytes shares one table among all tensors, which safetensors refuses.
                tensors[f"optimizer.{key}.{name}"] = whole(value).contiguous().clone()
            else:
                plain[f"{key}.{name}"] = value
    return tensors, plain


def _load(
    tensors: dict[str, Tensor],
    plain: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    where: Path,
) -> None:
    parameters = _trainable(model)
    saved = {n.removeprefix("weight.") for n in tensors if n.startswith("weight.")}
    shapes_differ = [n for n in saved & parameters.keys() if tensors[f"weight.{n}"].shape != parameters[n].shape]
    if saved != parameters.keys() or shapes_differ:
        raise TrainingError(
            f"{where} is the state of another model: its weights have other names or shapes. Start the stage again "
            "with --fresh."
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(cut_like(tensors[f"weight.{name}"], parameter))
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        if kind == "optimizer":
            field_name, _, name = rest.partition(".")
            optimizer.state[parameters[name]][field_name] = _placed(value, parameters[name], field_name)
    for key, number in plain.items():
        field_name, _, name = key.partition(".")
        optimizer.state[parameters[name]][field_name] = number
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def _placed(value: Tensor, parameter: nn.Parameter, field_name: str) -> Tensor:
    if value.shape == parameter.shape and hasattr(parameter, "device_mesh"):
        return cut_like(value, parameter).to(parameter.device)
    return value.to("cpu" if field_name == "step" and value.ndim == 0 and not value.is_cuda else parameter.device)
