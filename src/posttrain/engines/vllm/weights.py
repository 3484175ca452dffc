"""New weights for a server, and the proof that it serves them.

A server's word counts for nothing: vLLM's CPU build 0.32 answers 200 to a reload within 50 ms and then serves wrong
weights. So fixed sequences (the canary) are scored on both sides, by the server and by the module's own forward.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import save_file
from torch import nn

from posttrain.engines.native.adapters import causal_model
from posttrain.engines.parity import compare, module_logprobs
from posttrain.errors import EngineError, StoreError
from posttrain.models import has_adapters
from posttrain.models.quantise import dense_weight, is_quantised

MEMORY = Path("/dev/shm")  # a file system in RAM: weights pass from process to process without touching a disk
CANARY_SEQUENCES = 4
CANARY_TOKENS = 32
EXACT_MAX = 1e-4  # float32: largest difference of a token's log-probability
ROUGH_MEAN = 0.05  # bfloat16 and float16: mean difference

How = Literal["start", "endpoint", "restart", "adapter"]


@dataclass(frozen=True, slots=True)
class Proof:
    """What the canary saw. Differences are of natural-log probabilities, server against module, over `tokens`.

    how: how the weights got there. moved: mean difference of the module's own values between these weights and those
    served before; a canary can't tell apart what moved less than the tolerance, and need not.
    """

    version: int
    how: How
    tokens: int
    max: float
    mean: float
    moved: float
    tolerance: float
    ok: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Largest allowed difference of one token (exact) or of the mean over tokens."""

    value: float
    exact: bool

    @classmethod
    def of(cls, dtype: str, wanted: float | None) -> Tolerance:
        """`wanted`, or what the precision explains."""
        exact = dtype == "float32"
        return cls(wanted if wanted is not None else EXACT_MAX if exact else ROUGH_MEAN, exact)

    def __str__(self) -> str:
        return f"{'at most' if self.exact else 'on average'} {self.value:g}"


class Canary:
    """Fixed sequences and what the module says of them. `expected` is kept, for servers that must be proven again."""

    def __init__(self, vocab: int, context: int, tolerance: Tolerance) -> None:
        draw = random.Random(0)
        length = min(CANARY_TOKENS, context - 1)
        self.sequences = [tuple(draw.randrange(vocab) for _ in range(length)) for _ in range(CANARY_SEQUENCES)]
        self.context, self.tolerance = context, tolerance
        self.expected: list[float] | None = None
        self.moved = 0.0

    def expect(self, module: nn.Module) -> None:
        """Scores the sequences with the module's own forward (dropout off, for the moment)."""
        training = module.training
        module.eval()
        values = [value for sequence in self.sequences for value in module_logprobs(module, sequence)]
        module.train(training)
        if self.expected is not None:
            self.moved = compare(self.expected, values).mean_difference
        self.expected = values

    def check(self, served: Sequence[float], version: int, how: How) -> Proof:
        """Server's values against the expected ones. NaN never holds."""
        assert self.expected is not None
        difference = compare(served, self.expected)
        seen = difference.max_difference if self.tolerance.exact else difference.mean_difference
        return Proof(
            version=version,
            how=how,
            tokens=difference.tokens,
            max=difference.max_difference,
            mean=difference.mean_difference,
            moved=self.moved,
            tolerance=self.tolerance.value,
            ok=seen <= self.tolerance.value,
        )


def wrong_weights(proof: Proof, tolerance: Tolerance, remedy: str) -> EngineError:
    """The error that stops a run."""
    return EngineError(
        f"the vLLM server does not serve the weights of version {proof.version} (loaded by {proof.how}): on the "
        f"canary's {proof.tokens} tokens its log-probabilities differ from the module's by at most {proof.max:.3g}, "
        f"on average {proof.mean:.3g}; allowed is {tolerance}. {remedy}"
    )


