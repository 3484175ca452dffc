"""From a judge's reply to an Opinion. Replies are text of a model: read as JSON, never run, and None where they don't
fit."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from posttrain.judge.asks import Ask, Opinion

_VERDICTS: dict[str, dict[str, bool]] = {
    "correctness": {"correct": True, "incorrect": False},
    "safety": {"safe": True, "unsafe": False},
}
_FIRST = {"a": 1.0, "b": 0.0, "tie": 0.5}
MOST = 200  # opening braces that are tried, from the end
LONGEST = 100_000  # characters of a reply that are looked at, from the end


def parse(ask: Ask, reply: str, criteria: Mapping[str, str]) -> Opinion | None:
    """The last JSON object in the reply that has what was asked for; None where there is none.

    Words are taken whatever their case. A score outside 1 to 5, or a criterion that is missing, is no reply.
    """
    for found in _objects(reply):
        opinion = _opinion(ask, found, criteria)
        if opinion is not None:
            return opinion
    return None


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """JSON objects in a text, the one that begins last first: an object inside another is tried before it."""
    decoder = json.JSONDecoder()
    text = reply[-LONGEST:]
    place = len(text)
    for _ in range(MOST):
        place = text.rfind("{", 0, place)
        if place < 0:
            return
        try:
            value, _ = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _opinion(ask: Ask, found: dict[str, Any], criteria: Mapping[str, str]) -> Opinion | None:
    reason = found.get("reason")
    said = reason if isinstance(reason, str) else ""
    if ask.task in _VERDICTS:
        verdict = _VERDICTS[ask.task].get(_word(found.get("verdict")))
        return Opinion(verdict=verdict, reason=said) if verdict is not None else None
    if ask.task == "quality":
        scores = _scores(found.get("scores"), criteria)
        return Opinion(scores=scores, reason=said) if scores is not None else None
    first = _FIRST.get(_word(found.get("better")))
    if first is None:
        return None
    return Opinion(preference=first if ask.order == 0 else 1.0 - first, reason=said)


def _word(value: Any) -> str:
    return value.strip().strip(".").lower() if isinstance(value, str) else ""


def _scores(value: Any, criteria: Mapping[str, str]) -> dict[str, float] | None:
    if not isinstance(value, dict):
        return None
    found = {}
    for name in criteria:
        score = value.get(name)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 1 <= score <= 5:
            return None
        found[name] = float(score)
    return found
