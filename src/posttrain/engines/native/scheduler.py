"""Continuous batching: which sample stands in which row, what it has said so far, and when it is done.

Rows 0..active-1 of the batch are running samples. A finished row is overwritten by the last one, so that work is always
over a compact batch, and free rows are refilled from the pulled prompts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import noise, runner
from posttrain.engines.native.cache import Cache
from posttrain.engines.native.sampler import draw
from posttrain.engines.native.weights import Weights
from posttrain.engines.stops import StopStrings
from posttrain.errors import EngineError
from posttrain.records import Completion, FinishReason

PREFILL_TOKENS = 8192  # padded tokens in one prefill


@dataclass(slots=True)
class Said:
    """What a preempted sample had sampled: it goes on from there, with the same noise, as if nothing had happened."""

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float32]
    started: float


@dataclass(slots=True)
class Group:
    """A prompt and those of its samples, placed..until-1, that don't stand in rows yet."""

    prompt: Prompt
    ids: tuple[int, ...]  # to prefill: the prompt, and what a preempted sample had said
    placed: int
    until: int
    said: Said | None = None


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
    preemptions: int = 0


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
        rows = cache.max_rows
        self.active = 0
        self.rows: list[Row] = []
        self.waiting: deque[Prefilled] = deque()
        self.preempted: deque[Group] = deque()
        self.exhausted = False
        self.keys = np.zeros(rows, dtype=np.uint64)
        self.lengths = np.zeros(rows, dtype=np.int64)  # cached tokens
        self.counts = np.zeros(rows, dtype=np.int64)  # sampled tokens
        self.limits = np.zeros(rows, dtype=np.int64)
        self.last = np.zeros(rows, dtype=np.int64)
        self.tokens = np.zeros((rows, 64), dtype=np.int32)
        self.logprobs = np.zeros((rows, 64), dtype=np.float32)
        self.stops = np.zeros(weights.shape.vocab, dtype=np.bool_)
        if not sampling.ignore_eos:
            self.stops[list(sampling.stop_token_ids)] = True

    def step(self) -> list[Completion] | None:
        """Fill free rows, then one token for every row. The Completions that ended; None when all work is done."""
        finished: list[Completion] = []
        if self.active == 0 and self.cache.budget is not None:
            self.cache.clear()  # its rows may be fewer and longer than what comes needs
        rows = self.cache.rows_at(1)
        # Wait for a few free rows: a prefill of one prompt wastes its overhead.
        if rows - self.active >= max(1, rows // 16) or self.active == 0:
            while (first_logits := self._place()) is not None:
                fresh = first_logits.shape[0]
                finished += self._accept(self.active - fresh, fresh, first_logits)
        if self.active:
            logits = self._decode()  # may preempt
            finished += self._accept(0, self.active, logits)
        return finished if finished or self.active else None

    def cancel(self, keys: Collection[str]) -> list[Completion]:
        """End the samples of the prompts with these keys; what running ones have said comes back as `cancelled`."""
        gone = [row for row, state in enumerate(self.rows) if state.prompt.key in keys]
        completions = [self._completion(row, "cancelled") for row in gone]
        self._remove(gone)
        for group in [group for ready in self.waiting for group in ready.groups]:
            if group.prompt.key in keys:
                group.placed = group.until
        self.preempted = deque(group for group in self.preempted if group.prompt.key not in keys)
        return completions

    def _place(self) -> Tensor | None:
        """Put samples into free rows; the logits of their next tokens, None when there is no room or no work."""
        while self.waiting and all(group.placed == group.until for group in self.waiting[0].groups):
            self.waiting.popleft()  # its last samples were placed, or cancelled
        if not self.waiting:
            self._prefill(self.cache.rows_at(1) - self.active)
        if not self.waiting:
            return None
        ready = self.waiting[0]
        longest = max(len(group.ids) for group in ready.groups)
        free = self.cache.rows_at(longest + 1) - self.active
        source: list[int] = []
        for number, group in enumerate(ready.groups):
            for index in range(group.placed, min(group.until, group.placed + free - len(source))):
                self._start(self.active + len(source), group, index)
                source.append(number)
                group.placed += 1
        if not source:
            return None
        self._reserve(longest + 1)
        self.cache.fill(self.active, source, ready.layers, longest)
        self.active += len(source)
        return ready.logits[torch.as_tensor(source, device=ready.logits.device)]

    def _start(self, row: int, group: Group, index: int) -> None:
        said = group.said
        self.rows.append(Row(group.prompt, index, said.started if said else time.perf_counter()))
        self.keys[row] = noise.sample_key(group.prompt.seed, index)
        self.lengths[row] = len(group.ids)
        self.limits[row] = min(self.sampling.max_tokens, self.context - len(group.prompt.token_ids))
        self.counts[row] = count = len(said.tokens) if said else 0
        if said:
            self.tokens[row, :count], self.logprobs[row, :count] = said.tokens, said.logprobs

    def _preempt(self) -> None:
        """Where the longest row's next token would burst the budget, send the shortest rows back to the queue.

        They are the cheapest to compute again; the longest always goes on, so everything ends.
        """
        while (extra := self.active - self.cache.rows_at(int(self.lengths[: self.active].max()) + 1)) > 0:
            gone = sorted(np.argsort(self.lengths[: self.active], kind="stable")[:extra].tolist())
            for row in gone:
                state, count = self.rows[row], self.counts[row]
                tokens = self.tokens[row, :count].copy()
                said = Said(tokens, self.logprobs[row, :count].copy(), state.started)
                ids = state.prompt.token_ids + tuple(tokens.tolist())
                self.preempted.append(Group(state.prompt, ids, state.index, state.index + 1, said))
            self.counters.preemptions += len(gone)
            self._remove(gone)

    def _reserve(self, length: int) -> None:
        self.cache.reserve(length, self.active, self.context)

    def _pull(self, samples: int) -> list[Group]:
        """Work for about `samples` rows within one prefill's tokens, preempted samples first; at least one if any."""
        taken: list[Group] = []
        longest = count = 0
        while count < samples:
            if self.preempted:
                group = self.preempted.popleft()
            elif (prompt := None if self.exhausted else next(self.prompts, None)) is not None:
                prompt.check(self.weights.shape.vocab, self.context)
                group = Group(prompt, prompt.token_ids, 0, self.sampling.n)
            else:
                self.exhausted = True
                break
            taken.append(group)
            count += group.until - group.placed
            longest = max(longest, len(group.ids))
            if longest * (len(taken) + 1) > PREFILL_TOKENS:
                break
        return taken

    def _prefill(self, free: int) -> None:
        groups = self._pull(free)
        if not groups:
            return
        device = self.weights.embed.device
        longest = max(len(group.ids) for group in groups)
        ids = np.full((len(groups), longest), self.pad_id, dtype=np.int64)
        for row, group in enumerate(groups):
            ids[row, : len(group.ids)] = group.ids
        last = torch.tensor([len(group.ids) - 1 for group in groups], device=device)
        hidden, layers = runner.prefill(torch.from_numpy(ids).to(device), self.weights)
        logits = runner.head(hidden[torch.arange(len(groups), device=device), last], self.weights)
        self.counters.prefills += 1
        self.counters.prefill_tokens += sum(len(group.ids) for group in groups)
        self.waiting.append(Prefilled(groups, layers, logits))

    def _decode(self) -> Tensor:
        self._preempt()
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
                prompt = self.rows[row].prompt.token_ids
                stopped[offset] = self.stop_strings.ended(prompt, self.tokens[row, : self.counts[row]])
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
