"""Whether two scalar expressions have one value.

Exact fractions first; then floats at five points, which tell almost every wrong answer from a right one; then fifty
digits at the same points, which confirm. Two different expressions of the size that answers have don't agree to 40
digits at five unrelated points by chance. What has no value there (infinite sums, unknown functions) is undecided here,
and goes to the symbolic stage.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from posttrain.grading.evaluate import FLOATS, NoValueError, TooLargeError, precise_numbers, rational, value
from posttrain.grading.tree import INFINITY, Node, has, symbols, walk
from posttrain.grading.vocabulary import COUNTED

# A decimal is taken as a rounding of the exact value only if it shows at least so many significant digits.
ROUNDED_DIGITS = 6
STEP_POINTS = 20
MAX_SHIFT = 300  # of the decimal point in scientific notation
# The signs and the size of the symbols' values at each point, alternating over the symbols.
_POINTS = ((1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (1, 1, 17))
_STRUCTURES = frozenset({"set", "list", "rel", "union", "matrix", "text", "ratio"})
_PLAIN, _CLOSE, _SURE = 1e-4, 1e-9, 1e-40
_FLOAT = 2.3e-16  # a double printed in full is right to this, not to its last digit


def points(names: frozenset[str], whole: bool, steps: bool = False) -> Iterator[dict[str, Fraction]]:
    """Five points with a fixed value per (symbol, point); whole numbers where factorials need them.

    steps: more of them, all small and whole, for functions that are flat almost everywhere.
    """
    if not names:
        yield {}
        return
    if steps:
        for k in range(STEP_POINTS):
            yield {
                name: Fraction(1 + (zlib.crc32(name.encode()) + k * (3 + j)) % 40)
                for j, name in enumerate(sorted(names))
            }
    if whole and len(names) > 1:  # n! / (n - k)! has a value where n is the greater
        for order in (sorted(names), sorted(names, reverse=True)):
            for first, step in ((3, 5), (2, 9)):
                yield {name: Fraction(first + step * j) for j, name in enumerate(order)}
    for k, (*signs, size) in enumerate(_POINTS):
        env = {}
        for j, name in enumerate(sorted(names)):
            seed = zlib.crc32(f"{name} {k}".encode())
            env[name] = Fraction(3 + seed % 9) if whole else signs[j % 2] * size * Fraction(400 + seed % 1900, 997)
        yield env


def _exact(node: Node, env: dict[str, Fraction]) -> Fraction | None:
    try:
        return rational(node, env)
    except NoValueError:
        return None


def too_large(node: Node) -> bool:
    """Whether the value exceeds every limit, fifty-digit arithmetic's too."""
    for env in points(symbols(node), has(node, "fact", "big")):
        try:
            value(node, env, precise_numbers())
        except TooLargeError:
            return True
        except NoValueError:
            continue
    return False


def _at(a: Node, b: Node, env: dict[str, Fraction], complex_allowed: bool) -> bool | None:
    """Whether two trees agree at one point; None where one has no (real) value there."""
    left, right = _exact(a, env), _exact(b, env)
    if left is not None and right is not None:
        return left == right
    for numbers, bound in ((FLOATS, _PLAIN), (precise_numbers(), _SURE)):
        try:
            x, y = value(a, env, numbers), value(b, env, numbers)
            size = 1 + max(abs(x), abs(y)) if numbers is FLOATS else max(abs(x), abs(y))
        except (NoValueError, OverflowError):
            if numbers is FLOATS:
                continue
            return None
        if env and not complex_allowed and (_is_complex(x) or _is_complex(y)):
            return None
        if abs(x - y) > bound * size and not (numbers is not FLOATS and size < _SURE):
            return False
    return True


def _is_complex(x: Any) -> bool:
    return bool(abs(x.imag) > _CLOSE * (1 + abs(x.real)))


def same_value(a: Node, b: Node) -> bool | None:
    """True, False, or None where neither numbers nor structure can tell."""
    if a == b:
        return True
    if _infinite(a) or _infinite(b):
        return False
    names = symbols(a) | symbols(b)
    whole = has(a, "fact", "big") or has(b, "fact", "big") or _counts(a) or _counts(b)
    complex_allowed = _imaginary(a) or _imaginary(b)
    steps = _steps(a) or _steps(b)
    agreed = 0
    for env in points(names, whole, steps):
        here = _at(a, b, env, complex_allowed)
        if here is False:
            return _rounded(a, b) if not names else False
        agreed += here is True
    if not agreed and names and not complex_allowed:  # nowhere real: complex values then, better than nothing
        anywhere = {_at(a, b, env, True) for env in points(names, whole)}
        return False if False in anywhere else True if anywhere == {True} else None
    return True if agreed >= (2 if names else 1) else None


