"""VLLMEngine: the Engine protocol over managed vLLM servers."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import nn

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.stops import StopTable
from posttrain.engines.vllm.client import Client, Job, Loop, request_body
from posttrain.engines.vllm.config import VLLMConfig
from posttrain.engines.vllm.dispatch import Dispatch, Replica, Work
from posttrain.engines.vllm.server import LORA_RANKS, Launch, find_environment, gpus_of_replicas, visible_gpus
from posttrain.engines.vllm.serving import Serving
from posttrain.engines.vllm.weights import Canary, Proof, Tolerance, WeightFolders, is_adapted
from posttrain.errors import EngineError
from posttrain.hub import resolve_model
from posttrain.models import load_model
from posttrain.models.base import is_adapter
from posttrain.records import Completion
from posttrain.store import Checkpoint

T = TypeVar("T")


class VLLMEngine:
    """Samples from and scores with managed vLLM servers.

    source: a checkpoint, served from its own files, or a module (a transformers model, or one with a LoRA adapter by
    peft), whose weights are handed over in RAM and proven by the canary before this returns.
    folder: where the servers' logs go. max_batch: samples that run at once on one replica.
    tokenizer: needed only for stop strings. dtype: of the server, where the config names none.
    Raises EngineError where the environment is missing, a port is taken, a server does not start or serves other
    weights than the module's.
    """

    def __init__(
        self,
        source: Checkpoint | nn.Module,
        *,
        folder: Path,
        config: VLLMConfig | None = None,
        max_batch: int = 256,
        tokenizer: Any = None,
        dtype: str = "float32",
    ) -> None:
        self.config = config = config or VLLMConfig()
        self.max_batch, self.tokenizer = max_batch, tokenizer
        self.dtype = config.dtype or dtype
        source = _whole(source, self.dtype)
        if max_batch < 1:
            raise EngineError(f"max_batch is {max_batch}; it must be at least 1, and 64 to 256 is usual.")
        environment = find_environment(config)
        gpus = None if environment.cpu else gpus_of_replicas(config, visible_gpus())
        shape = _shape(source)
        self.vocab = int(shape["vocab_size"])
        self.context = _context(config, int(shape["max_position_embeddings"]))
        self._failed: EngineError | None = None
        self._stops = StopTable(tokenizer, self.vocab)
        self._skipped: set[str] = set()
        self._asleep = self._closed = False
        self._dispatches: list[Dispatch[Any]] = []
        self.folders = WeightFolders(folder, untie=environment.cpu)
        self.loop = Loop()
        launch = Launch(
            config=config,
            environment=environment,
            dtype=self.dtype,
            max_batch=max_batch,
            log=folder / "server.log",
            scratch=self.folders.root,
            lora_rank=_rank(source),
        )
        self.replicas = [
            Replica(
                i,
                dataclasses.replace(
                    launch,
                    log=folder / f"server-{i}.log",
                    port=None if config.port is None else config.port + i,
                    gpus=gpus[i] if gpus else None,
                ),
                self.loop,
            )
            for i in range(config.replicas)
        ]
        canary = Canary(self.vocab, self.context, Tolerance.of(self.dtype, config.tolerance))
        self.serving = Serving(self.replicas, self.folders, canary, config, self.dtype)
        try:
            self.serving.start(source)
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> int:
        """Of the weights that are served."""
        return self.serving.version

    @property
    def proofs(self) -> list[Proof]:
        """What the canary saw of every weight update, the failed ones too."""
        return self.serving.proofs

    @property
    def restarts(self) -> int:
        """How often a lost server was started again."""
        return self.serving.restarts

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish; prompts are pulled as places free.

        Raises EngineError for a prompt that can't be run, for logits that are not finite, and for a lost server where
        `on_loss` is "error".
        """
        self._check_ready()
        self._stops.of(sampling)  # refuse before anything is asked
        self._wake()
        self._skipped.clear()
        version = self.version
        for work in self._dispatch(self._jobs(prompts, sampling)):
            job = work.item
            logprobs = tuple(job.logprobs)  # first: a cancelled job's stream may still be ending in its thread
            yield Completion(
                key=job.prompt.key,
                index=job.index,
                token_ids=tuple(job.ids[: len(logprobs)]),
                logprobs=logprobs,
                finish_reason=job.finish if job.finish and not work.cancelled else "cancelled",
                weights_version=version,
                prompt_ids=job.prompt.token_ids,
                seconds=time.perf_counter() - job.began if job.began else 0.0,
                raw_logprobs=None if job.raw is None else tuple(job.raw),
                first_token_seconds=job.first - job.began if job.first else 0.0,
            )
        self._rest()

    def _jobs(self, prompts: Iterable[Prompt], common: Sampling) -> Iterator[Work[Job]]:
        for prompt in prompts:
            prompt.check(self.vocab, self.context)
            sampling = prompt.sampling or common
            if sampling.entropy:
                raise EngineError(
                    "sampling: entropy is on, and a vLLM server does not tell the whole distribution that it takes. "
                    "Use the native engine, or leave entropy out."
                )
            stops = self._stops.of(sampling)
            text_stops = stops if stops.perhaps.any() else None
            raw = self.context if sampling.raw_logprobs else None
            self._skipped.discard(prompt.key)
            for index in range(sampling.n):
                if prompt.key in self._skipped:
                    break
                job = Job(prompt, index)
                body = request_body(job, sampling, stops, self.serving.model, self.context)
                call = functools.partial(Client.sample, job=job, body=body, stops=text_stops, raw=raw)
                yield Work(prompt.key, job, call)

    def cancel(self, key: str) -> None:
        """End the samples of the prompt `key`: running ones come back as `cancelled` with what has arrived of them,
        those that had not begun do not come. A key that is not at work is forgotten."""
        for dispatch in self._dispatches:
            if dispatch.cancel(key):
                self._skipped.add(key)

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """For each sequence of T ids: log p(id_t | id_<t) for t = 1..T-1 at temperature 1, in the given order."""
        self._check_ready()
        self._wake()
        waiting: dict[int, list[float]] = {}
        wanted = 0
        for work in self._dispatch(self._scorings(sequences)):
            waiting[work.item] = work.result
            while wanted in waiting:
                yield waiting.pop(wanted)
                wanted += 1
        self._rest()

    def _scorings(self, sequences: Iterable[Sequence[int]]) -> Iterator[Work[int]]:
        for number, sequence in enumerate(sequences):
            ids = tuple(sequence)
            Prompt(f"sequence {number}", ids).check(self.vocab, self.context + 1)
            yield Work(f"sequence {number}", number, self.serving.scoring(ids))

    def load_weights(self, source: Checkpoint | nn.Module, version: int) -> None:
        """Serve `source` from now on. Returns only when the canary has seen its log-probabilities served.

        One operation per server: pause, load, forget the cache, resume. Beyond tolerance the server is started again on
        the new weights and proven again; if that fails as well, EngineError with the numbers, and this engine samples
        no more.
        """
        self._check_ready()
        self._wake()
        try:
            self.serving.load(source, version)
        except EngineError as error:
            self._failed = error
            raise

    def _dispatch(self, source: Iterator[Work[T]]) -> Iterator[Work[T]]:
        dispatch: Dispatch[T] = Dispatch(self.replicas, self.loop, self.max_batch, self.serving.recover)
        self._dispatches.append(dispatch)
        try:
            yield from dispatch.run(source)
        finally:
            self._dispatches.remove(dispatch)

    def _check_ready(self) -> None:
        if self._failed is not None:
            raise EngineError(f"this engine has stopped: {self._failed}")

    def sleep(self) -> None:
        """Give the GPUs' memory back until the next request (the CPU build ignores it)."""
        for replica in self.replicas:
            replica.post("/sleep", level=1)
        self._asleep = True

    def _rest(self) -> None:
        if self.config.sleep:
            self.sleep()

    def _wake(self) -> None:
        if self._asleep:
            for replica in self.replicas:
                try:
                    replica.post("/wake_up")
                except EngineError:
                    if not replica.is_dead():  # else whatever it is asked next finds it out, and sees to it
                        raise
            self._asleep = False

    def close(self) -> None:
        """Ends the servers with everything they started, and removes the weights handed to them."""
        if self._closed:
            return
        self._closed = True
        for replica in self.replicas:
            replica.stop()
        self.loop.close()
        self.folders.close()


