"""What a judge of pairs likes beside the better answer: a place, and length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from posttrain.judge.asks import Judged
from posttrain.stats import wilson


def position_bias(judged: Sequence[Judged], confidence: float = 0.95) -> dict[str, Any] | None:
    """Of answers that were compared in both orders: how often the judge took the one that stood first, and how often it
    said the same both times. None where there are no such pairs.

    first: ½ is no bias; ties count ½ for each place, and the interval takes them as half a success.
    """
    pairs = [(a, b) for a, b in both_orders(judged).values() if a is not None and b is not None]
    if not pairs:
        return None
    # order 0: the judged answer stands first; its preference is then the first place's
    first = [p for a, b in pairs for p in (a, 1.0 - b)]
    same = sum(a == b for a, b in pairs)
    low, high = wilson(sum(first), len(first), confidence)
    return {
        "pairs": len(pairs),
        "first": sum(first) / len(first),
        "interval": [low, high],
        "consistent": same / len(pairs),
        "consistent_interval": list(wilson(same, len(pairs), confidence)),
    }


def length_bias(judged: Sequence[Judged], confidence: float = 0.95) -> dict[str, Any] | None:
    """How often the longer of two answers was taken, of those that differ in length and were not called a tie. None
    where there are none. A longer answer may also be better: ½ is what a judge indifferent to length says of equally
    good ones.
    """
    longer = [
        (one.opinion.preference > 0.5) == (len(one.ask.response) > len(one.ask.other_response or ""))
        for one in judged
        if one.opinion is not None
        and one.opinion.preference is not None
        and one.opinion.preference != 0.5
        and len(one.ask.response) != len(one.ask.other_response or "")
    ]
    if not longer:
        return None
    low, high = wilson(sum(longer), len(longer), confidence)
    return {"n": len(longer), "longer": sum(longer) / len(longer), "interval": [low, high]}


Place = tuple[str, str, str, str, int, str | None]


def both_orders(judged: Sequence[Judged]) -> dict[Place, tuple[float | None, float | None]]:
    """What was said of each answer that was shown in both orders: (where it stood first, where it stood second)."""
    found: dict[Place, dict[int, float | None]] = {}
    for one in judged:
        ask = one.ask
        place = (ask.task, ask.model, ask.benchmark, ask.problem_id, ask.index, ask.other)
        found.setdefault(place, {})[ask.order] = one.opinion.preference if one.opinion is not None else None
    return {place: (orders[0], orders[1]) for place, orders in found.items() if len(orders) == 2}
