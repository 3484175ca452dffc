"""NativeEngine: the Engine protocol over the scheduler, the cache and the runner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.hf import context_of, load_into
from posttrain.engines.native import runner
from posttrain.engines.native.adapters import UnsupportedError, causal_model
from posttrain.engines.native.cache import BLOCK, Cache
from posttrain.engines.native.fallback import ModuleBatch, module_scores
from posttrain.engines.native.rows import Rows
from posttrain.engines.native.scheduler import PREFILL_CHUNK, Batch, Counters
from posttrain.engines.native.static import StaticDecoder, settle
from posttrain.engines.native.weights import Shape, Weights, read_shape, read_weights, rotation_table
from posttrain.engines.stops import StopTable
from posttrain.errors import EngineError
from posttrain.records import Completion
from posttrain.store import Checkpoint

SCORE_TOKENS = 8192  # padded tokens in one scoring batch
SCORE_LOGITS = 1 << 24  # logits held at once while scoring


class NativeEngine:
    """Samples from and scores with `model`, reading its weights anew at each call.

    Qwen2, Qwen3 and Llama with plain LoRA adapters run by a lean path of our own; everything else by the module's own
    forward (fallback.py), and `fallback` then says why.

    pad_id: any valid token id; it fills prompts on the right and is never seen.
    max_batch: rows that run at once. max_context: at most the model's own.
    tokenizer: needed only for stop strings. dtype: computes in another precision than the module's own (bfloat16 where
    the processor has it); the weights are then converted at each call.
    kv_budget: at most so many tokens of keys and values at once; samples that don't fit wait, or go back to the queue
    and are computed again. At least one full context.
    prefill_chunk: at most about so many prompt tokens are computed between two tokens of the running samples.
    compiled: use the C kernel for decoding where a compiler is at hand (on the CPU, float32 and bfloat16).
    static: decode with fixed buffers, on a GPU as CUDA graphs (static.py); None = on a GPU.
    Raises EngineError for options out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        pad_id: int,
        max_batch: int = 256,
        max_context: int | None = None,
        tokenizer: Any = None,
        dtype: torch.dtype | None = None,
        compiled: bool = True,
        kv_budget: int | None = None,
        prefill_chunk: int = PREFILL_CHUNK,
        static: bool | None = None,
    ) -> None:
        self.model = model
        config: Any = model.config
        self.vocab = int(config.get_text_config().vocab_size)
        positions = context_of(config)
        if not 0 <= pad_id < self.vocab:
            raise EngineError(
                f"pad_id is {pad_id}, outside the model's vocabulary of {self.vocab}. Pass any id the model has, "
                "e.g. tokenizer.pad_token_id or tokenizer.eos_token_id."
            )
        if max_batch < 1:
            raise EngineError(f"max_batch is {max_batch}; it must be at least 1, and 64 to 256 is usual.")
        if max_context is not None and not 2 <= max_context <= positions:
            raise EngineError(
                f"max_context is {max_context}; this model has positions for 2 to {positions} tokens. "
                "Leave it out to use all of them."
            )
        self.pad_id, self.max_batch, self.tokenizer, self.dtype = pad_id, max_batch, tokenizer, dtype
        self.context = max_context or positions
        if kv_budget is not None and kv_budget < self.context + BLOCK:
            raise EngineError(
                f"kv_budget is {kv_budget} tokens, less than one sample of the full context of {self.context} and a "
                f"block of {BLOCK}. Raise it, or lower max_context."
            )
        if prefill_chunk < 1:
            raise EngineError(f"prefill_chunk is {prefill_chunk}; it must be at least 1, and 512 to 8192 is usual.")
        self.prefill_chunk = prefill_chunk
        self.compiled, self.kv_budget = compiled, kv_budget
        self.version = 0
        self.counters = Counters()
        self._cancelled: set[str] = set()
        self._stops = StopTable(tokenizer, self.vocab)
        self._spare: Cache | None = None
        self._shape: Shape | None = None
        self._rotation = torch.empty(0)
        self.fallback: str | None = None
        device = next(model.parameters()).device
        wanted = device.type == "cuda" if static is None else static
        self._static = StaticDecoder(max_batch, device) if wanted else None
        self._settled: Weights | None = None
        try:
            self._shape = read_shape(model)
            self._rotation = rotation_table(causal_model(model), self.context, device)
        except UnsupportedError as reason:
            self.fallback = str(reason)

    def _weights(self) -> Weights | None:
        """The module's present weights laid out, None (and `fallback` says why) where the lean path doesn't know them.

        Asked at every call, since adapters come and go. EngineError where the module can't compute in `dtype` itself.
        """
        if self._shape is not None:
            self.fallback = None
            base = causal_model(self.model)
            try:
                weights = read_weights(
                    base, self._shape, self._rotation, self.dtype, compiled=self.compiled, rows=self.max_batch
                )
                if self._static is not None and weights.embed.device.type == "cuda":
                    with torch.inference_mode():
                        weights = self._settled = settle(self._settled, weights) if self._settled else weights
                return weights
            except UnsupportedError as reason:
                self.fallback = str(reason)
        own = next(self.model.parameters()).dtype
        if self.dtype not in (None, own):
            raise EngineError(
                f"dtype is {self.dtype}, and this model runs by its own forward in {own} ({self.fallback}). "
                "Leave dtype out, or load the model in the precision wanted."
            )
        return None

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish; prompts are pulled as rows free. The weights are those of the first pull.

        Raises EngineError for a prompt that can't be run and for logits that are not finite.
        """
        batch = self.live(iter(prompts), sampling)
        try:
            while True:
                # Not held across the yield: the caller may train between two completions.
                with torch.inference_mode():
                    cancelled = batch.cancel(self._cancelled) if self._cancelled else []
                    self._cancelled.clear()
                    finished = batch.step()
                yield from cancelled
                if finished is None:
                    return
                yield from finished
        finally:
            self._keep(batch)

    def cancel(self, key: str) -> None:
        """End the samples of the prompt `key` before the next token: running ones come back as `cancelled` with what
        they have said, those that had not begun do not come. A key that is not at work is forgotten."""
        self._cancelled.add(key)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[int]:
        """Token ids of one sample as they come, the stop token included."""
        batch = self.live(iter([replace(prompt, sampling=None)]), replace(sampling, n=1))
        seen = 0
        try:
            while True:
                with torch.inference_mode():
                    finished = batch.step()
                if finished is None:
                    return
                rows = batch.rows
                ids = finished[0].token_ids if finished else tuple(rows.tokens[0, : rows.counts[0]].tolist())
                yield from ids[seen:]
                seen = len(ids)
        finally:
            self._keep(batch)

    def live(self, prompts: Iterator[Prompt | None], sampling: Sampling) -> Batch | ModuleBatch:
        """The work itself, to be driven step by step: for callers that look at running samples, as the server does.

        prompts may give None for "none at the moment". EngineError for stops that can't be.
        """
        self._stops.of(sampling)  # refuse before anything is computed
        rows = Rows(self.max_batch, self.context, self.version, self._stops)
        with torch.inference_mode():
            weights = self._weights()
            if weights is None:
                return ModuleBatch(
                    self.model,
                    rows,
                    prompts,
                    sampling,
                    vocab=self.vocab,
                    pad_id=self.pad_id,
                    counters=self.counters,
                    budget=self.kv_budget,
                )
            cache, self._spare = self._spare, None
            device, dtype = weights.embed.device, weights.flow
            if cache is None or cache.device != device or cache.dtype != dtype:
                cache = Cache(weights.shape, self.max_batch, device, dtype, self.kv_budget)
            return Batch(
                weights,
                cache,
                rows,
                prompts,
                sampling,
                pad_id=self.pad_id,
                counters=self.counters,
                prefill_chunk=self.prefill_chunk,
                static=self._static,
            )

    def _keep(self, batch: Batch | ModuleBatch) -> None:
        """The memory of a finished call serves the next."""
        if isinstance(batch, Batch):
            self._spare = batch.cache

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """For each sequence of T ids: log p(id_t | id_<t) for t = 1..T-1 at temperature 1, in the given order."""
        weights = self._weights()
        pending: list[Sequence[int]] = []
        longest = 0
        for number, sequence in enumerate(sequences):
            Prompt(f"sequence {number}", tuple(sequence)).check(self.vocab, self.context + 1)
            if weights is None:
                yield module_scores(self.model, sequence)
                continue
            if pending and max(longest, len(sequence)) * (len(pending) + 1) > SCORE_TOKENS:
                yield from self._score(pending, weights)
                pending, longest = [], 0
            pending.append(sequence)
            longest = max(longest, len(sequence))
        if pending and weights is not None:
            yield from self._score(pending, weights)

    def _score(self, sequences: list[Sequence[int]], weights: Weights) -> list[list[float]]:
        with torch.inference_mode():
            device = weights.embed.device
            length = max(len(s) for s in sequences)
            ids = np.full((len(sequences), length), self.pad_id, dtype=np.int64)
            for row, sequence in enumerate(sequences):
                ids[row, : len(sequence)] = sequence
            tokens = torch.from_numpy(ids).to(device)
            if length < 2:
                return [[] for _ in sequences]
            hidden, _ = runner.prefill(tokens[:, :-1], weights)
            flat, wanted = hidden.flatten(0, 1), tokens[:, 1:].flatten()
            chunk = max(1, SCORE_LOGITS // self.vocab)
            parts = []
            for begin in range(0, flat.shape[0], chunk):
                logits = runner.head(flat[begin : begin + chunk], weights)
                parts.append(-F.cross_entropy(logits, wanted[begin : begin + chunk], reduction="none"))
            scores: NDArray[np.float32] = torch.cat(parts).view(len(sequences), -1).cpu().numpy()
            return [scores[row, : len(s) - 1].tolist() for row, s in enumerate(sequences)]

    def load_weights(self, source: Checkpoint | nn.Module, version: int) -> None:
        """Serve `source` from now on: the module itself (already in place), another module, or a checkpoint's files."""
        load_into(self.model, source)
        self.version = version

    def close(self) -> None:
        """Give memory and graphs back."""
        self._spare = self._settled = None
        if self._static is not None:
            self._static.captured.clear()