class WeightFolders:
    """Model folders that servers load from, in RAM where it has the room. The current one is kept for restarts.

    untie: write a model whose output projection is its embedding as one with two matrices. vLLM's CPU build packs the
    projection when it starts, and a reload brings only the embedding up to date; two matrices it reloads rightly.
    """

    def __init__(self, fallback: Path, *, untie: bool) -> None:
        self.untie = untie
        self.root = Path(tempfile.mkdtemp(prefix="posttrain-weights-", dir=_writable(MEMORY)))
        self.fallback = fallback
        self.current: Path | None = None

    def write(self, module: nn.Module, version: int) -> Path:
        """An ordinary model folder of `module`. StoreError where there is no room for it."""
        needed = sum(p.numel() * p.element_size() for p in module.parameters())
        for root in (self.root, self.fallback):
            root.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(root).free > needed * 1.1:
                folder = root / f"weights-{version:06d}"
                shutil.rmtree(folder, ignore_errors=True)
                save_plain(module, folder, untie=self.untie)
                return folder
        raise StoreError(
            f"the weights for the vLLM server need {needed / 1e9:.1f} GB, and neither {self.root} nor {self.fallback} "
            "has the room. Free some space."
        )

    def keep(self, folder: Path) -> None:
        """`folder` is served from now on; the one before is removed, if it was ours."""
        before, self.current = self.current, folder
        if before is not None and before != folder and before.parent in (self.root, self.fallback):
            shutil.rmtree(before, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
        if self.current is not None and self.current.parent == self.fallback:
            shutil.rmtree(self.current, ignore_errors=True)


def _writable(folder: Path) -> Path | None:
    return folder if folder.is_dir() and os.access(folder, os.W_OK) else None


def is_adapted(module: nn.Module) -> bool:
    """Whether there are adapters: by peft around the module, or inside it as training puts them there."""
    return hasattr(module, "get_base_model") or has_adapters(module)


def save_plain(module: nn.Module, folder: Path, *, untie: bool) -> None:
    """The module's own weights as an ordinary model folder: without its adapters, dense where they are quantised."""
    adapted = is_adapted(module)
    base: Any = causal_model(module)
    tied = bool(base.config.tie_word_embeddings)
    untie = untie and tied and not adapted  # a base beside its adapter is never reloaded
    if not (adapted or untie or any(is_quantised(layer) for layer in base.modules())):
        base.save_pretrained(folder)
        return
    state = _dense_state(base)
    settings = copy.deepcopy(base.config)
    settings.architectures = [type(base).__name__]
    if untie:
        state["lm_head.weight"] = base.get_output_embeddings().weight.detach().cpu().clone()
        settings.tie_word_embeddings = False
    elif tied:
        state.pop("lm_head.weight", None)
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    settings.save_pretrained(folder)


def _dense_state(base: nn.Module) -> dict[str, torch.Tensor]:
    """Weights by the names they have without adapters, quantised layers as the matrices they multiply by."""
    # peft's wrapper of a quantised layer has the same class name; the layer itself is its base_layer.
    layers = {name: layer for name, layer in base.named_modules() if not hasattr(layer, "base_layer")}
    quantised = {name: layer for name, layer in layers.items() if is_quantised(layer)}
    state = {
        name: value
        for name, value in base.state_dict().items()
        if "lora_" not in name
        and not any(name.startswith(f"{layer}.") and name != f"{layer}.bias" for layer in quantised)
    }
    dtype = next(value.dtype for value in state.values() if value.is_floating_point())
    state |= {f"{name}.weight": dense_weight(layer).to(dtype) for name, layer in quantised.items()}
    return {name.replace(".base_layer.", "."): value.detach().cpu().contiguous() for name, value in state.items()}


def save_adapter(module: nn.Module, folder: Path) -> int:
    """peft's own folder of the active adapter; returns its rank. EngineError for adapters vLLM can't serve."""
    adapted = cast(Any, module)
    wrapped = hasattr(module, "get_base_model")
    active = list(adapted.active_adapters if wrapped else adapted.active_adapters())
    if len(active) != 1:
        raise EngineError(
            f"the vLLM engine serves one adapter at a time, and {len(active)} are active ({', '.join(active)}). "
            "Activate one, or use the native engine."
        )
    settings = adapted.peft_config[active[0]]
    if getattr(settings, "peft_type", None) != "LORA" or getattr(settings, "modules_to_save", None):
        raise EngineError(
            "the vLLM engine serves plain LoRA adapters without modules_to_save. Use the native engine for this one."
        )
    adapted.save_pretrained(folder, **({"selected_adapters": active} if wrapped else {}))
    return int(settings.r)
