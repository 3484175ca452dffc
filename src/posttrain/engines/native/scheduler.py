"""Continuous batching: prompts are computed once, their samples stand in rows, and free rows are refilled at once.

rows.py has the state of a running sample; here is which of them run, and what waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import runner
from posttrain.engines.native.cache import Cache
from posttrain.engines.native.rows import Rows, Said
from posttrain.engines.native.static import StaticDecoder
from posttrain.engines.native.weights import Weights
from posttrain.records import Completion

PREFILL_CHUNK = 8192  # prompt tokens computed at once unless the engine is told otherwise


@dataclass(slots=True)
class Group:
    """A prompt and those of its samples, placed..until-1, that don't stand in rows yet."""

    prompt: Prompt
    sampling: Sampling
    ids: tuple[int, ...]  # to prefill: the prompt, and what a preempted sample had said
    placed: int
    until: int
    said: Said | None = None


@dataclass(slots=True)
class Incoming:
    """Prompts as the caller gives them, checked when they are pulled; each has its own sampling or this one."""

    prompts: Iterator[Prompt | None]
    sampling: Sampling
    vocab: int
    context: int
    exhausted: bool = False

    def next(self) -> Group | None:
        """The next prompt's samples; None where there is none (at the moment)."""
        if self.exhausted:
            return None
        try:
            prompt = next(self.prompts)
        except StopIteration:
            self.exhausted = True
            return None
        if prompt is None:
            return None
        prompt.check(self.vocab, self.context)
        sampling = prompt.sampling or self.sampling
        return Group(prompt, sampling, prompt.token_ids, 0, sampling.n)


