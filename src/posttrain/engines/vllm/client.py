"""Requests to a vLLM server: token ids in, token ids and log-probabilities out, over its public HTTP endpoints."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import numpy as np

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.native.noise import sample_key
from posttrain.engines.stops import Stops
from posttrain.errors import EngineError
from posttrain.records import FinishReason

STREAM_EVERY = 16  # tokens per message: how much a cancelled or cut sample may have cost for nothing
CONNECT_SECONDS = 10.0
MESSAGE = 400  # characters of a server's answer that go into an error


T = TypeVar("T")


class LostError(Exception):
    """The server is gone, silent, or said that it is broken. What it had not finished can be asked again."""


class Loop:
    """An event loop in a thread of its own, so that it also works where the caller is inside one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-client", daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(slots=True)
class Job:
    """One sample: what is asked, and what has come of it so far. Times are those of the clock."""

    prompt: Prompt
    index: int
    began: float = 0.0
    first: float = 0.0
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    raw: list[float] | None = None
    finish: FinishReason | None = None

    def begin(self) -> None:
        """Forget what came: a repeated request says it all again."""
        self.ids, self.logprobs, self.raw, self.finish = [], [], None, None
        self.began = self.began or time.perf_counter()


def request_body(job: Job, sampling: Sampling, stops: Stops, model: str, context: int) -> dict[str, Any]:
    """The request of one sample. Every setting is said, and end-of-text ids stop only where `sampling` has them."""
    return {
        "model": model,
        "prompt": list(job.prompt.token_ids),
        "max_tokens": min(sampling.max_tokens, context - len(job.prompt.token_ids)),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": sampling.min_p,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sample_key(job.prompt.seed, job.index) >> 1,  # vLLM takes signed 64 bits
        "stop_token_ids": np.flatnonzero(stops.ends).tolist(),
        "ignore_eos": True,
        "logprobs": 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "stream": True,
        "stream_interval": STREAM_EVERY,
    }


class Client:
    """Requests to one server. `silence`: seconds without a byte after which a request is lost."""

    def __init__(self, url: str, silence: float) -> None:
        self.url = url
        # trust_env off: a proxy of the environment must not see, or break, what goes to this machine.
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(silence, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def sample(self, job: Job, body: dict[str, Any], stops: Stops | None, raw: int | None) -> None:
        """Fills `job`. `stops`: those that only its text tells. `raw`: the context, where log-probabilities before all
        processing are wanted too.

        LostError where the server fails in the middle; EngineError where it refuses the request.
        """
        await self._stream(job, body, stops)
        if raw is not None:
            text = (*job.prompt.token_ids, *job.ids)
            job.raw = (await self.score(text, body["model"], raw))[len(job.prompt.token_ids) - 1 :]

    async def _stream(self, job: Job, body: dict[str, Any], stops: Stops | None) -> None:
        job.begin()
        try:
            async with self._http.stream("POST", "/v1/completions", json=body) as response:
                if response.status_code != 200:
                    _refuse(response.status_code, (await response.aread()).decode(errors="replace"))
                async for line in response.aiter_lines():
                    if line.startswith("data: {"):
                        before = len(job.ids)
                        _take(job, json.loads(line[6:]))
                        if stops is not None and _cut(job, stops, before):
                            return  # leaving the stream tells the server to stop
        except httpx.TransportError as error:
            raise LostError(f"{type(error).__name__}: {error}".rstrip(": ")) from error
        except ValueError as error:  # a message torn in the middle
            raise LostError(f"an answer that is no JSON: {error}") from error
        if job.finish is None:
            raise LostError("the answer ended before the sample did")

    async def score(self, sequence: Sequence[int], model: str, context: int) -> list[float]:
        """log p(id_t | id_<t) for t = 1..T-1 at temperature 1, for T up to `context`."""
        if len(sequence) < 2:
            return []
        # A server must be left room for one token; the last one is then asked for as that.
        head = sequence if len(sequence) < context else sequence[:-1]
        last = sequence[-1]
        body: dict[str, Any] = {"model": model, "prompt": list(head), "max_tokens": 1, "temperature": 0.0}
        body |= {"prompt_logprobs": 0, "ignore_eos": True}
        if head is not sequence:
            body |= {"logprobs": 0, "logprob_token_ids": [last], "return_tokens_as_token_ids": True}
        choice = (await self.post("/v1/completions", body))["choices"][0]
        found = [float(e[str(i)]["logprob"]) for e, i in zip(choice["prompt_logprobs"][1:], head[1:], strict=True)]
        if head is not sequence:
            found.append(float(choice["logprobs"]["top_logprobs"][0][f"token_id:{last}"]))
        return found

    async def post(self, path: str, body: Any = None, **query: Any) -> Any:
        """The JSON that comes back, None where there is none. Errors as in `sample`."""
        try:
            response = await self._http.post(path, json=body, params=query)
        except httpx.TransportError as error:
            raise LostError(f"{path}: {type(error).__name__} {error}".rstrip()) from error
        if response.status_code != 200:
            _refuse(response.status_code, f"{path}: {response.text}")
        try:
            return response.json()
        except ValueError:
            return None  # some endpoints answer with plain words

    async def health(self) -> None:
        """Returns where the server says it is well. Errors as in `post`."""
        try:
            response = await self._http.get("/health", timeout=httpx.Timeout(CONNECT_SECONDS))
        except httpx.TransportError as error:
            raise LostError(f"/health: {type(error).__name__} {error}".rstrip()) from error
        if response.status_code != 200:
            raise LostError(f"/health: status {response.status_code}")

    async def close(self) -> None:
        await self._http.aclose()


def _refuse(status: int, text: str) -> None:
    try:
        said = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = text
    if status >= 500:
        raise LostError(f"status {status}: {str(said)[:MESSAGE]}")
    raise EngineError(f"the vLLM server refused a request (status {status}): {str(said)[:MESSAGE]}")


def _take(job: Job, message: dict[str, Any]) -> None:
    """Adds a streamed message's tokens. LostError for one that says the server failed."""
    if "error" in message:
        raise LostError(str(message["error"])[:MESSAGE])
    choice = message["choices"][0]
    ids = choice["token_ids"] or []
    values = choice["logprobs"]["token_logprobs"] if choice["logprobs"] else []
    if len(ids) != len(values) or any(value is None or value != value for value in values):
        raise EngineError(
            f"the vLLM server gave {len(ids)} tokens with log-probabilities {values[:4]} for prompt "
            f"{job.prompt.key!r}: the model's logits are not finite, or this version of vLLM is not supported."
        )
    if ids and not job.ids:
        job.first = time.perf_counter()
    job.ids.extend(ids)
    job.logprobs.extend(values)
    reason = choice["finish_reason"]
    if reason in ("stop", "length"):
        job.finish = reason
    elif reason is not None:
        raise LostError(f"the server ended a request with {reason!r}")


def _cut(job: Job, stops: Stops, before: int) -> bool:
    """Whether the text has ended the sample, beyond its first `before` tokens; what came after is dropped."""
    ids = np.array(job.ids, dtype=np.int32)
    for end in range(before + 1, len(ids) + 1):
        if stops.perhaps[ids[end - 1]] and stops.ended(job.prompt.token_ids, ids[:end]):
            del job.ids[end:], job.logprobs[end:]
            job.finish = "stop"
            return True
    return False