def _infinite(node: Node) -> bool:
    return node == INFINITY or (node.kind == "neg" and node.args[0] == INFINITY)


def _imaginary(node: Node) -> bool:
    return any(n.kind == "const" and n.args[0] == "i" for n in walk(node))


def _steps(node: Node) -> bool:
    return any(n.kind == "fn" and n.args[0] in ("floor", "ceil") for n in walk(node))


def _counts(node: Node) -> bool:
    return any(n.kind == "fn" and n.args[0] in ("binom", "gcd", "lcm") for n in walk(node))


def _decimal(node: Node) -> tuple[Fraction, int] | None:
    """(value, places) of a signed decimal literal that shows enough digits."""
    sign = 1
    while node.kind in ("neg", "unit", "percent"):
        sign, node = -sign if node.kind == "neg" else sign, node.args[0]
    number, places = node.args if node.kind == "dec" else _scientific(node)
    if not places:
        return None
    shown = len(str(abs(number.numerator * 10**places // number.denominator)))
    return (sign * number, places) if shown >= ROUNDED_DIGITS else None


def _scientific(node: Node) -> tuple[Fraction, int]:
    """(value, places) of `2.31 \\times 10^{-3}`; no places for anything else."""
    if node.kind == "mul" and len(node.args) == 2 and node.args[0].kind == "dec" and node.args[1].kind == "pow":
        (number, places), (base, exponent) = node.args[0].args, node.args[1].args
        shift = _exact(exponent, {}) if base == Node("num", (Fraction(10),)) else None
        if shift is not None and shift.denominator == 1 and abs(shift) <= MAX_SHIFT:
            return number * Fraction(10) ** int(shift), places - int(shift)
    return Fraction(0), 0


def _rounded(a: Node, b: Node) -> bool:
    """Whether exactly one side is a decimal with enough digits, and the other rounds to it."""
    left, right = _decimal(a), _decimal(b)
    if (left is None) == (right is None) or a.kind == b.kind == "dec":
        return False
    number, places = left or right or (Fraction(0), 0)
    other = b if left else a
    try:
        x = value(other, {}, precise_numbers())
        distance = abs(x - precise_numbers().make(number))
    except NoValueError:
        return False
    half_a_place = precise_numbers().make(Fraction(1_000_000_001, 2_000_000_000) / 10**places)
    return bool(distance <= max(abs(x) * _FLOAT, abs(half_a_place)))


def strip_unit(node: Node) -> tuple[Node, str | None]:
    """The magnitude and its unit; things that are merely counted (`5 apples`) have none."""
    if node.kind == "neg" and node.args[0].kind == "unit":
        inner, unit = strip_unit(node.args[0])
        return Node("neg", (inner,)), unit
    if node.kind == "unit":
        word: str = node.args[1]
        return node.args[0], None if word in COUNTED else word
    return node, None


def same_scalar(gold: Node, answer: Node, same: Callable[[Node, Node], bool | None] = same_value) -> bool | None:
    """`same` with units, percent signs and numerals in a base."""
    gold, gold_unit = strip_unit(gold)
    answer, answer_unit = strip_unit(answer)
    if gold_unit and answer_unit and gold_unit != answer_unit:
        return False
    if gold.kind == answer.kind == "neg":
        return same_scalar(gold.args[0], answer.args[0], same)
    if _structured(gold) or _structured(answer):
        return gold == answer
    if "based" in (gold.kind, answer.kind):
        return _same_numeral(gold, answer)
    if (gold.kind == "percent") != (answer.kind == "percent"):
        # "50%" says 50 or 1/2, according to what was asked
        hundredths = [
            Node("div", (n.args[0], Node("num", (Fraction(100),)))) for n in (gold, answer) if n.kind == "percent"
        ]
        other = answer if gold.kind == "percent" else gold
        inside = gold.args[0] if gold.kind == "percent" else answer.args[0]
        return same(inside, other) or same(hundredths[0], other)
    return same(gold, answer)


def _structured(node: Node) -> bool:
    """Whether there is something in a scalar that has no value: a tuple, a set, a sentence, a numeral in a base."""
    inside = any(arg.kind == "based" for n in walk(node) for arg in n.args if isinstance(arg, Node))
    return inside or any(n.kind in _STRUCTURES or (n.kind == "seq" and len(n.args) > 3) for n in walk(node))


def _same_numeral(gold: Node, answer: Node) -> bool:
    """The same digits, and the same base where both name one."""
    written = [
        n.args if n.kind == "based" else (str(n.args[0]), None) for n in (gold, answer) if n.kind in ("based", "num")
    ]
    if len(written) < 2:
        return False
    (digits, base), (others, another) = written
    return digits == others and (base is None or another is None or base == another)
