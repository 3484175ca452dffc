"""What came back: `Reply`, made from a journaled raw reply by a pure function, so reading a journal again costs
nothing.

Usage differs between providers: OpenAI counts reasoning in completion_tokens, Gemini leaves it to total_tokens,
DeepSeek names the cached part prompt_cache_hit_tokens, OpenRouter reports the cost itself. What isn't told stays
None.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.providers.reasoning import split_reasoning
from posttrain.providers.teacher import ReasoningKind, Teacher

Finish = Literal["stop", "length", "content_filter", "error"]
# finish_reason as the providers write it → ours; what isn't here is an end like any other.
FINISHES: dict[str, Finish] = {
    "length": "length",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "content_filter": "content_filter",
    "SAFETY": "content_filter",
    "error": "error",
    "abort": "error",  # vLLM, SGLang: the server gave the request up
    "insufficient_system_resource": "error",  # DeepSeek
}


class UnreadableReply(ValueError):  # noqa: N818 - it is what it names
    """A reply that can't be used, and may be better the next time. The message says what it was."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, or (finish_reason `error`) the word that there is none and why.

    text: the answer without its reasoning; of a reply that was cut (`length`) it is what there was of it. cost:
    dollars; None where no price is known. Tokens are None where the provider doesn't tell. attempts: requests that
    were sent for it.
    """

    key: str
    sample: int
    text: str
    reasoning: str | None
    reasoning_kind: ReasoningKind
    finish_reason: Finish
    prompt_tokens: int | None
    completion_tokens: int | None
    reasoning_tokens: int | None
    cached_tokens: int | None
    cost: float | None
    seconds: float
    model: str
    attempts: int
    error: str | None = None
    journaled: bool = False  # it was in the journal before this run, and cost nothing now


def parse_reply(teacher: Teacher, raw: Mapping[str, Any]) -> Reply:
    """The reply in a journal's record (`key`, `sample`, `body` or `body64`, `status`, `seconds`, `attempt`).

    Pure. UnreadableReply where there is none in it: no JSON, an error in a 200, no choices, a server that gave up.
    """
    status = int(raw.get("status", 200))
    if status != 200:  # journaled as a reply only where a filter refused, which is an answer of its own
        return _without_text(teacher, raw, "content_filter")
    body = read_body(raw)
    choice = _choice(body)
    if choice is None:
        if _is_filtered(body):
            return _without_text(teacher, raw, "content_filter")
        raise UnreadableReply(f"a reply without choices: {excerpt(json.dumps(body, ensure_ascii=False))}")
    said = choice.get("finish_reason") or choice.get("native_finish_reason") or "stop"
    finish: Finish = FINISHES.get(str(said).partition(":")[0], "stop")
    if finish == "error":
        raise UnreadableReply(f"the server ended the reply with {said!r}")
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise UnreadableReply("a choice without a message")
    parted = split_reasoning(message, teacher.quirks.reasoning_kind)
    usage = body.get("usage")
    prompt, completion, thought, cached = _tokens(usage if isinstance(usage, Mapping) else {})
    return Reply(
        key=str(raw["key"]),
        sample=int(raw["sample"]),
        text=parted.text,
        reasoning=parted.reasoning,
        reasoning_kind=parted.kind,
        finish_reason="length" if parted.unclosed else finish,
        prompt_tokens=prompt,
        completion_tokens=completion,
        reasoning_tokens=thought,
        cached_tokens=cached,
        cost=_cost(teacher, usage, prompt, completion, cached, batch=bool(raw.get("batch"))),
        seconds=float(raw.get("seconds", 0.0)),
        model=str(body.get("model") or teacher.model),
        attempts=int(raw.get("attempt", 1)),
    )


def failed(teacher: Teacher, key: str, sample: int, attempts: int, seconds: float, why: str) -> Reply:
    """The reply that stands for none."""
    raw = {"key": key, "sample": sample, "attempt": attempts, "seconds": seconds}
    return _without_text(teacher, raw, "error", why)


def _without_text(teacher: Teacher, raw: Mapping[str, Any], finish: Finish, why: str | None = None) -> Reply:
    return Reply(
        key=str(raw["key"]),
        sample=int(raw["sample"]),
        text="",
        reasoning=None,
        reasoning_kind="none",
        finish_reason=finish,
        prompt_tokens=None,
        completion_tokens=None,
        reasoning_tokens=None,
        cached_tokens=None,
        cost=0.0 if raw.get("status", 200) != 200 else None,  # a request that was refused is not charged
        seconds=float(raw.get("seconds", 0.0)),
        model=teacher.model,
        attempts=int(raw.get("attempt", 1)),
        error=why,
    )


def read_body(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object in a record. UnreadableReply where there is none."""
    body = raw.get("body")
    if isinstance(body, Mapping):
        return dict(body)
    if body is None:
        body = _decoded(str(raw.get("body64", "")), raw.get("charset"))
    try:
        value = json.loads(str(body).removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        kind = "HTML" if str(body).lstrip()[:1] == "<" else "no JSON"
        raise UnreadableReply(f"{kind}: {excerpt(str(body))}") from None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, dict):
        raise UnreadableReply(f"JSON that is no object: {excerpt(str(body))}")
    problem = value.get("error")
    if problem:
        raise UnreadableReply(f"an error inside a 200: {excerpt(told(value))}")
    return value


