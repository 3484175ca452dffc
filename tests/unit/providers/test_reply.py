"""Reading replies: reasoning under all its names, usage as each provider counts it, and what can't be read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from tests.unit.providers.asking import teacher_at

from posttrain.providers import Prices, Quirks, UnreadableReply, parse_reply
from posttrain.providers.outcome import classify
from posttrain.providers.reasoning import split_reasoning

TEACHER = teacher_at("http://h/v1", prices=Prices(input=1.0, output=10.0, cached=0.1))


def raw(body: Any, **more: Any) -> dict[str, Any]:
    return {"key": "ab" * 32, "sample": 0, "attempt": 1, "seconds": 1.0, "status": 200, "body": body, **more}


def body(message: dict[str, Any] | None = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"message": message or {"content": "7"}, "finish_reason": finish}], **more}


@pytest.mark.parametrize(
    ("message", "text", "reasoning", "kind"),
    [
        ({"content": "7"}, "7", None, "none"),
        ({"content": "7", "reasoning": "3+4"}, "7", "3+4", "raw"),
        ({"content": "7", "reasoning_content": "3+4"}, "7", "3+4", "raw"),
        ({"content": "7", "reasoning": None, "reasoning_content": "3+4"}, "7", "3+4", "raw"),
        ({"content": "7", "reasoning_details": [{"type": "reasoning.text", "text": "3+4"}]}, "7", "3+4", "raw"),
        ({"content": "7", "reasoning_details": [{"type": "reasoning.summary", "summary": "adds"}]},
         "7", "adds", "summary"),
        ({"content": "7", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}, "7", None, "none"),
        ({"content": "<think>\n3+4\n</think>\n\n7"}, "7", "3+4", "tags"),
        ({"content": "<thought>3+4</thought>7"}, "7", "3+4", "tags"),
        ({"content": "3+4</think>7"}, "7", "3+4", "tags"),
        ({"content": None, "reasoning_content": "3+4"}, "", "3+4", "raw"),
        ({"content": "a < b and <thinking> later"}, "a < b and <thinking> later", None, "none"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "3+4"}]},
                      {"type": "text", "text": "7"}]},
         "7", "3+4", "raw"),
        ({"content": 7}, "", None, "none"),
    ],
)  # fmt: skip
def test_reasoning_is_parted_from_the_answer(message: dict[str, Any], text: str, reasoning: str, kind: str) -> None:
    parted = split_reasoning(message, "raw")
    assert (parted.text, parted.reasoning, parted.kind) == (text, reasoning, kind)


def test_a_thought_without_an_end_is_truncated_and_answers_nothing() -> None:
    reply = parse_reply(TEACHER, raw(body({"content": "<think>so 1, or 2"})))
    assert (reply.text, reply.finish_reason, reply.reasoning) == ("", "length", "so 1, or 2")


def test_a_teachers_fields_may_hold_summaries() -> None:
    teacher = teacher_at("http://h/v1", quirks=Quirks(reasoning_kind="summary"))
    assert parse_reply(teacher, raw(body({"content": "7", "reasoning": "adds"}))).reasoning_kind == "summary"


@pytest.mark.parametrize(
    ("usage", "tokens", "cost"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 10}, (100, 10, None, None), 200e-6),
        # OpenAI: https://platform.openai.com/docs/api-reference/chat/object
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110,
          "prompt_tokens_details": {"cached_tokens": 50}, "completion_tokens_details": {"reasoning_tokens": 4}},
         (100, 10, 4, 50), 155e-6),
        # DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion
        ({"prompt_tokens": 100, "completion_tokens": 10, "prompt_cache_hit_tokens": 100}, (100, 10, None, 100), 110e-6),
        # Gemini counts thoughts in the total only.
        ({"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 150}, (100, 50, None, None), 600e-6),
        # OpenRouter says what it cost: its word stands.
        ({"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.5}, (100, 10, None, None), 0.5),
        ({"prompt_tokens": "many", "completion_tokens": -3, "cost": "free"}, (None, None, None, None), None),
        (None, (None, None, None, None), None),
    ],
)  # fmt: skip
def test_usage_is_read_as_each_provider_counts(usage: Any, tokens: tuple[Any, ...], cost: float | None) -> None:
    reply = parse_reply(TEACHER, raw(body(usage=usage)))
    found = (reply.prompt_tokens, reply.completion_tokens, reply.reasoning_tokens, reply.cached_tokens)
    assert found == tokens
    assert reply.cost == (None if cost is None else pytest.approx(cost))


def test_without_prices_a_cost_is_unknown_and_a_batch_costs_its_share() -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    assert parse_reply(teacher_at("http://h/v1"), raw(body(usage=usage))).cost is None
    half = teacher_at("http://h/v1", prices=Prices(input=1, output=10, batch=0.5))
    assert parse_reply(half, raw(body(usage=usage), batch=True)).cost == pytest.approx(100e-6)


@pytest.mark.parametrize(
    ("said", "finish"),
    [("stop", "stop"), (None, "stop"), ("eos", "stop"), ("tool_calls", "stop"), ("length", "length"),
     ("max_tokens", "length"), ("content_filter", "content_filter"), ("content_filter: SAFETY", "content_filter")],
)  # fmt: skip
def test_finish_reasons_have_one_name(said: str | None, finish: str) -> None:
    assert parse_reply(TEACHER, raw(body(finish=said))).finish_reason == finish


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("<!DOCTYPE html><html>", "HTML"),
        ("Erreur interne", "no JSON: Erreur interne"),
        ("{'a': 1}", "no JSON"),
        ('{"choices": [{"mess', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1, 2]", "JSON that is no object"),
        ("null", "JSON that is no object"),
        ('{"error": {"message": "Provider returned error", "code": 502}}', "an error inside a 200: Provider returned"),
        ('{"choices": []}', "without choices"),
        ('{"choices": [{"finish_reason": "stop"}]}', "without a message"),
        (json.dumps(body(finish="insufficient_system_resource")), "ended the reply"),
        (None, "bytes that are not in the encoding"),
    ],
)
def test_what_is_no_reply_is_unreadable_and_says_how_it_begins(given: str | None, why: str) -> None:
    with pytest.raises(UnreadableReply, match=why):
        parse_reply(TEACHER, raw(given, body64="/w=="))


def test_a_blocked_prompt_without_choices_is_filtered() -> None:
    reply = parse_reply(TEACHER, raw({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}))
    assert reply.finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("status", "headers", "answer", "kind", "wait"),
    [
        (200, {}, "", "reply", None),
        (301, {"location": "https://h"}, "", "fatal", None),
        (400, {}, '{"error": {"message": "too long", "code": "context_length_exceeded"}}', "refused", None),
        (400, {}, '{"error": {"message": "foo/bar is not a valid model ID", "code": 400}}', "fatal", None),
        (401, {}, "no", "fatal", None),
        (403, {}, "no", "fatal", None),
        (403, {}, '{"error": {"code": 403, "metadata": {"reasons": ["x"]}}}', "filtered", None),
        (404, {}, "<html>", "fatal", None),
        (408, {}, "", "fault", None),
        (429, {}, "", "closed", None),
        (429, {"Retry-After": "7"}, "", "closed", 7.0),
        (429, {"retry-after-ms": "1500", "Retry-After": "2"}, "", "closed", 1.5),
        (429, {"Retry-After": "soon"}, "", "closed", None),
        (429, {"Retry-After": "86400"}, "", "fatal", None),
        (429, {}, '{"error": {"type": "insufficient_quota", "message": "x"}}', "fatal", None),
        (429, {}, '[{"error": {"details": [{"retryDelay": "34s"}]}}]', "closed", 34.0),
        (429, {}, '{"error": {"details": [{"violations": [{"quotaId": "RequestsPerDayPerModel"}]}]}}', "fatal", None),
        (429, {}, '{"error": "a string"}', "closed", None),
        (429, {}, "[]", "closed", None),
        (500, {}, "\xff", "fault", None),
        (500, {"Retry-After": "3"}, "", "closed", 3.0),
        (503, {}, "", "closed", None),
        (529, {}, "", "closed", None),
    ],
)
def test_every_status_has_its_meaning(
    status: int, headers: dict[str, str], answer: str, kind: str, wait: float | None
) -> None:
    outcome = classify(status, httpx.Headers(headers), answer.encode("latin-1"))
    assert (outcome.kind, outcome.wait) == (kind, wait)
    assert outcome.kind != "fatal" or outcome.remedy
