"""OpenAIEngine: the Engine protocol over HTTP.

In mode `tokens` prompts and answers are token ids (/completions, as vLLM and `posttrain serve` have it); in mode `chat`
they are text (/chat/completions): a Completion then has `text`, and ids only where the server gives them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Never

from posttrain.engines.base import Prompt, Sampling
from posttrain.engines.openai.client import Client
from posttrain.engines.openai.config import ServerConfig
from posttrain.errors import EngineError
from posttrain.records import Completion, FinishReason

# Fields beyond OpenAI's own are sent only where they differ from "off": a strict server refuses what it doesn't know.
EXTENSIONS = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "ignore_eos": False}
STANDARD = {"presence_penalty": 0.0, "frequency_penalty": 0.0}
REASONING = ("reasoning", "reasoning_content")  # the field has had both names


class OpenAIEngine:
    """A model behind an API.


    raw_logprobs and entropy can't be had over this protocol. In chat, stop strings fire inside a thought, too.
    """

    def __init__(self, config: ServerConfig, model: str | None = None) -> None:
        self.config, self.model = config, model or config.model
        if self.model is None:
            raise EngineError(
                f"server.model is missing: the model's name at the server. {config.url}/models lists them."
            )
        self.client = Client(config)
        self.version = 0

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they come; prompts are pulled as connections free. EngineError where the server refuses."""
        source = iter(prompts)
        with ThreadPoolExecutor(self.config.concurrency, thread_name_prefix="openai") as pool:
            running: set[Future[list[Completion]]] = set()
            try:
                while True:
                    while len(running) < self.config.concurrency and (prompt := next(source, None)) is not None:
                        running.add(pool.submit(self._ask, prompt, prompt.sampling or sampling))
                    if not running:
                        return
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield from future.result()
            finally:
                for future in running:
                    future.cancel()

    def _ask(self, prompt: Prompt, sampling: Sampling) -> list[Completion]:
        """All n samples; servers that give fewer choices than asked for are asked again."""
        if sampling.raw_logprobs or sampling.entropy:
            raise EngineError(
                "raw log-probabilities and entropies can't be had over the OpenAI protocol. Leave them out, or use the "
                "engine 'native'."
            )
        found: list[Completion] = []
        while len(found) < sampling.n:
            began = time.perf_counter()
            tokens = self.config.mode == "tokens"
            path = "/completions" if tokens else "/chat/completions"
            body = self._body(prompt, sampling, sampling.n - len(found), prompt.seed + len(found))
            answer = self.client.post(path, body)
            seconds = time.perf_counter() - began
            choices = answer.get("choices")
            if not isinstance(choices, list) or not choices:
                self._unreadable(prompt, "no choices")
            for choice in choices[: sampling.n - len(found)]:
                read = self._from_tokens if tokens else self._from_chat
                found.append(read(prompt, len(found), choice, seconds))
        return found

    def _body(self, prompt: Prompt, sampling: Sampling, n: int, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed % (1 << 63),
            "n": n,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        for name, off in (EXTENSIONS | STANDARD).items():
            value = getattr(sampling, name)
            if value != off:
                body[name] = value
        if self.config.mode == "tokens":
            body |= {"prompt": list(prompt.token_ids), "logprobs": 0, "return_token_ids": True}
            if sampling.stop or sampling.stop_token_ids:
                body["stop_in_thinking"] = sampling.stop_in_thinking  # of `posttrain serve`; vLLM takes no notice
            if sampling.stop_token_ids and not sampling.ignore_eos:
                body["stop_token_ids"] = list(sampling.stop_token_ids)
            return body
        if not prompt.messages:
            raise EngineError(
                f"prompt {prompt.key!r} has token ids only, and the server is asked in chat. Set server.mode to tokens "
                "where it takes ids, or give the prompt its messages."
            )
        return body | {"messages": [{"role": role, "content": content} for role, content in prompt.messages]}

    def _from_tokens(self, prompt: Prompt, index: int, choice: Any, seconds: float) -> Completion:
        choice = choice if isinstance(choice, dict) else {}
        ids = choice.get("token_ids")
        listed = choice.get("logprobs")
        values = listed.get("token_logprobs") if isinstance(listed, dict) else None
        if ids is None or values is None or not _are(ids, int) or not _are(values, float) or len(ids) != len(values):
            self._unreadable(prompt, "no token ids with their log-probabilities", "Set server.mode to chat.")
        return Completion(
            key=prompt.key,
            index=index,
            token_ids=tuple(ids),
            logprobs=tuple(map(float, values)),
            finish_reason=_reason(choice),
            weights_version=self.version,
            prompt_ids=prompt.token_ids,
            seconds=seconds,
        )

    def _from_chat(self, prompt: Prompt, index: int, choice: Any, seconds: float) -> Completion:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            self._unreadable(prompt, "a choice without a message")
        text = message.get("content")
        text = text if isinstance(text, str) else ""  # null: a refusal, or nothing but reasoning
        thought = next((t for name in REASONING if isinstance(t := message.get(name), str) and t), None)
        if thought is not None:
            text = f"<think>{thought}</think>{text}"
        ids = choice.get("token_ids")
        return Completion(
            key=prompt.key,
            index=index,
            token_ids=tuple(ids) if _are(ids, int) else (),
            logprobs=(),
            finish_reason=_reason(choice),
            weights_version=self.version,
            prompt_ids=prompt.token_ids,
            seconds=seconds,
            text=text,
        )

    def _unreadable(self, prompt: Prompt, what: str, remedy: str = "Look at server.url and server.model.") -> Never:
        raise EngineError(f"{self.config.url} answered prompt {prompt.key!r} with {what}. {remedy}")

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """EngineError: the protocol has no way to ask for the log-probabilities of given text."""
        raise EngineError(
            "scoring given text can't be had over the OpenAI protocol. Use the engine 'native' or 'vllm'."
        )

    def load_weights(self, source: object, version: int) -> None:
        """EngineError: another's model stays what it is."""
        raise EngineError(f"the weights behind {self.config.url} can't be changed. Use the engine 'native' or 'vllm'.")

    def close(self) -> None:
        self.client.close()


def _are(values: Any, kind: type) -> bool:
    wanted = (int, float) if kind is float else kind
    return isinstance(values, list) and all(isinstance(v, wanted) and not isinstance(v, bool) for v in values)


def _reason(choice: dict[str, Any]) -> FinishReason:
    """`length` where the server cut the answer; its other reasons (stop, content_filter ...) are ends."""
    return "length" if choice.get("finish_reason") == "length" else "stop"
