"""The one place where an evaluation opens a checkpoint: model, tokenizer and engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.errors import ModelError

if TYPE_CHECKING:
    from posttrain.engines.base import Engine
    from posttrain.engines.openai.config import ServerConfig
    from posttrain.engines.vllm.config import VLLMConfig
    from posttrain.store import Checkpoint


def open_engine(
    checkpoint: Checkpoint,
    name: str = "native",
    *,
    dtype: str = "float32",
    device: str = "auto",
    batch: int = 128,
    vllm: VLLMConfig | None = None,
    logs: Path = Path(),
    server: ServerConfig | None = None,
    prefill_chunk: int = 8192,
) -> tuple[Engine, Any]:
    """(engine, tokenizer) of a checkpoint. The caller closes the engine.

    name: native, hf (transformers' generate, the slow reference), vllm (a server of its own, with its settings and
    a folder for its logs), or openai (somebody's server; asked in chat there is no
    tokenizer, and it is None). batch: sequences decoded at once.
    ModelError for a checkpoint that can't be loaded or has no padding token, EngineError for a server that can't start.
    """
    from posttrain import engines
    from posttrain.models import load_model, load_tokenizer, pick_device

    if server is not None:
        in_ids = server.mode == "tokens"
        asked = engines.OpenAIEngine(server, model=server.model or str(checkpoint.path))
        return asked, load_tokenizer(checkpoint.model_dir, revision=checkpoint.revision) if in_ids else None
    tokenizer = load_tokenizer(checkpoint.model_dir, revision=checkpoint.revision)
    if name == "vllm":
        from posttrain.engines.vllm import VLLMEngine

        engine = VLLMEngine(checkpoint, folder=logs, config=vllm, max_batch=batch, tokenizer=tokenizer, dtype=dtype)
        return engine, tokenizer
    model = load_model(checkpoint.model_dir, revision=checkpoint.revision, dtype=dtype, device=pick_device(device))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if not isinstance(pad, int):
        raise ModelError(
            f"the tokenizer of {checkpoint.label} has neither a padding nor an end-of-text token. Set one in its "
            "tokenizer_config.json."
        )
    if name == "hf":
        return engines.HFEngine(model, pad_id=pad, max_batch=batch, tokenizer=tokenizer), tokenizer
    native = engines.NativeEngine(model, pad_id=pad, max_batch=batch, tokenizer=tokenizer, prefill_chunk=prefill_chunk)
    return native, tokenizer
