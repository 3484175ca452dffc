"""A numeric answer written in one way, exactly: a fraction stays a fraction, a decimal keeps all of its digits."""

from __future__ import annotations

from fractions import Fraction

from posttrain.grading import numeric
from posttrain.grading.numbers import plain


def normal(text: str) -> str | None:
    """The one number that a short text names; None where it names none or several.

    ``1,234.50`` → ``1234.5``, ``$18.00`` → ``18``, ``2/4`` → ``1/2``, ``50%`` → ``50%``. No floating point anywhere.
    """
    values = numeric.read(text)
    if not values:
        return None
    written = _fraction(values[0]) if "/" in plain(text).rsplit("=", 1)[-1] else _decimal(values[0])
    return f"{written}%" if len(values) == 2 else written


def _fraction(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


def _decimal(value: Fraction) -> str:
    """All digits of a number that was written as a decimal, so that its denominator divides a power of ten."""
    places = 0
    scaled = value
    while scaled.denominator != 1:
        scaled *= 10
        places += 1
    if not places:
        return str(scaled.numerator)
    digits = str(abs(scaled.numerator)).rjust(places + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}"
