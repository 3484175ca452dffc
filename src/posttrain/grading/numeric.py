"""Numeric answers: one number against one number, exactly. Microseconds per verdict, for reward loops."""

from __future__ import annotations

from fractions import Fraction

from posttrain.grading.numbers import exact, find_numbers, plain

MAX_PIECE = 1_000  # characters; nothing longer is one number


def read(text: str) -> tuple[Fraction, ...]:
    """The values that a short piece of text may mean; () if it names no number, or several that differ.

    `50%` may mean 50 or 1/2. After an equals sign only the last side counts.
    """
    if len(text) > MAX_PIECE:
        return ()
    piece = plain(text)
    side = piece.rsplit("=", 1)[-1]
    numbers = find_numbers(side)
    values = [v for v in map(exact, numbers) if v is not None]
    if not values or (len(set(values)) > 1 and not _one_is_said_first(side, numbers)):
        return ()
    value = values[0]
    rest = side[side.find(numbers[0]) + len(numbers[0]) :].lstrip()
    if rest.startswith(("%", "percent", "per cent", "pct")):
        return (value, value / 100)
    return (value,)


def _one_is_said_first(piece: str, numbers: list[str]) -> bool:
    """Whether the text begins with its first number and goes on in words (`5 apples for 2 dollars`), not in a list."""
    start = piece.find(numbers[0])
    between = piece[start + len(numbers[0]) : piece.find(numbers[1], start + len(numbers[0]))]
    words = [w for w in between.split() if w.isalpha()]
    return not piece[:start].strip(" :+-") and bool(words) and not {"or", "and", "to"} & {w.lower() for w in words}


def same(gold: str, answer: str) -> bool:
    """Whether both texts name one number, and the same."""
    golds, answers = read(gold), read(answer)
    return bool(golds) and bool(answers) and not set(golds).isdisjoint(answers)
