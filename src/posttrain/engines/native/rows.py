"""The running samples: what each has said, what it may still say, and what ends it.

Rows 0..active-1 are running. A finished row is overwritten by the last one: work is always over a compact batch.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native import noise
from posttrain.engines.sampler import Drawn, History, sample
from posttrain.engines.stops import Stops, StopTable
from posttrain.errors import EngineError
from posttrain.records import Completion, FinishReason


@dataclass(slots=True)
class Said:
    """What a preempted sample had sampled: it goes on from there, with the same noise, as if nothing had happened."""

    tokens: NDArray[np.int32]
    values: NDArray[np.float32]  # [3, tokens] as in Rows.values
    started: float
    first: float


@dataclass(slots=True)
class Row:
    """A running sample. started: seconds on the clock at admission; first: from then to its first token."""

    prompt: Prompt
    index: int
    sampling: Sampling
    stops: Stops
    started: float
    first: float = 0.0
    told: int = 0  # tokens that a listener has had already


class Rows:
    """State of all running samples, as arrays with one entry per row.

    context: tokens that a prompt and its answer may have together.
    """

    def __init__(self, size: int, context: int, version: int, stops: StopTable) -> None:
        self.size, self.context, self.version, self._stops = size, context, version, stops
        self.active = 0
        self.rows: list[Row] = []
        self.keys = np.zeros(size, dtype=np.uint64)
        self.lengths = np.zeros(size, dtype=np.int64)  # cached tokens
        self.counts = np.zeros(size, dtype=np.int64)  # sampled tokens
        self.limits = np.zeros(size, dtype=np.int64)
        self.last = np.zeros(size, dtype=np.int64)
        self.tokens = np.zeros((size, 64), dtype=np.int32)
        self.values = np.zeros((3, size, 64), dtype=np.float32)  # log-probability, raw one, entropy

    def start(self, prompt: Prompt, index: int, sampling: Sampling, length: int, said: Said | None = None) -> None:
        """Sample `index` of `prompt` begins (or goes on) in the next row, with `length` tokens cached."""
        row = self.active
        began = said.started if said else time.perf_counter()
        state = Row(prompt, index, sampling, self._stops.of(sampling), began, said.first if said else 0.0)
        self.rows.append(state)
        self.keys[row] = noise.sample_key(prompt.seed, index)
        self.lengths[row] = length
        self.limits[row] = min(sampling.max_tokens, self.context - len(prompt.token_ids))
        self.counts[row] = count = len(said.tokens) if said else 0
        if said:
            self._widen(count)
            self.tokens[row, :count], self.values[:, row, :count] = said.tokens, said.values
            state.told = count
        self.active += 1

    def said(self, row: int) -> Said:
        state, count = self.rows[row], self.counts[row]
        return Said(self.tokens[row, :count].copy(), self.values[:, row, :count].copy(), state.started, state.first)

    def accept(self, start: int, count: int, logits: Tensor) -> list[tuple[int, FinishReason]]:
        """Sample one token for rows start..start+count-1 from `logits` [count, V]; the rows that it ended, and how."""
        stop = start + count
        position = self.counts[start:stop]
        uniform = noise.uniforms(self.keys[start:stop], position).astype(np.float32)
        token, values = self._sample(start, count, logits, torch.from_numpy(uniform).to(logits.device)[:, None])
        if not np.isfinite(values[0]).all():
            raise EngineError(
                "the model's logits are not finite (NaN or infinity), so nothing can be sampled from them. "
                "Its weights are damaged or a training step diverged: go back to an earlier checkpoint."
            )
        self._widen(int(position.max()) + 1)
        rows = np.arange(start, stop)
        self.tokens[rows, position] = token
        self.values[:, rows, position] = values
        self.last[start:stop] = token
        for row in (rows[position == 0]).tolist():
            self.rows[row].first = time.perf_counter() - self.rows[row].started
        self.counts[start:stop] += 1
        stopped = self._stopped(start, count, token)
        done = stopped | (self.counts[start:stop] >= self.limits[start:stop])
        return [(start + int(i), "stop" if stopped[i] else "length") for i in np.flatnonzero(done)]

    def _widen(self, tokens: int) -> None:
        while tokens > self.tokens.shape[1]:
            extra = self.tokens.shape[1]
            self.tokens = np.pad(self.tokens, ((0, 0), (0, extra)))
            self.values = np.pad(self.values, ((0, 0), (0, 0), (0, extra)))

    def _sample(
        self, start: int, count: int, logits: Tensor, uniform: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Tokens [count] and values [3, count] on the host, group by group of rows that share their settings."""
        first = self.rows[start].sampling
        if all(state.sampling is first for state in self.rows[start : start + count]):
            return _on_host(sample(logits, first, uniform, self._history(first, range(start, start + count), logits)))
        groups: dict[Sampling, list[int]] = defaultdict(list)
        for offset in range(count):
            groups[self.rows[start + offset].sampling].append(offset)
        token = np.zeros(count, dtype=np.int64)
        values = np.zeros((3, count), dtype=np.float32)
        for sampling, members in groups.items():
            index = torch.as_tensor(members, device=logits.device)
            history = self._history(sampling, [start + offset for offset in members], logits)
            drawn = sample(logits[index], sampling, uniform[index], history)
            token[members], values[:, members] = _on_host(drawn)
        return token, values

    def _history(self, sampling: Sampling, rows: Sequence[int], logits: Tensor) -> History | None:
        if not sampling.penalised:
            return None
        texts = [self.rows[row].prompt.token_ids for row in rows]
        counts = self.counts[list(rows)]
        longest = max(len(text) + int(count) for text, count in zip(texts, counts, strict=True))
        ids = np.zeros((len(texts), longest), dtype=np.int64)
        in_text = np.zeros(ids.shape, dtype=np.bool_)
        in_answer = np.zeros(ids.shape, dtype=np.bool_)
        for number, (row, text) in enumerate(zip(rows, texts, strict=True)):
            end = len(text) + int(counts[number])
            ids[number, : len(text)] = text
            ids[number, len(text) : end] = self.tokens[row, : counts[number]]
            in_text[number, :end] = True
            in_answer[number, len(text) : end] = True
        return History(*(torch.from_numpy(array).to(logits.device) for array in (ids, in_text, in_answer)))

    def _stopped(self, start: int, count: int, token: NDArray[np.int64]) -> NDArray[np.bool_]:
        first = self.rows[start].stops
        states = self.rows[start : start + count]
        if all(state.stops is first for state in states):
            stopped, asked = first.ends[token], first.perhaps[token]
        else:
            stopped = np.array([s.stops.ends[t] for s, t in zip(states, token, strict=True)])
            asked = np.array([s.stops.perhaps[t] for s, t in zip(states, token, strict=True)])
        for offset in np.flatnonzero(asked & ~stopped).tolist():
            state, row = states[offset], start + offset
            stopped[offset] = state.stops.ended(state.prompt.token_ids, self.tokens[row, : self.counts[row]])
        return stopped

    def completion(self, row: int, reason: FinishReason) -> Completion:
        state, count = self.rows[row], self.counts[row]
        values = self.values[:, row, :count]
        return Completion(
            key=state.prompt.key,
            index=state.index,
            token_ids=tuple(self.tokens[row, :count].tolist()),
            logprobs=tuple(values[0].tolist()),
            finish_reason=reason,
            weights_version=self.version,
            prompt_ids=state.prompt.token_ids,
            seconds=time.perf_counter() - state.started,
            raw_logprobs=tuple(values[1].tolist()) if state.sampling.raw_logprobs else None,
            entropies=tuple(values[2].tolist()) if state.sampling.entropy else None,
            first_token_seconds=state.first,
        )

    def remove(self, gone: Sequence[int]) -> tuple[list[int], list[int]]:
        """Free rows `gone` (ascending): rows `movers` take the places `holes`, and the caller's cache must follow."""
        left = self.active - len(gone)
        holes = [row for row in gone if row < left]
        dead = set(gone)
        movers = [row for row in range(left, self.active) if row not in dead]
        for array in (self.keys, self.lengths, self.counts, self.limits, self.last, self.tokens):
            array[holes] = array[movers]
        self.values[:, holes] = self.values[:, movers]
        for hole, mover in zip(holes, movers, strict=True):
            self.rows[hole] = self.rows[mover]
        del self.rows[left:]
        self.active = left
        return movers, holes


def _on_host(drawn: Drawn) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Tokens [B] and values [3, B]; what was not asked for is 0."""
    token = drawn.tokens.cpu().numpy()
    values = np.zeros((3, len(token)), dtype=np.float32)
    for number, part in enumerate((drawn.logprobs, drawn.raw_logprobs, drawn.entropies)):
        if part is not None:
            values[number] = part.cpu().numpy()
    return token, values