def _decoded(encoded: str, charset: Any) -> str:
    """Bytes that are not UTF-8: in the encoding that the server named, if it named a true one."""
    data = base64.b64decode(encoded)
    try:
        return data.decode(str(charset or "utf-8"))
    except (LookupError, UnicodeDecodeError):
        raise UnreadableReply(f"bytes that are not in the encoding {charset!r}: {data[:60]!r}") from None


def told(value: Any) -> str:
    """The message in an error body, with its code where there is one."""
    if isinstance(value, list) and value:
        value = value[0]
    problem = value.get("error", value) if isinstance(value, Mapping) else value
    if not isinstance(problem, Mapping):
        return str(problem)
    text = str(problem.get("message") or problem.get("detail") or json.dumps(problem, ensure_ascii=False))
    return f"{text} ({problem['code']})" if isinstance(problem.get("code"), str) else text


def excerpt(text: str, most: int = 200) -> str:
    """One printable line of foreign text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * most]).split())
    return line if len(line) <= most else line[:most] + " …"


def _choice(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, Mapping) else None


def _is_filtered(body: Mapping[str, Any]) -> bool:
    """Gemini answers a blocked prompt with no choices and the reason beside them."""
    feedback = body.get("promptFeedback") or body.get("prompt_feedback")
    return isinstance(feedback, Mapping) and bool(feedback.get("blockReason") or feedback.get("block_reason"))


def _count(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def _tokens(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None, int | None]:
    """(prompt, completion with reasoning, reasoning, cached)."""

    def inner(name: str, key: str) -> int | None:
        value = usage.get(name)
        return _count(value.get(key)) if isinstance(value, Mapping) else None

    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if prompt is not None and completion is not None and total is not None:
        completion = max(completion, total - prompt)  # Gemini leaves its thoughts out of completion_tokens
    thought = inner("completion_tokens_details", "reasoning_tokens")
    if thought is None:
        thought = _count(usage.get("reasoning_tokens"))
    cached = inner("prompt_tokens_details", "cached_tokens")
    if cached is None:
        cached = _count(usage.get("prompt_cache_hit_tokens"))
    return prompt, completion, thought, cached


def _cost(
    teacher: Teacher, usage: Any, prompt: int | None, completion: int | None, cached: int | None, *, batch: bool
) -> float | None:
    """Dollars: the provider's own word before our table of prices; None where neither is there."""
    reported = usage.get("cost") if isinstance(usage, Mapping) else None
    if isinstance(reported, int | float) and not isinstance(reported, bool) and math.isfinite(reported):
        return float(reported)
    if teacher.prices is None or prompt is None or completion is None:
        return None
    full = teacher.prices.cost(prompt, completion, cached or 0)
    return full * teacher.prices.batch if batch else full
