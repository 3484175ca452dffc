"""Continuous batching: which sample stands in which row, what it has said so far, and when it is done.

Rows 0..active-1 of the batch are running samples. A finished row is overwritten by the last one, so that work is always
over a compact batch, and free rows are refilled from the pulled prompts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import noise, runner
from posttrain.engines.native.cache import Cache
from posttrain.engines.native.sampler import draw
from posttrain.engines.native.stops import StopStrings
from posttrain.engines.native.weights import Weights
from posttrain.errors import EngineError
from posttrain.records import Completion, FinishReason

PREFILL_TOKENS = 8192  # padded tokens in one prefill


@dataclass(slots=True)
class Group:
    """A prompt whose samples don't all stand in rows yet; its keys, values and logits wait with it."""

    prompt: Prompt
    placed: int = 0


@dataclass(slots=True)
class Prefilled:
    """Several prompts computed together: k and v [B, K, T, D] per layer, logits [B, V] after each prompt."""

    groups: list[Group]
    layers: list[tuple[Tensor, Tensor]]
    logits: Tensor


@dataclass(slots=True)
class Row:
    """A running sample."""

    prompt: Prompt
    index: int
    started: float


@dataclass(slots=True)
class Counters:
    """Work done, for tests and measurements."""

    prefill_tokens: int = 0
    prefills: int = 0
    steps: int = 0
    row_steps: int = 0


