"""Answers in the shapes of the OpenAI protocol: whole, or piece by piece as text becomes certain."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from posttrain.engines.server.requests import Asked
from posttrain.records import FinishReason


class Choice:
    """One sample on its way to the client: its tokens so far, and how much of their text may be told.

    Text is told once it is certain: not half a character, and nothing that may still become a stop string, since the
    stop string is no part of the answer. The token that ended it by its id is none either.
    """

    def __init__(self, index: int, asked: Asked, tokenizer: Any) -> None:
        self.index, self.asked, self.tokenizer = index, asked, tokenizer
        self.ids: list[int] = []
        self.values: list[float] = []
        self.finish: FinishReason | None = None
        self._told = 0  # characters
        self._sent = 0  # tokens
        self._known = ""  # text of the first _read tokens
        self._read = 0

    def add(self, ids: Sequence[int], values: Sequence[float], finish: FinishReason | None = None) -> None:
        self.ids += ids
        self.values += values
        self.finish = finish

    def _visible(self) -> list[int]:
        sampling = self.asked.sampling
        ended_by_id = self.finish == "stop" and self.ids and self.ids[-1] in sampling.stop_token_ids
        return self.ids[:-1] if ended_by_id else self.ids

    def text(self) -> str:
        """All that is certain; after the end, all of the answer."""
        ids = self._visible()
        if self.finish is None:
            # A character's bytes come in at most four tokens, and what stood before them does not change any more.
            fresh = self._decode(ids[self._read :], before=ids[max(0, self._read - 4) : self._read])
            if not fresh.endswith("�"):
                self._known, self._read = self._known + fresh, len(ids)
            return self._before_stop(self._known)
        return self._before_stop(str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)))

    def _decode(self, ids: list[int], before: list[int]) -> str:
        """Text of `ids` where they stand: some tokenizers write a leading space only inside a text."""
        context = str(self.tokenizer.decode(before, clean_up_tokenization_spaces=False))
        return str(self.tokenizer.decode([*before, *ids], clean_up_tokenization_spaces=False))[len(context) :]

    def _before_stop(self, text: str) -> str:
        stops = self.asked.sampling.stop
        if self.finish is None:
            held = max((k for s in stops for k in range(1, len(s)) if text.endswith(s[:k])), default=0)
            return text[: len(text) - held]
        if self.finish == "stop" and stops and len(self._visible()) == len(self.ids):
            # The last token completed a string: it begins no further back than the longest one reaches.
            before = len(self._decode(self.ids[:-1], before=[]))
            start = max(0, before - max(map(len, stops)))
            return text[: min((at for s in stops if (at := text.find(s, start)) >= 0), default=len(text))]
        return text

    def delta(self) -> str | None:
        """Text that is new since the last time; None where there is nothing to tell."""
        text = self.text()
        if len(text) <= self._told and self.finish is None:
            return None
        new, self._told = text[self._told :], max(self._told, len(text))
        return new

    def _logprobs(self, start: int) -> dict[str, Any] | None:
        if not self.asked.logprobs:
            return None
        ids, values = self.ids[start:], self.values[start:]
        tokens = [str(self.tokenizer.decode([i], clean_up_tokenization_spaces=False)) for i in ids]
        if self.asked.chat:
            pairs = zip(tokens, values, strict=True)
            content = [{"token": t, "logprob": v, "bytes": list(t.encode()), "top_logprobs": []} for t, v in pairs]
            return {"content": content, "refusal": None}
        offsets = [sum(map(len, tokens[:i])) for i in range(len(tokens))] if len(tokens) <= 4096 else []
        return {"tokens": tokens, "token_logprobs": values, "top_logprobs": None, "text_offset": offsets}

    def whole(self) -> dict[str, Any]:
        body: dict[str, Any] = {"index": self.index, "finish_reason": self.finish, "logprobs": self._logprobs(0)}
        if self.asked.chat:
            body["message"] = {"role": "assistant", "content": self.text()}
        else:
            body["text"] = self.text()
        if self.asked.token_ids:
            body["token_ids"] = self.ids
        return body

    def part(self, text: str) -> dict[str, Any]:
        """The next part of a stream, with the tokens that came since the last."""
        start, self._sent = self._sent, len(self.ids)
        body: dict[str, Any] = {"index": self.index, "finish_reason": self.finish, "logprobs": self._logprobs(start)}
        if self.asked.chat:
            body["delta"] = {"content": text} if start else {"role": "assistant", "content": text}
        else:
            body["text"] = text
        if self.asked.token_ids:
            body["token_ids"] = self.ids[start:]
        return body


def envelope(asked: Asked, model: str, name: str, *, part: bool) -> dict[str, Any]:
    """What stands around the choices."""
    kind = ("chat.completion.chunk" if part else "chat.completion") if asked.chat else "text_completion"
    prefix = "chatcmpl" if asked.chat else "cmpl"
    return {"id": f"{prefix}-{name}", "object": kind, "created": int(time.time()), "model": model}


def usage(asked: Asked, choices: Sequence[Choice]) -> dict[str, int]:
    prompt = sum(len(p.token_ids) for p in asked.prompts)
    said = sum(len(choice.ids) for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": prompt + said}


def error(message: str, status: int, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
