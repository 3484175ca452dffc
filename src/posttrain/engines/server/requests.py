"""What a client asks for, checked field by field: bodies are untrusted, and a wrong one is a BadRequest."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.engines.base import Prompt, Sampling
from posttrain.errors import PosttrainError
from posttrain.prompts import chat_ids, document_ids

# What other servers do with these changes the answer; left alone without a word it would be another one.
REFUSED = (
    "logit_bias",
    "tools",
    "functions",
    "response_format",
    "suffix",
    "echo",
    "audio",
    "prediction",
    "guided_json",
)
MAX_PROMPTS = 256  # in one request


class BadRequest(Exception):  # noqa: N818 - named as the HTTP status is
    """A request that can't be answered. `param` names the field, `status` is the HTTP status."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message, self.param, self.status = message, param, status


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for. max_tokens None: whatever the context has room for."""

    vocab: int
    context: int
    max_tokens: int | None = None
    max_n: int = 128
    body_bytes: int = 8 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be answered: the prompts with their sampling, and how the client wants the answer."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    stream: bool
    usage_in_stream: bool
    logprobs: bool
    token_ids: bool
    chat: bool


def read_json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no tokenizer takes it
        raise BadRequest("the body holds text that is not Unicode") from None
    return value


def read_request(
    body: Mapping[str, Any], tokenizer: Any, limits: Limits, model: str, ends: tuple[int, ...], *, chat: bool
) -> Asked:
    """ends: ids that end an answer unless the request says ignore_eos. Raises BadRequest."""
    named = _take(body, "model", str, model)
    if named != model:
        raise BadRequest(f"the model {named[:100]!r} is not served here; {model!r} is", "model", 404)
    for name in REFUSED:
        if body.get(name):
            raise BadRequest(f"{name} is not offered by this server: leave it out", name)
    texts = [_conversation(body, tokenizer)] if chat else _prompts(body, tokenizer)
    sampling = _sampling(body, limits, ends, chat=chat)
    seed = _take(body, "seed", int, None)
    if seed is None:
        seed = secrets.randbits(63)
    name = secrets.token_hex(12)
    prompts = []
    for number, ids in enumerate(texts):
        prompt = Prompt(f"{name}-{number}", ids, seed + number, sampling)
        try:
            prompt.check(limits.vocab, limits.context)
        except PosttrainError as error:
            raise BadRequest(str(error).replace(repr(prompt.key), str(number)), "prompt") from None
        prompts.append(prompt)
    options = _take(body, "stream_options", dict, {})
    return Asked(
        prompts=tuple(prompts),
        sampling=sampling,
        stream=_take(body, "stream", bool, False),
        usage_in_stream=bool(options.get("include_usage")),
        logprobs=_logprobs(body, chat=chat),
        token_ids=_take(body, "return_token_ids", bool, False),
        chat=chat,
    )


def _take(body: Mapping[str, Any], name: str, kind: type | tuple[type, ...], default: Any) -> Any:
    """A field of the right type, `default` where it is absent or null."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
        raise BadRequest(f"{name} must be {wanted}", name)
    return value


def _logprobs(body: Mapping[str, Any], *, chat: bool) -> bool:
    if chat:
        if _take(body, "top_logprobs", int, 0) > 0:
            raise BadRequest(
                "only the sampled token's log-probability is given: top_logprobs must be 0", "top_logprobs"
            )
        return bool(_take(body, "logprobs", bool, False))
    count = _take(body, "logprobs", int, None)
    if count is not None and not 0 <= count <= 1:
        raise BadRequest("only the sampled token's log-probability is given: logprobs must be 0 or 1", "logprobs")
    return count is not None


def _sampling(body: Mapping[str, Any], limits: Limits, ends: tuple[int, ...], *, chat: bool) -> Sampling:
    def number(name: str, default: float) -> float:
        return float(_take(body, name, (int, float), default))

    room = limits.max_tokens or limits.context
    asked = _take(body, "max_tokens", int, _take(body, "max_completion_tokens", int, room if chat else min(16, room)))
    if asked > room:
        raise BadRequest(f"max_tokens is {asked}, and this server gives at most {room}", "max_tokens")
    stop = _take(body, "stop", (str, list), [])
    strings = [stop] if isinstance(stop, str) else stop
    if len(strings) > 16 or not all(isinstance(s, str) and 0 < len(s) <= 1000 for s in strings):
        raise BadRequest("stop must be at most 16 strings of 1 to 1,000 characters", "stop")
    ids = _take(body, "stop_token_ids", list, [])
    if len(ids) > 1000 or not all(type(i) is int and 0 <= i < limits.vocab for i in ids):
        raise BadRequest(f"stop_token_ids must be at most 1,000 ids below {limits.vocab}", "stop_token_ids")
    n = _take(body, "n", int, 1)
    if n > limits.max_n:
        raise BadRequest(f"n is {n}, and this server gives at most {limits.max_n}", "n")
    if _take(body, "best_of", int, n) != n:
        raise BadRequest("best_of is not offered by this server: leave it out", "best_of")
    try:
        return Sampling(
            n=n,
            temperature=number("temperature", 1.0),
            top_p=number("top_p", 1.0),
            top_k=max(0, _take(body, "top_k", int, 0)),  # -1 is off for vLLM
            min_p=number("min_p", 0.0),
            max_tokens=asked,
            stop=tuple(strings),
            stop_in_thinking=_take(body, "stop_in_thinking", bool, True),  # as clients of this protocol expect
            stop_token_ids=tuple(dict.fromkeys((*ids, *ends))),
            ignore_eos=_take(body, "ignore_eos", bool, False),
            repetition_penalty=number("repetition_penalty", 1.0),
            presence_penalty=number("presence_penalty", 0.0),
            frequency_penalty=number("frequency_penalty", 0.0),
        )
    except PosttrainError as error:
        raise BadRequest(str(error)) from None


def _prompts(body: Mapping[str, Any], tokenizer: Any) -> list[tuple[int, ...]]:
    """Token ids of every prompt: a text, ids, or a list of either. Text is text: it has no special tokens in it."""
    value = _take(body, "prompt", (str, list), None)
    if value is None:
        raise BadRequest("prompt is missing: a text, a list of token ids, or a list of either", "prompt")
    several: Sequence[Any] = value if isinstance(value, list) and value and not _are_ids(value) else [value]
    if len(several) > MAX_PROMPTS:
        raise BadRequest(f"{len(several)} prompts in one request; at most {MAX_PROMPTS} are taken", "prompt")
    found = []
    for item in several:
        if isinstance(item, str):
            found.append(tuple(document_ids(item, tokenizer)[:-1]))
        elif isinstance(item, list) and _are_ids(item):
            found.append(tuple(item))
        else:
            raise BadRequest("prompt must be a text, a list of token ids, or a list of either", "prompt")
    return found


def _are_ids(value: list[Any]) -> bool:
    return all(type(i) is int for i in value)


def _conversation(body: Mapping[str, Any], tokenizer: Any) -> tuple[int, ...]:
    turns = _take(body, "messages", list, None)
    if not turns:
        raise BadRequest("messages is missing: a list of {role, content}", "messages")
    checked = []
    for turn in turns:
        role = turn.get("role") if isinstance(turn, dict) else None
        content = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            content = "".join(part["text"] for part in content)
        if role not in ("system", "user", "assistant") or not isinstance(content, str):
            raise BadRequest("each message needs a role (system, user, assistant) and text as content", "messages")
        checked.append({"role": role, "content": content})
    try:
        return tuple(chat_ids(checked, tokenizer))
    except PosttrainError as error:
        raise BadRequest(str(error), "messages") from None
