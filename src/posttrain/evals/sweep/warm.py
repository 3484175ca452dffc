"""One engine kept warm over the checkpoints of a sweep: the next one's weights are put into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.models.base import is_adapter
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, digest_files, sha256_file

if TYPE_CHECKING:
    from torch import nn

    from posttrain.engines.base import Engine
    from posttrain.evals.sweep.config import SweepConfig

# Files that decide the architecture and the tokens. Where they are the same, byte for byte, only weights differ.
SHAPING = (
    "config.json",
    "generation_config.json",
    "adapter_config.json",
    "adapter_base.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)


class WarmEngine:
    """Opens an engine for the first checkpoint and swaps weights for the others. Close it in the end.

    opened, swapped: how often each was done.
    """

    def __init__(self, config: SweepConfig, work: Workspace) -> None:
        self.config = config
        self.work = work
        self.opened = self.swapped = 0
        self._kind: str | None = None
        self._serving: tuple[Engine, Any] | None = None

    def serve(self, checkpoint: Checkpoint) -> tuple[Engine, Any]:
        """(engine, tokenizer) with these weights. ModelError and EngineError as for opening an engine."""
        kind = kind_of(checkpoint.model_dir)
        if self._serving is not None and kind == self._kind:
            engine, tokenizer = self._serving
            engine.load_weights(self._source(checkpoint), self.opened + self.swapped)
            self.swapped += 1
            return engine, tokenizer
        self.close()
        from posttrain.evals.engines import open_engine

        self._serving = open_engine(
            checkpoint,
            self.config.engine,
            dtype=self.config.dtype,
            device=self.work.device,
            batch=self.config.batch,
            vllm=self.config.vllm,
            logs=self.work.state / "vllm",
            prefill_chunk=self.config.prefill_chunk,
        )
        self._kind = kind
        self.opened += 1
        return self._serving

    def _source(self, checkpoint: Checkpoint) -> Checkpoint | nn.Module:
        """A server reads whole models from their files; everything else is given a module, adapters merged in."""
        folder = checkpoint.model_dir
        if self.config.engine == "vllm" and not is_adapter(folder):
            return checkpoint
        from posttrain.models import load_model

        model: nn.Module = load_model(folder, dtype=self.config.dtype)
        return model

    def close(self) -> None:
        if self._serving is not None:
            self._serving[0].close()
            self._serving = self._kind = None


def kind_of(folder: Path) -> str:
    """A digest of everything about a checkpoint but its weights."""
    return digest_files({name: sha256_file(folder / name) for name in SHAPING if (folder / name).is_file()})
