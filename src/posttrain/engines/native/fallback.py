"""For every other causal language model: the module's own forward and transformers' cache, in waves.

A wave is as many samples as there are rows: their prompts computed together, padded on the left, then one token for
each per step; finished rows leave the cache, and the next wave begins when the last has ended. Sampling, seeds and
stops are those of the lean path. Slower than it by the module's own overhead, and by rows that stand empty at a wave's
end.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native.adapters import causal_model
from posttrain.engines.native.rows import Rows
from posttrain.engines.native.scheduler import Counters, Group, Incoming
from posttrain.engines.parity import module_logprobs
from posttrain.records import Completion


class ModuleBatch:
    """`scheduler.Batch` by the module's own forward.

    budget: at most so many tokens of keys and values: fewer rows run where their prompts and answers may be long.
    """

    def __init__(
        self,
        model: nn.Module,
        rows: Rows,
        prompts: Iterator[Prompt | None],
        sampling: Sampling,
        *,
        vocab: int,
        pad_id: int,
        counters: Counters,
        budget: int | None,
    ) -> None:
        self.model: Any = model
        self.rows, self.incoming = rows, Incoming(prompts, sampling, vocab, rows.context)
        self.pad_id, self.counters, self.budget = pad_id, counters, budget
        self.queue: deque[Group] = deque()
        self.cache: Any = None
        self.mask = torch.zeros(0, 0, dtype=torch.long)
        self._placed = _takes_positions(causal_model(model))

    @property
    def busy(self) -> bool:
        return bool(self.rows.active or self.queue)

    def step(self) -> list[Completion] | None:
        """One token for every row, the first of a wave included. The Completions that ended; None when all is done."""
        with _evaluating(self.model):
            logits = self._decode() if self.rows.active else self._wave()
        if logits is None:
            return None if self.incoming.exhausted else []
        ended = self.rows.accept(0, self.rows.active, logits)
        completions = [self.rows.completion(row, reason) for row, reason in ended]
        self._remove([row for row, _ in ended])
        return completions

    def cancel(self, keys: Collection[str]) -> list[Completion]:
        """End the samples of the prompts with these keys; what running ones have said comes back as `cancelled`."""
        gone = [row for row, state in enumerate(self.rows.rows) if state.prompt.key in keys]
        completions = [self.rows.completion(row, "cancelled") for row in gone]
        self._remove(gone)
        self.queue = deque(group for group in self.queue if group.prompt.key not in keys)
        return completions

    def _wave(self) -> Tensor | None:
        """Logits [rows, V] after the prompts of the next samples; None when there are none (at the moment)."""
        groups: list[Group] = []
        source: list[int] = []
        room = self.rows.size
        while len(source) < room and (group := self._next()) is not None:
            room = min(room, self._rows_within_budget([*groups, group]))
            if groups and len(source) >= room:
                self.queue.appendleft(group)
                break
            last = min(group.until, group.placed + room - len(source))
            for index in range(group.placed, last):
                self.rows.start(group.prompt, index, group.sampling, len(group.ids))
                source.append(len(groups))
            groups.append(group)
            if last < group.until:
                self.queue.appendleft(Group(group.prompt, group.sampling, group.ids, last, group.until))
        return self._first_logits([group.ids for group in groups], source) if groups else None

    def _rows_within_budget(self, groups: Sequence[Group]) -> int:
        if self.budget is None:
            return self.rows.size
        longest = max(len(g.ids) for g in groups) + max(g.sampling.max_tokens for g in groups)
        return max(1, self.budget // min(longest, self.rows.context))

    def _next(self) -> Group | None:
        return self.queue.popleft() if self.queue else self.incoming.next()

    def _first_logits(self, texts: Sequence[tuple[int, ...]], source: list[int]) -> Tensor:
        device = next(cast(nn.Module, self.model).parameters()).device
        longest = max(map(len, texts))
        ids = torch.tensor([[self.pad_id] * (longest - len(t)) + list(t) for t in texts], device=device)
        self.mask = torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t in texts], device=device)
        self.cache = DynamicCache(config=self.model.config)
        logits = self._forward(ids, (self.mask.cumsum(-1) - 1).clamp(min=0))
        index = torch.tensor(source, device=device)
        self.cache.reorder_cache(index)
        self.mask = self.mask[index]
        self.counters.prefills += 1
        self.counters.prefill_tokens += sum(map(len, texts))
        return logits[index]

    def _decode(self) -> Tensor:
        n, rows = self.rows.active, self.rows
        device = self.mask.device
        last = torch.from_numpy(rows.last[:n]).to(device)[:, None]
        self.mask = torch.cat([self.mask, self.mask.new_ones(n, 1)], dim=1)
        logits = self._forward(last, torch.from_numpy(rows.lengths[:n]).to(device)[:, None])
        rows.lengths[:n] += 1
        self.counters.steps += 1
        self.counters.row_steps += n
        return logits

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """float32 logits [B, V] after the last token of ids [B, T], at `positions` [B, T]."""
        places = {"position_ids": positions} if self._placed else {}
        out = self.model(input_ids=ids, attention_mask=self.mask, past_key_values=self.cache, use_cache=True, **places)
        return cast(Tensor, out.logits[:, -1].float())

    def _remove(self, gone: list[int]) -> None:
        if not gone:
            return
        movers, holes = self.rows.remove(gone)
        order = list(range(self.rows.active))
        for mover, hole in zip(movers, holes, strict=True):
            order[hole] = mover
        index = torch.tensor(order, device=self.mask.device, dtype=torch.long)
        self.mask = self.mask[index]
        self.cache.reorder_cache(index)


def _takes_positions(model: nn.Module) -> bool:
    """Whether its forward has `position_ids`, or one that it inherits and may pass them on to."""
    own = [vars(kind)["forward"] for kind in type(model).__mro__ if "forward" in vars(kind)]
    return any("position_ids" in inspect.signature(forward).parameters for forward in own)


def module_scores(model: nn.Module, sequence: Sequence[int]) -> list[float]:
    """Log-probabilities of one sequence by the module itself, dropout off."""
    with _evaluating(model):
        return module_logprobs(model, sequence) if len(sequence) > 1 else []


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off, as the lean path has none; the trainer's mode comes back."""
    training = model.training
    if training:
        model.eval()
    try:
        yield
    finally:
        if training:
            model.train()
