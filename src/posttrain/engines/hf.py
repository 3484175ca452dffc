"""The `hf` engine: transformers' own generate. Slow, runs any causal language model; others are tested against it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.parity import module_logprobs
from posttrain.engines.stops import StopStrings
from posttrain.errors import EngineError
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
        self.context = int(config.max_position_embeddings)
        self.vocab = int(config.vocab_size)
        self.version = 0

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions, batch after batch. EngineError for a prompt that can't be run."""
        stops = None
        if sampling.stop:
            stops = StopStrings(sampling.stop, self.tokenizer, self.vocab, in_thinking=sampling.stop_in_thinking)
        source = iter(prompts)
        while batch := list(islice(source, max(1, self.max_batch // sampling.n))):
            for prompt in batch:
                prompt.check(self.vocab, self.context)
            yield from self._generate(batch, sampling, stops)

    def _generate(self, batch: list[Prompt], sampling: Sampling, stops: StopStrings | None) -> list[Completion]:
        started = time.perf_counter()
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
                generation_config=_config(sampling, limit, self.pad_id),
                tokenizer=self.tokenizer,
            )
        sampled = out.sequences[:, longest:].cpu()
        scores = torch.stack(out.logits if sampling.temperature == 0 else out.scores, 1).float().log_softmax(-1)
        logprobs = scores.cpu().gather(-1, sampled[..., None])[..., 0]
        seconds = time.perf_counter() - started
        found = []
        for row in range(len(sampled)):
            prompt = batch[row // sampling.n]
            kept, reason = _cut(prompt, sampled[row].tolist(), sampling, stops)
            found.append(
                Completion(
                    key=prompt.key,
                    index=row % sampling.n,
                    token_ids=tuple(kept),
                    logprobs=tuple(logprobs[row, : len(kept)].tolist()),
                    finish_reason=reason,
                    weights_version=self.version,
                    prompt_ids=prompt.token_ids,
                    seconds=seconds,
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


def _cut(
    prompt: Prompt, ids: list[int], sampling: Sampling, stops: StopStrings | None
) -> tuple[list[int], FinishReason]:
    """Sampled ids up to and with the first stop: generate pads a batch until its last row has ended."""
    ending = () if sampling.ignore_eos else sampling.stop_token_ids
    for end, token in enumerate(ids, start=1):
        text_ended = stops is not None and stops.ended(prompt.token_ids, np.array(ids[:end], dtype=np.int32))
        if token in ending or text_ended:
            return ids[:end], "stop"
    return ids, "length"


def load_into(model: nn.Module, source: Checkpoint | nn.Module) -> None:
    """Copy the weights of `source` into `model`; nothing to do where they are the same module."""
    if isinstance(source, Checkpoint):
        from transformers import AutoModelForCausalLM

        source = cast(
            nn.Module,
            AutoModelForCausalLM.from_pretrained(
                str(source.model_dir), revision=source.revision, use_safetensors=True, trust_remote_code=False
            ),
        )
    if source is not model:
        model.load_state_dict(source.state_dict())


def _config(sampling: Sampling, limit: int, pad_id: int) -> GenerationConfig:
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
        repetition_penalty=1.0,
        eos_token_id=None if sampling.ignore_eos or not sampling.stop_token_ids else list(sampling.stop_token_ids),
        # Inside a thought they must not fire, which generate can't know: then text is cut afterwards.
        stop_strings=list(sampling.stop) if sampling.stop and sampling.stop_in_thinking else None,
        pad_token_id=pad_id,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=greedy,
    )
