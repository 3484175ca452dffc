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
from posttrain.engines.hf import load_into
from posttrain.engines.native import runner
from posttrain.engines.native.adapters import causal_model
from posttrain.engines.native.cache import BLOCK, Cache
from posttrain.engines.native.scheduler import Batch, Counters
from posttrain.engines.native.weights import Weights, read_shape, read_weights, rotation_table
from posttrain.engines.stops import StopStrings
from posttrain.errors import EngineError
from posttrain.records import Completion
from posttrain.store import Checkpoint

SCORE_TOKENS = 8192  # padded tokens in one scoring batch
SCORE_LOGITS = 1 << 24  # logits held at once while scoring


class NativeEngine:
    """Samples from and scores with `model` (Qwen2, Qwen3, Llama), reading its weights anew at each call.

    pad_id: any valid token id; it fills prompts on the right and is never seen.
    max_batch: rows that run at once. max_context: at most the model's own.
    tokenizer: needed only for stop strings. dtype: computes in another precision than the module's own (bfloat16 where
    the processor has it); the weights are then converted at each call.
    kv_budget: at most so many tokens of keys and values at once; samples that don't fit wait, or go back to the queue
    and are computed again. At least one full context.
    compiled: use the C kernel for decoding where a compiler is at hand (float32 on the CPU).
    Raises EngineError for an architecture it does not know and for options out of range.
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
    ) -> None:
        self.model = model
        self.shape = read_shape(model)
        if not 0 <= pad_id < self.shape.vocab:
            raise EngineError(
                f"pad_id is {pad_id}, outside the model's vocabulary of {self.shape.vocab}. Pass any id the model has, "
                "e.g. tokenizer.pad_token_id or tokenizer.eos_token_id."
            )
        if max_batch < 1:
            raise EngineError(f"max_batch is {max_batch}; it must be at least 1, and 64 to 256 is usual.")
        if max_context is not None and not 2 <= max_context <= self.shape.context:
            raise EngineError(
                f"max_context is {max_context}; this model has positions for 2 to {self.shape.context} tokens. "
                "Leave it out to use all of them."
            )
        self.pad_id, self.max_batch, self.tokenizer, self.dtype = pad_id, max_batch, tokenizer, dtype
        self.context = max_context or self.shape.context
        if kv_budget is not None and kv_budget < self.context + BLOCK:
            raise EngineError(
                f"kv_budget is {kv_budget} tokens, less than one sample of the full context of {self.context} and a "
                f"block of {BLOCK}. Raise it, or lower max_context."
            )
        self.compiled, self.kv_budget = compiled, kv_budget
        self.version = 0
        self.counters = Counters()
        self._cancelled: set[str] = set()
        self._stops: tuple[tuple[tuple[str, ...], bool], StopStrings] | None = None
        self._spare: Cache | None = None
        self._rotation = rotation_table(causal_model(model), self.context, self._device())

    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _weights(self) -> Weights:
        return read_weights(causal_model(self.model), self.shape, self._rotation, self.dtype, compiled=self.compiled)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish; prompts are pulled as rows free. The weights are those of the first pull.

        Raises EngineError for a prompt that can't be run and for logits that are not finite.
        """
        batch = self._batch(iter(prompts), sampling)
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
            self._spare = batch.cache

    def cancel(self, key: str) -> None:
        """End the samples of the prompt `key` before the next token: running ones come back as `cancelled` with what
        they have said, those that had not begun do not come. A key that is not at work is forgotten."""
        self._cancelled.add(key)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[int]:
        """Token ids of one sample as they come, the stop token included."""
        batch = self._batch(iter([prompt]), replace(sampling, n=1))
        seen = 0
        try:
            while True:
                with torch.inference_mode():
                    finished = batch.step()
                if finished is None:
                    return
                ids = finished[0].token_ids if finished else tuple(batch.tokens[0, : batch.counts[0]].tolist())
                yield from ids[seen:]
                seen = len(ids)
        finally:
            self._spare = batch.cache

    def _batch(self, prompts: Iterator[Prompt], sampling: Sampling) -> Batch:
        outside = [i for i in sampling.stop_token_ids if not 0 <= i < self.shape.vocab]
        if outside:
            raise EngineError(
                f"sampling: stop_token_ids has {outside[0]}, outside the model's vocabulary of {self.shape.vocab}. "
                "Take the ids from the tokenizer that belongs to this model."
            )
        stops = self._stop_strings(sampling)
        with torch.inference_mode():
            weights = self._weights()
            cache, self._spare = self._spare, None
            if cache is None or cache.device != weights.embed.device or cache.dtype != weights.embed.dtype:
                cache = Cache(self.shape, self.max_batch, weights.embed.device, weights.embed.dtype, self.kv_budget)
            return Batch(
                weights,
                cache,
                prompts,
                sampling,
                context=self.context,
                pad_id=self.pad_id,
                version=self.version,
                counters=self.counters,
                stop_strings=stops,
            )

    def _stop_strings(self, sampling: Sampling) -> StopStrings | None:
        """Made once for equal settings: it reads the whole vocabulary."""
        wanted = (sampling.stop, sampling.stop_in_thinking)
        if not sampling.stop:
            return None
        if self._stops is None or self._stops[0] != wanted:
            made = StopStrings(wanted[0], self.tokenizer, self.shape.vocab, in_thinking=wanted[1])
            self._stops = (wanted, made)
        return self._stops[1]

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """For each sequence of T ids: log p(id_t | id_<t) for t = 1..T-1 at temperature 1, in the given order."""
        weights: Weights | None = None
        pending: list[Sequence[int]] = []
        longest = 0
        for number, sequence in enumerate(sequences):
            Prompt(f"sequence {number}", tuple(sequence)).check(self.shape.vocab, self.context + 1)
            if pending and max(longest, len(sequence)) * (len(pending) + 1) > SCORE_TOKENS:
                weights = weights or self._weights()
                yield from self._score(pending, weights)
                pending, longest = [], 0
            pending.append(sequence)
            longest = max(longest, len(sequence))
        if pending:
            yield from self._score(pending, weights or self._weights())

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
            chunk = max(1, SCORE_LOGITS // self.shape.vocab)
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
        self._spare = None