def _whole(source: Checkpoint | nn.Module, dtype: str) -> Checkpoint | nn.Module:
    """An adapter's folder as the module that it makes of its base, since the server loads whole models."""
    if isinstance(source, Checkpoint) and is_adapter(resolve_model(source.ref, source.revision)):
        merged: nn.Module = load_model(source.ref, revision=source.revision, dtype=dtype)
        return merged
    return source


def _shape(source: Checkpoint | nn.Module) -> dict[str, Any]:
    """config.json of the model."""
    if isinstance(source, Checkpoint):
        path = resolve_model(source.ref, source.revision) / "config.json"
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return cast(dict[str, Any], cast(Any, source).config.to_dict())


def _context(config: VLLMConfig, positions: int) -> int:
    if config.max_model_len is not None and config.max_model_len > positions:
        raise EngineError(
            f"vllm.max_model_len is {config.max_model_len}, and this model has positions for {positions} tokens. "
            "Leave it out to use all of them."
        )
    return config.max_model_len or positions


def _rank(source: Checkpoint | nn.Module) -> int:
    """Rank of the module's LoRA adapter, 0 where there is none."""
    if isinstance(source, Checkpoint) or not is_adapted(source):
        return 0
    settings: dict[str, Any] = cast(Any, source).peft_config
    rank = max(int(one.r) for one in settings.values())
    if rank > LORA_RANKS[-1]:
        raise EngineError(
            f"the adapter has rank {rank}, and vLLM serves at most {LORA_RANKS[-1]}. Use the native engine for it."
        )
    return rank
