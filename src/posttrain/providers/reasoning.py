"""Where a reply carries its reasoning: a field under one of its names, parts of the content, or tags in the text.

The field has been `reasoning_content` (DeepSeek, vLLM before 0.12), `reasoning` (OpenRouter, Together, vLLM since)
and `reasoning_details` (OpenRouter: a list, of texts, summaries or encrypted blocks). Mistral and others send the
content in parts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from posttrain.providers.teacher import ReasoningKind

FIELDS = ("reasoning", "reasoning_content", "reasoning_details")  # and content parts, and tags
_OPEN = re.compile(r"\s*<(think|thinking|thought)>", re.IGNORECASE)
_CLOSE = re.compile(r"</(?:think|thinking|thought)>", re.IGNORECASE)


class Parted(NamedTuple):
    """text: what is left for the reader. unclosed: the thought has no end, so nothing was answered."""

    text: str
    reasoning: str | None
    kind: ReasoningKind
    unclosed: bool = False


def split_reasoning(message: Mapping[str, Any], field_kind: Literal["raw", "summary"]) -> Parted:
    """Parts a message into its answer and its reasoning. field_kind: what this teacher's fields hold."""
    text, inner = _content(message.get("content"))
    if inner:
        return Parted(text, inner, field_kind)
    for name in FIELDS:
        value = message.get(name)
        if isinstance(value, str) and value.strip():
            return Parted(text, value, field_kind)
        if isinstance(value, list):
            thought, summary = _details(value)
            if thought:
                return Parted(text, thought, "summary" if summary else field_kind)
    return _tags(text)


def _content(content: Any) -> tuple[str, str]:
    """(text, thoughts) of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, Mapping):
            continue
        if part.get("type") in ("thinking", "reasoning"):
            thoughts.append(_flat(part.get("thinking") or part.get("text") or part.get("reasoning")))
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
    return "".join(texts), "".join(thoughts)


def _flat(value: Any) -> str:
    if isinstance(value, str):
        return value
    inner = value if isinstance(value, list) else ()
    return "".join(str(part.get("text", "")) for part in inner if isinstance(part, Mapping))


def _details(blocks: list[Any]) -> tuple[str, bool]:
    """(text, whether any of it is a summary); encrypted blocks have neither."""
    found: list[str] = []
    summary = False
    for block in blocks:
        if not isinstance(block, Mapping):
            continue
        if isinstance(block.get("summary"), str):
            summary = True
            found.append(block["summary"])
        elif isinstance(block.get("text"), str):
            found.append(block["text"])
    return "".join(found), summary


def _tags(text: str) -> Parted:
    """The opening tag may be missing, since some chat templates put it into the prompt."""
    opened = _OPEN.match(text)
    closed = _CLOSE.search(text, opened.end() if opened else 0)
    begin = opened.end() if opened else 0
    if closed:
        return Parted(text[closed.end() :].strip(), text[begin : closed.start()].strip(), "tags")
    if opened:
        return Parted("", text[begin:].strip(), "tags", unclosed=True)
    return Parted(text, None, "none")
