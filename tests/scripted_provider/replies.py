"""Bodies as the providers document them."""

from __future__ import annotations

import json
from typing import Any

from tests.scripted_provider.script import Script

# Outcomes that are whole replies: the question is answered.
ANSWERS = frozenset(
    ["ok", "slow", "blank_lines", "length", "unclosed_thought", "content_filter", "empty_with_reasoning",
     "duplicate_id", "null_content", "latin1_declared", "bom"]
)  # fmt: skip


def answer_to(question: str) -> str:
    """What a good reply says: the question, so that a test sees whether the two belong together."""
    return f"You asked: {question}\nANSWER: {len(question)}"


def completion(script: Script, model: str, question: str, serial: int, outcome: str) -> dict[str, Any]:
    """A chat completion."""
    text: str | None = answer_to(question) + "." * script.text_bytes
    finish, tokens = "stop", script.tokens
    message: dict[str, Any] = {"role": "assistant"}
    thought = f"Let me think about: {question}"
    if outcome == "length":
        finish, text = "length", (text or "")[: len(question) // 2 + 8]
    elif outcome == "content_filter":
        finish, text, tokens = "content_filter", "", 0
    elif outcome == "null_content":
        text = None
    elif outcome == "insufficient_system_resource":
        finish, text = outcome, "You as"
    if outcome == "empty_with_reasoning":
        message |= {"content": "", "reasoning_content": thought}
    elif outcome == "unclosed_thought":
        finish = "length"
        message |= {"content": f"<think>{thought}. So 1, or 2, or"}
    else:
        message |= _with_thought(script.reasoning, text, thought)
    usage: dict[str, Any] = {
        "prompt_tokens": len(question) // 4 + 8,
        "completion_tokens": tokens,
        "total_tokens": len(question) // 4 + 8 + tokens,
    }
    if script.reasoning != "none":
        usage["completion_tokens_details"] = {"reasoning_tokens": tokens // 2}
    return {
        "id": "chatcmpl-same" if outcome == "duplicate_id" else f"chatcmpl-{serial}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": usage,
    }


def _with_thought(kind: str, text: str | None, thought: str) -> dict[str, Any]:
    match kind:
        case "none":
            return {"content": text}
        case "reasoning" | "reasoning_content":
            return {"content": text, kind: thought}
        case "reasoning_details":
            return {"content": text, kind: [{"type": "reasoning.text", "text": thought, "index": 0}]}
        case "summary":
            return {"content": text, "reasoning_details": [{"type": "reasoning.summary", "summary": thought}]}
        case "tags":
            return {"content": f"<think>\n{thought}\n</think>\n\n{text}"}
        case "parts":
            return {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": thought}]},
                    {"type": "text", "text": text},
                ]
            }
    raise ValueError(f"no such reasoning: {kind}")


def error(message: str, kind: str, code: str | int | None, **more: Any) -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code, **more}}).encode()


HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>\n"

# outcome → (status, body): refusals and failures that are nothing but an answer
REFUSALS: dict[str, tuple[int, bytes]] = {
    "400": (400, error("'messages' is a required property", "invalid_request_error", None)),
    "402": (402, error("Insufficient Balance", "unknown_error", "invalid_request_error")),
    "403": (403, error("Country, region, or territory not supported", "request_forbidden", "unsupported_country")),
    "404": (404, b'{"detail":"Not Found"}'),
    "408": (408, error("Request timed out", "timeout", 408)),
    "429": (429, error("Rate limit reached for requests", "requests", "rate_limit_exceeded")),
    "500": (500, error("The server had an error while processing your request", "server_error", None)),
    "502": (502, HTML),
    "503": (503, error("The engine is currently overloaded, please try again later", "server_error", None)),
    "moderated": (
        403,
        error("Your input was flagged", "moderation", 403, metadata={"reasons": ["violence"], "flagged_input": "…"}),
    ),
    "filtered_400": (
        400,
        error("The response was filtered due to the prompt triggering the policy", "", "content_filter"),
    ),
    "too_long": (
        400,
        error(
            "This model's maximum context length is 8192 tokens.", "invalid_request_error", "context_length_exceeded"
        ),
    ),
    "insufficient_quota": (
        429,
        error("You exceeded your current quota, please check your plan.", "insufficient_quota", "insufficient_quota"),
    ),
    "unknown_model_400": (400, error("Model Not Exist", "invalid_request_error", "invalid_request_error")),
    "resource_exhausted": (
        429,
        json.dumps(
            [
                {
                    "error": {
                        "code": 429,
                        "message": "You exceeded your current quota",
                        "status": "RESOURCE_EXHAUSTED",
                        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}],
                    }
                }
            ]
        ).encode(),
    ),
    "error_in_200": (200, error("Provider returned error", "", 502, metadata={"provider_name": "Another"})),
    "html": (200, HTML),
    "not_json": (200, "Erreur interne : réessayez plus tard".encode()),
    "no_choices": (200, b'{"id": "chatcmpl-0", "object": "chat.completion", "choices": []}'),
    "python_dict": (200, b"{'choices': [{'message': {'content': 'hello'}}]}"),
    "bad_encoding": (200, b'{"choices": [{"message": {"content": "caf\xe9"}, "finish_reason": "stop"}]}'),
}
