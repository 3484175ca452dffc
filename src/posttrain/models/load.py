"""Models and tokenizers from a folder or the hub, and back to a folder that every other tool loads."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from posttrain.errors import ModelError, StoreError
from posttrain.hub import resolve_model
from posttrain.models.base import find_base, is_adapter, read_base
from posttrain.models.lora import has_adapters, merged, write_adapter
from posttrain.models.quantise import dequantised
from posttrain.store.atomic import sync_folder

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

transformers_logging.disable_progress_bar()  # our own progress line says what is loading

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    ref: str | Path, *, revision: str | None = None, dtype: str = "float32", device: str = "cpu"
) -> PreTrainedModel:
    """A causal language model in evaluation mode. No remote code is ever run; only safetensors weights are read.

    An adapter's folder gives its base with the adapter merged in (in float32; a quantised base holds the values that
    it had in training). Raises ModelError where `ref` is neither a model folder nor a hub name that can be reached, and
    for an adapter whose base is gone or another one.
    """
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype!r} is unknown. Use one of {', '.join(DTYPES)}.")
    folder = _folder(ref, revision)
    if is_adapter(folder):
        return cast("PreTrainedModel", _load_adapted(folder).to(device=device, dtype=DTYPES[dtype]).eval())
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=DTYPES[dtype], trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(_cannot_load("model", ref, error)) from error
    return cast("PreTrainedModel", model.to(device).eval())


def _load_adapted(folder: Path) -> PreTrainedModel:
    facts = read_base(folder)
    where, revision = find_base(folder, facts)
    base = load_model(where, revision=revision)
    if facts.get("quantize"):
        base = dequantised(base, facts["quantize"])
    return merged(base, folder)


def load_tokenizer(ref: str | Path, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer saved beside a model. Raises ModelError where there is none."""
    folder = _folder(ref, revision)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(_cannot_load("tokenizer", ref, error)) from error
    return cast("PreTrainedTokenizerBase", tokenizer)


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    extra: Mapping[str, str] | None = None,
    state: dict[str, Tensor] | None = None,
) -> None:
    """Writes an ordinary model folder, whole or not at all: a temporary folder beside it, fsync, rename.

    A folder that stands there already is moved aside and removed only when the new one has its place. `extra` are
    further small text files by name; `state` are the weights where the module holds only a part of them. A model with
    adapters leaves the adapters and what they stand on. StoreError where the disk is full.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (folder.with_name(f".{folder.name}.{mark}.{what}tmp") for what in ("", "old."))
    try:
        if has_adapters(model):
            write_adapter(model, temporary, folder, state)
        else:
            model.save_pretrained(temporary, state_dict=state)
        _write_tokenizer(tokenizer, temporary)
        for name, text in (extra or {}).items():
            (temporary / name).write_text(text, encoding="utf-8")
        for path in temporary.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:  # a full disk is either, by the file it strikes
        shutil.rmtree(temporary, ignore_errors=True)
        raise StoreError(f"can't write the model to {folder}: {error}. Free some space and run again.") from error
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """`save_pretrained`, after tokenizer.json was written once by us: a full disk is an OSError here.

    The tokenizers library reports it as a bare Exception, which nobody can tell from a bug.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None:
        (folder / "tokenizer.json").write_text(fast.to_str(pretty=True), encoding="utf-8")
    tokenizer.save_pretrained(folder)


def pick_device(wanted: str) -> str:
    """``auto`` is the first GPU where there is one."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _folder(ref: str | Path, revision: str | None) -> Path:
    folder = resolve_model(ref, revision)
    if not (folder / "config.json").exists() and not is_adapter(folder):
        raise ModelError(
            f"{folder} is a folder without config.json: not a model. Give the folder that holds config.json."
        )
    return folder


def _cannot_load(what: str, ref: str | Path, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"can't load the {what} {str(ref)!r}: {reason} If this machine is offline, make a mirror on one that is not "
        f"(`posttrain fetch {ref}`) and point POSTTRAIN_DATA at it, or give a local model folder."
    )
