"""Chat requests as Gemini's GenerateContentRequest, and its answers as chat completions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def as_gemini(body: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request as GenerateContentRequest."""
    messages: Sequence[Mapping[str, str]] = body["messages"]
    request: dict[str, Any] = {
        "contents": [
            {"role": "model" if m["role"] == "assistant" else "user", "parts": [{"text": m["content"]}]}
            for m in messages
            if m["role"] != "system"
        ]
    }
    system = [{"text": m["content"]} for m in messages if m["role"] == "system"]
    if system:
        request["system_instruction"] = {"parts": system}
    names = {
        "temperature": "temperature",
        "top_p": "topP",
        "max_tokens": "maxOutputTokens",
        "max_completion_tokens": "maxOutputTokens",
        "seed": "seed",
        "stop": "stopSequences",
    }
    config = {theirs: body[ours] for ours, theirs in names.items() if body.get(ours) is not None}
    own = body.get("extra_body", {}).get("google", {}) if isinstance(body.get("extra_body"), dict) else {}
    if isinstance(own.get("thinking_config"), dict):
        config["thinkingConfig"] = own["thinking_config"]
    if config:
        request["generation_config"] = config
    return request


def from_gemini(response: Mapping[str, Any], model: str) -> dict[str, Any]:
    """GenerateContentResponse as a chat completion; thoughts (Gemini gives summaries) as `reasoning`."""
    candidates = response.get("candidates") or [{}]
    parts = (candidates[0].get("content") or {}).get("parts") or ()
    text = "".join(str(p.get("text", "")) for p in parts if not p.get("thought"))
    thought = "".join(str(p.get("text", "")) for p in parts if p.get("thought"))
    reason = str(candidates[0].get("finishReason", "SAFETY"))
    reasons = {"STOP": "stop", "MAX_TOKENS": "length"}
    usage = response.get("usageMetadata") or {}
    thoughts = int(usage.get("thoughtsTokenCount") or 0)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if thought:
        message["reasoning"] = thought
    return {
        "model": response.get("modelVersion", model),
        "choices": [{"index": 0, "message": message, "finish_reason": reasons.get(reason, "content_filter")}],
        "usage": {
            "prompt_tokens": int(usage.get("promptTokenCount") or 0),
            "completion_tokens": int(usage.get("candidatesTokenCount") or 0) + thoughts,
            "completion_tokens_details": {"reasoning_tokens": thoughts},
            "prompt_tokens_details": {"cached_tokens": int(usage.get("cachedContentTokenCount") or 0)},
        },
    }