class Batch:
    """The work of one generate() call: pulls prompts, and each step adds a token to every running sample."""

    def __init__(
        self,
        weights: Weights,
        cache: Cache,
        prompts: Iterator[Prompt],
        sampling: Sampling,
        *,
        context: int,
        pad_id: int,
        version: int,
        counters: Counters,
        stop_strings: StopStrings | None = None,
    ) -> None:
        self.weights, self.cache, self.prompts, self.sampling = weights, cache, prompts, sampling
        self.context, self.pad_id, self.version, self.counters = context, pad_id, version, counters
        self.stop_strings = stop_strings
        rows = cache.rows
        self.active = 0
        self.rows: list[Row] = []
        self.waiting: deque[Prefilled] = deque()
        self.exhausted = False
        self.keys = np.zeros(rows, dtype=np.uint64)
        self.lengths = np.zeros(rows, dtype=np.int64)  # cached tokens
        self.counts = np.zeros(rows, dtype=np.int64)  # sampled tokens
        self.limits = np.zeros(rows, dtype=np.int64)
        self.last = np.zeros(rows, dtype=np.int64)
        self.tokens = np.zeros((rows, 64), dtype=np.int32)
        self.logprobs = np.zeros((rows, 64), dtype=np.float32)
        self.stops = np.zeros(weights.shape.vocab, dtype=np.bool_)
        self.refill = max(1, rows // 16)  # wait for a few free rows: a prefill of one prompt wastes its overhead
        if not sampling.ignore_eos:
            self.stops[list(sampling.stop_token_ids)] = True

    def step(self) -> list[Completion] | None:
        """Fill free rows, then one token for every row. The Completions that ended; None when all work is done."""
        finished: list[Completion] = []
        free = self.cache.rows - self.active
        if free >= self.refill or self.active == 0:
            while free := self.cache.rows - self.active:
                first_logits = self._place(free)
                if first_logits is None:
                    break
                fresh = first_logits.shape[0]
                finished += self._accept(self.active - fresh, fresh, first_logits)
        if self.active:
            finished += self._accept(0, self.active, self._decode())
        return finished if finished or self.active else None

    def cancel(self, wanted: Callable[[Prompt], bool]) -> list[Completion]:
        """End the running samples of the prompts that `wanted` picks; what they have said comes back as `cancelled`."""
        gone = [row for row, state in enumerate(self.rows) if wanted(state.prompt)]
        completions = [self._completion(row, "cancelled") for row in gone]
        self._remove(gone)
        for ready in self.waiting:
            for group in ready.groups:
                if wanted(group.prompt):
                    group.placed = self.sampling.n
        return completions

    def _place(self, free: int) -> Tensor | None:
        """Put up to `free` samples into rows; the logits of their first tokens, None when there are no more."""
        while self.waiting and all(group.placed == self.sampling.n for group in self.waiting[0].groups):
            self.waiting.popleft()  # its last samples were placed, or cancelled
        if not self.waiting and not self.exhausted:
            self._prefill(free)
        if not self.waiting:
            return None
        ready = self.waiting[0]
        source: list[int] = []
        longest = 0
        for number, group in enumerate(ready.groups):
            take = min(self.sampling.n - group.placed, free - len(source))
            for index in range(group.placed, group.placed + take):
                self._start(self.active + len(source), group.prompt, index)
                source.append(number)
            group.placed += take
            if take:
                longest = max(longest, len(group.prompt.token_ids))
        start = self.active
        self._reserve(longest + 1)
        self.cache.fill(start, source, ready.layers, longest)
        self.active += len(source)
        return ready.logits[torch.as_tensor(source, device=ready.logits.device)]

    def _start(self, row: int, prompt: Prompt, index: int) -> None:
        length = len(prompt.token_ids)
        self.rows.append(Row(prompt, index, time.perf_counter()))
        self.keys[row] = noise.sample_key(prompt.seed, index)
        self.lengths[row] = length
        self.counts[row] = 0
        self.limits[row] = min(self.sampling.max_tokens, self.context - length)

    def _reserve(self, length: int) -> None:
        self.cache.reserve(length, self.active, self.context)

    def _pull(self, samples: int) -> list[Prompt]:
        """Prompts for about `samples` rows, within one prefill's tokens; at least one unless the source is empty."""
        taken: list[Prompt] = []
        longest = 0
        while len(taken) * self.sampling.n < samples:
            prompt = next(self.prompts, None)
            if prompt is None:
                self.exhausted = True
                break
            prompt.check(self.weights.shape.vocab, self.context)
            taken.append(prompt)
            longest = max(longest, len(prompt.token_ids))
            if longest * (len(taken) + 1) > PREFILL_TOKENS:
                break
        return taken

    def _prefill(self, free: int) -> None:
        prompts = self._pull(free)
        if not prompts:
            return
        device = self.weights.embed.device
        longest = max(len(p.token_ids) for p in prompts)
        ids = np.full((len(prompts), longest), self.pad_id, dtype=np.int64)
        for row, prompt in enumerate(prompts):
            ids[row, : len(prompt.token_ids)] = prompt.token_ids
        last = torch.tensor([len(p.token_ids) - 1 for p in prompts], device=device)
        hidden, layers = runner.prefill(torch.from_numpy(ids).to(device), self.weights)
        logits = runner.head(hidden[torch.arange(len(prompts), device=device), last], self.weights)
        self.counters.prefills += 1
        self.counters.prefill_tokens += sum(len(p.token_ids) for p in prompts)
        self.waiting.append(Prefilled([Group(p) for p in prompts], layers, logits))

    def _decode(self) -> Tensor:
        n, device = self.active, self.weights.embed.device
        longest = int(self.lengths[:n].max()) + 1
        self._reserve(longest)
        logits = runner.decode(
            torch.from_numpy(self.last[:n]).to(device),
            torch.from_numpy(self.lengths[:n]).to(device),
            int(self.lengths[:n].min()),
            longest,
            self.cache,
            self.weights,
        )
        self.lengths[:n] += 1
        self.counters.steps += 1
        self.counters.row_steps += n
        return logits

    def _accept(self, start: int, count: int, logits: Tensor) -> list[Completion]:
        """Sample one token for rows start..start+count-1 from `logits` [count, V]; the Completions it finished."""
        stop = start + count
        position = self.counts[start:stop]
        uniform = noise.uniforms(self.keys[start:stop], position).astype(np.float32)
        drawn, logprob = draw(logits, self.sampling, torch.from_numpy(uniform).to(logits.device)[:, None])
        token, value = drawn.cpu().numpy(), logprob.cpu().numpy()
        if not np.isfinite(value).all():
            raise EngineError(
                "the model's logits are not finite (NaN or infinity), so nothing can be sampled from them. "
                "Its weights are damaged or a training step diverged: go back to an earlier checkpoint."
            )
        furthest = int(position.max())
        if furthest >= self.tokens.shape[1]:
            pad = ((0, 0), (0, self.tokens.shape[1]))
            self.tokens, self.logprobs = np.pad(self.tokens, pad), np.pad(self.logprobs, pad)
        rows = np.arange(start, stop)
        self.tokens[rows, position] = token
        self.logprobs[rows, position] = value
        self.last[start:stop] = token
        self.counts[start:stop] += 1
        stopped = self.stops[token]
        if self.stop_strings is not None:
            for offset in np.flatnonzero(self.stop_strings.may_end[token] & ~stopped):
                row = start + int(offset)
                stopped[offset] = self.stop_strings.ended(self.tokens[row, : self.counts[row]])
        done = stopped | (self.counts[start:stop] >= self.limits[start:stop])
        if not done.any():
            return []
        finished = [(start + int(i), "stop" if stopped[i] else "length") for i in np.flatnonzero(done)]
        completions = [self._completion(row, reason) for row, reason in finished]  # type: ignore[arg-type]
        self._remove([row for row, _ in finished])
        return completions

    def _completion(self, row: int, reason: FinishReason) -> Completion:
        state, count = self.rows[row], self.counts[row]
        return Completion(
            key=state.prompt.key,
            index=state.index,
            token_ids=tuple(self.tokens[row, :count].tolist()),
            logprobs=tuple(self.logprobs[row, :count].tolist()),
            finish_reason=reason,
            weights_version=self.version,
            prompt_ids=state.prompt.token_ids,
            seconds=time.perf_counter() - state.started,
        )

    def _remove(self, gone: list[int]) -> None:
        """Free rows `gone` (ascending) by moving the last running rows into their places."""
        left = self.active - len(gone)
        holes = [row for row in gone if row < left]
        dead = set(gone)
        movers = [row for row in range(left, self.active) if row not in dead]
        if holes:
            self.cache.move(movers, holes, int(self.lengths[movers].max()))
            for array in (self.keys, self.lengths, self.counts, self.limits, self.last, self.tokens, self.logprobs):
                array[holes] = array[movers]
            for hole, mover in zip(holes, movers, strict=True):
                self.rows[hole] = self.rows[mover]
        del self.rows[left:]
        self.active = left