@dataclass(slots=True)
class Prefill:
    """Several prompts being computed together, padded on the right: ids [B, T] of which `done` columns are.

    layers: k and v [B, K, T, D] per layer. logits [B, V] after each prompt, right once all columns are done.
    """

    groups: list[Group]
    ids: Tensor
    done: int = 0
    layers: list[tuple[Tensor, Tensor]] | None = None
    logits: Tensor | None = None

    def advance(self, chunk: int, weights: Weights) -> bool:
        """Compute about `chunk` more tokens. Whether all is done."""
        batch, length = self.ids.shape
        start, stop = self.done, min(length, self.done + max(1, chunk // batch))
        if start == 0 and stop == length:
            hidden, self.layers = runner.prefill(self.ids, weights)
        else:
            self.layers = self.layers or runner.empty_layers(batch, length, weights)
            hidden = runner.prefill_chunk(self.ids[:, start:stop], start, self.layers, weights)
        self.done = stop
        last = [len(group.ids) - 1 for group in self.groups]
        ended = [number for number, end in enumerate(last) if start <= end < stop]
        if ended:
            device = self.ids.device
            here = hidden[
                torch.tensor(ended, device=device), torch.tensor([last[i] - start for i in ended], device=device)
            ]
            logits = runner.head(here, weights)
            if len(ended) == batch:
                self.logits = logits
            else:
                if self.logits is None:
                    self.logits = logits.new_zeros(batch, logits.shape[1])
                self.logits[torch.tensor(ended, device=device)] = logits
        return stop == length


@dataclass(slots=True)
class Counters:
    """Work done, for tests and measurements."""

    prefill_tokens: int = 0
    prefills: int = 0  # forward passes over prompts: one each, or one per chunk
    steps: int = 0
    row_steps: int = 0
    preemptions: int = 0


class Batch:
    """The work of one generate() call: pulls prompts, and each step adds a token to every running sample.

    prompts may give None for "none at the moment": what runs goes on, and it is asked again at the next step.
    """

    def __init__(
        self,
        weights: Weights,
        cache: Cache,
        rows: Rows,
        prompts: Iterator[Prompt | None],
        sampling: Sampling,
        *,
        pad_id: int,
        counters: Counters,
        prefill_chunk: int = PREFILL_CHUNK,
        static: StaticDecoder | None = None,
    ) -> None:
        self.static = static
        self.weights, self.cache, self.rows = weights, cache, rows
        self.incoming = Incoming(prompts, sampling, weights.shape.vocab, rows.context)
        self.pad_id, self.counters, self.prefill_chunk = pad_id, counters, prefill_chunk
        self.filling: Prefill | None = None
        self.waiting: deque[Prefill] = deque()
        self.queue: deque[Group] = deque()  # preempted samples, and a prompt that was too long for the last prefill

    @property
    def busy(self) -> bool:
        """Whether there is work that needs no further prompt."""
        return bool(self.rows.active or self.filling or self.waiting or self.queue)

    def step(self) -> list[Completion] | None:
        """Fill free rows, then one token for every row. The Completions that ended; None when all work is done."""
        finished: list[Completion] = []
        rows = self.rows
        if rows.active == 0 and self.cache.budget is not None:
            self.cache.clear()  # its rows may be fewer and longer than what comes needs
        room = self.cache.rows_at(1)
        # Wait for a few free rows: a prefill of one prompt wastes its overhead.
        if room - rows.active >= max(1, room // 16) or rows.active == 0:
            while (first_logits := self._place()) is not None:
                fresh = first_logits.shape[0]
                finished += self._accept(rows.active - fresh, fresh, first_logits)
        if rows.active:
            logits = self._decode()  # may preempt
            finished += self._accept(0, rows.active, logits)
        return finished if finished or self.busy or not self.incoming.exhausted else None

    def cancel(self, keys: Collection[str]) -> list[Completion]:
        """End the samples of the prompts with these keys; what running ones have said comes back as `cancelled`."""
        gone = [row for row, state in enumerate(self.rows.rows) if state.prompt.key in keys]
        completions = [self.rows.completion(row, "cancelled") for row in gone]
        self._remove(gone)
        computed = [*self.waiting, *([self.filling] if self.filling else [])]
        for group in [group for prefill in computed for group in prefill.groups]:
            if group.prompt.key in keys:
                group.placed = group.until
        self.queue = deque(group for group in self.queue if group.prompt.key not in keys)
        return completions

    def _accept(self, start: int, count: int, logits: Tensor) -> list[Completion]:
        ended = self.rows.accept(start, count, logits)
        completions = [self.rows.completion(row, reason) for row, reason in ended]
        self._remove([row for row, _ in ended])
        return completions

    def _place(self) -> Tensor | None:
        """Put samples into free rows; the logits of their next tokens, None when there is no room or no work."""
        while self.waiting and all(group.placed == group.until for group in self.waiting[0].groups):
            self.waiting.popleft()  # its last samples were placed, or cancelled
        if not self.waiting:
            self._prefill(self.cache.rows_at(1) - self.rows.active)
        if not self.waiting:
            return None
        ready = self.waiting[0]
        longest = ready.ids.shape[1]
        free = self.cache.rows_at(longest + 1) - self.rows.active
        source: list[int] = []
        for number, group in enumerate(ready.groups):
            for index in range(group.placed, min(group.until, group.placed + free - len(source))):
                self.rows.start(group.prompt, index, group.sampling, len(group.ids), group.said)
                source.append(number)
                group.placed += 1
        if not source:
            return None
        before = self.rows.active - len(source)
        assert ready.layers is not None
        assert ready.logits is not None
        self.cache.reserve(longest + 1, before, self.rows.context)
        self.cache.fill(before, source, ready.layers, longest)
        return ready.logits[torch.as_tensor(source, device=ready.logits.device)]

    def _preempt(self) -> None:
        """Where the longest row's next token would burst the budget, send the shortest rows back to the queue.

        They are the cheapest to compute again; the longest always goes on, so everything ends.
        """
        rows = self.rows
        while (extra := rows.active - self.cache.rows_at(int(rows.lengths[: rows.active].max()) + 1)) > 0:
            gone = sorted(np.argsort(rows.lengths[: rows.active], kind="stable")[:extra].tolist())
            for row in gone:
                state, said = rows.rows[row], rows.said(row)
                ids = state.prompt.token_ids + tuple(said.tokens.tolist())
                self.queue.append(Group(state.prompt, state.sampling, ids, state.index, state.index + 1, said))
            self.counters.preemptions += len(gone)
            self._remove(gone)

    def _pull(self, samples: int) -> list[Group]:
        """Work for about `samples` rows within one chunk of prefill, queued samples first; at least one if any."""
        taken: list[Group] = []
        longest = count = 0
        while count < samples:
            if self.queue:
                group = self.queue.popleft()
            elif (pulled := self.incoming.next()) is not None:
                group = pulled
            else:
                break
            longest = max(longest, len(group.ids))
            if taken and longest * (len(taken) + 1) > self.prefill_chunk:
                self.queue.appendleft(group)
                break
            taken.append(group)
            count += group.until - group.placed
        return taken

    def _prefill(self, free: int) -> None:
        """Compute waiting prompts; while samples run, one chunk of them, so that those need not wait for long."""
        if self.filling is None:
            groups = self._pull(free)
            if not groups:
                return
            longest = max(len(group.ids) for group in groups)
            ids = np.full((len(groups), longest), self.pad_id, dtype=np.int64)
            for row, group in enumerate(groups):
                ids[row, : len(group.ids)] = group.ids
            self.filling = Prefill(groups, torch.from_numpy(ids).to(self.weights.embed.device))
            self.counters.prefill_tokens += sum(len(group.ids) for group in groups)
        done = False
        while not done:
            done = self.filling.advance(self.prefill_chunk, self.weights)
            self.counters.prefills += 1
            if self.rows.active:
                break
        if done:
            self.waiting.append(self.filling)
            self.filling = None

    def _decode(self) -> Tensor:
        self._preempt()
        rows = self.rows
        n, device = rows.active, self.weights.embed.device
        longest = int(rows.lengths[:n].max()) + 1
        self.cache.reserve(longest, n, rows.context)
        if self.static is not None:
            logits = self.static(rows.last[:n], rows.lengths[:n], self.cache, self.weights)
        else:
            logits = runner.decode(
                torch.from_numpy(rows.last[:n]).to(device),
                torch.from_numpy(rows.lengths[:n]).to(device),
                int(rows.lengths[:n].min()),
                longest,
                self.cache,
                self.weights,
            )
        rows.lengths[:n] += 1
        self.counters.steps += 1
        self.counters.row_steps += n
        return logits

    def _remove(self, gone: list[int]) -> None:
        movers, holes = self.rows.remove(gone)
        if holes:
            self.cache.move(movers, holes, int(self.rows.lengths[holes].max()))
