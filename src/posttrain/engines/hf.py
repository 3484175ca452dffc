"""The `hf` engine: transformers' own generate. Slow, runs any causal language model; others are tested against it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.parity import module_logprobs
from posttrain.engines.sampler import History, penalise
from posttrain.engines.stops import Stops, StopTable
from posttrain.errors import EngineError
from posttrain.models import load_model
from posttrain.records import Completion, FinishReason
from posttrain.seeding import derive
from posttrain.store import Checkpoint


class HFEngine:
    """model.generate in fixed batches of `max_batch` rows, padded on the left.

    Noise is seeded per batch from its prompts' seeds: the same prompts in the same batches give the same tokens, but,
    unlike the native engine's, they depend on their neighbours.
    """

    def __init__(self, model: nn.Module, *, pad_id: int, max_batch: int = 16, tokenizer: Any = None) -> None:
        if max_batch < 1:
            raise EngineError(f"max_batch is {max_batch}; it must be at least 1, and 8 to 64 is usual.")
        self.model: Any = model
        self.pad_id, self.max_batch, self.tokenizer = pad_id, max_batch, tokenizer
        config: Any = model.config
        self.context = context_of(config)
        self.vocab = int(config.get_text_config().vocab_size)
        self.version = 0
        self._stops = StopTable(tokenizer, self.vocab)

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions, batch after batch. EngineError for a prompt that can't be run."""
        source = iter(prompts)
        while batch := list(islice(source, max(1, self.max_batch // sampling.n))):
            for prompt in batch:
                prompt.check(self.vocab, self.context)
            groups: dict[Sampling, list[Prompt]] = defaultdict(list)
            for prompt in batch:
                groups[prompt.sampling or sampling].append(prompt)
            for settings, members in groups.items():
                yield from self._generate(members, settings)

    def _generate(self, batch: list[Prompt], sampling: Sampling) -> list[Completion]:
        started = time.perf_counter()
        stops = self._stops.of(sampling)
        longest = max(len(p.token_ids) for p in batch)
        limit = min(sampling.max_tokens, self.context - longest)
        ids = torch.tensor([[self.pad_id] * (longest - len(p.token_ids)) + list(p.token_ids) for p in batch])
        mask = torch.tensor([[0] * (longest - len(p.token_ids)) + [1] * len(p.token_ids) for p in batch])
        device = next(cast(nn.Module, self.model).parameters()).device
        devices = [device] if device.type == "cuda" else []
        # fork_rng: generate draws from the global generator, and nobody else's numbers may change by that.
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive(0, "hf-engine", *(p.seed for p in batch)))
            out = self.model.generate(
                ids.to(device),
                attention_mask=mask.to(device),
                generation_config=_config(sampling, stops, limit, self.pad_id),
                logits_processor=LogitsProcessorList([Penalties(sampling, longest, mask.to(device))]),
                tokenizer=self.tokenizer,
            )
        sampled = out.sequences[:, longest:].cpu()
        logprobs = _of_tokens(out.scores, sampled)
        raw = _of_tokens(out.logits, sampled) if sampling.raw_logprobs else None
        entropies = (
            _entropies(out.logits, out.sequences, longest, mask.to(device), sampling) if sampling.entropy else None
        )
        seconds = time.perf_counter() - started
        found = []
        for row in range(len(sampled)):
            prompt = batch[row // sampling.n]
            kept, reason = _cut(prompt, sampled[row].tolist(), limit, self.context, stops)
            end = len(kept)
            found.append(
                Completion(
                    key=prompt.key,
                    index=row % sampling.n,
                    token_ids=tuple(kept),
                    logprobs=tuple(logprobs[row, :end].tolist()),
                    finish_reason=reason,
                    weights_version=self.version,
                    prompt_ids=prompt.token_ids,
                    seconds=seconds,
                    raw_logprobs=None if raw is None else tuple(raw[row, :end].tolist()),
                    entropies=None if entropies is None else tuple(entropies[row, :end].tolist()),
                )
            )
        return found

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """For each sequence of T ids: log p(id_t | id_<t) for t = 1..T-1 at temperature 1."""
        for number, sequence in enumerate(sequences):
            Prompt(f"sequence {number}", tuple(sequence)).check(self.vocab, self.context + 1)
            yield module_logprobs(self.model, sequence)

    def load_weights(self, source: Checkpoint | nn.Module, version: int) -> None:
        """Serve `source` from now on: the module itself (already in place), another module, or a checkpoint's files."""
        load_into(self.model, source)
        self.version = version

    def close(self) -> None:
        """Nothing is held."""


class Penalties(LogitsProcessor):  # type: ignore[misc]
    """Repetition, presence and frequency penalties in generate, which knows the first only. mask [B, T] of prompts."""

    def __init__(self, sampling: Sampling, prompt_length: int, mask: torch.Tensor) -> None:
        self.sampling, self.prompt_length, self.mask = sampling, prompt_length, mask

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not self.sampling.penalised:
            return scores
        rows = len(input_ids) // len(self.mask)
        answer = torch.zeros_like(input_ids, dtype=torch.bool)
        answer[:, self.prompt_length :] = True
        text = answer.clone()
        text[:, : self.prompt_length] = self.mask.repeat_interleave(rows, 0).bool()
        return penalise(scores, self.sampling, History(input_ids, text, answer))


def _of_tokens(steps: Sequence[torch.Tensor], sampled: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [B, T] of `sampled` [B, T] under logits [B, V] per step."""
    columns = [logits.float().log_softmax(-1).cpu().gather(-1, sampled[:, [t]]) for t, logits in enumerate(steps)]
    return torch.cat(columns, -1)


def _entropies(
    steps: Sequence[torch.Tensor], sequences: torch.Tensor, prompt_length: int, mask: torch.Tensor, sampling: Sampling
) -> torch.Tensor:
    """Entropy (nats) [B, T] of the distribution at each step, after penalties and temperature, before filters."""
    processor = Penalties(sampling, prompt_length, mask)
    columns = []
    for t, logits in enumerate(steps):
        scores = processor(sequences[:, : prompt_length + t], logits.float()) / (sampling.temperature or 1.0)
        columns.append(torch.special.entr(scores.softmax(-1)).sum(-1).cpu())
    return torch.stack(columns, -1)


def _cut(prompt: Prompt, ids: list[int], limit: int, context: int, stops: Stops) -> tuple[list[int], FinishReason]:
    """Sampled ids up to and with the first stop: generate pads a batch until its last row has ended."""
    ids = ids[: min(limit, context - len(prompt.token_ids))]
    for end, token in enumerate(ids, start=1):
        if stops.ends[token]:
            return ids[:end], "stop"
        if stops.perhaps[token] and stops.ended(prompt.token_ids, np.array(ids[:end], dtype=np.int32)):
            return ids[:end], "stop"
    return ids, "length"


def context_of(config: Any) -> int:
    """Positions that the model has; where it knows no limit (state-space models), a number that no text reaches."""
    return int(getattr(config.get_text_config(), "max_position_embeddings", None) or 1 << 24)


def load_into(model: nn.Module, source: Checkpoint | nn.Module) -> None:
    """Copy the weights of `source` into `model`; nothing to do where they are the same module."""
    found: nn.Module = load_model(source.ref, revision=source.revision) if isinstance(source, Checkpoint) else source
    if found is not model:
        model.load_state_dict(found.state_dict())


def _config(sampling: Sampling, stops: Stops, limit: int, pad_id: int) -> GenerationConfig:
    """Everything said explicitly, so that nothing comes in from the model's own generation_config."""
    greedy = sampling.temperature == 0
    return GenerationConfig(
        do_sample=not greedy,
        num_return_sequences=sampling.n,
        max_new_tokens=limit,
        temperature=None if greedy else sampling.temperature,
        top_k=None if greedy else sampling.top_k,
        top_p=None if greedy else sampling.top_p,
        min_p=sampling.min_p or None,
        repetition_penalty=1.0,  # by Penalties
        eos_token_id=np.flatnonzero(stops.ends).tolist() or None,
        # Inside a thought they must not fire, which generate can't know: then text is cut afterwards.
        stop_strings=list(sampling.stop) if sampling.stop and sampling.stop_in_thinking else None,
        pad_token_id=pad_id,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=sampling.raw_logprobs or sampling.entropy,
    )
