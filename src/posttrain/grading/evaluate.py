"""Values of expression trees: exact fractions, fast floats, and fifty digits; each with guards against towers.

A value that is too large to compute raises TooLargeError; a tree with parts that have no value (tuples, opaque
functions, a pole) raises NoValueError. Neither leaves the grading package.
"""

from __future__ import annotations

import cmath
import math
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from posttrain.grading.tree import Node, has

MAX_BITS = 20_000  # of an exact integer
MAX_FACTORIAL = 2_000
MAX_TERMS = 500  # of a sum or product that is written out
MAX_ANGLE = 1e15  # beyond, the digits of a float say nothing of its sine
DIGITS = 50


class NoValueError(Exception):
    """The tree has no number for a value."""


class TooLargeError(NoValueError):
    """The value exists and is too large for these limits."""


def rational(node: Node, env: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """The exact value of a tree of whole-number arithmetic, or None where it is no fraction.

    TooLargeError where it would have more than MAX_BITS bits; NoValueError for a division by zero.
    """
    kind, args = node
    if kind in ("num", "dec"):
        value: Fraction = args[0]
        return value
    if kind == "sym":
        return env.get(args[0]) if env else None
    if kind in ("unit", "percent"):
        return rational(args[0], env)
    if kind == "seq" and len(args) == 3:
        return rational(args[2], env)
    if kind == "big":
        return _written_out(node, env)
    values = []
    for arg in args:
        if isinstance(arg, Node):
            value_or_none = rational(arg, env)
            if value_or_none is None:
                return None
            values.append(value_or_none)
    return _bounded(_exact_step(kind, args, values))


def _bounded(value: Fraction | None) -> Fraction | None:
    if value is not None and max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooLargeError
    return value


def _exact_step(kind: str, args: tuple[Any, ...], values: list[Fraction]) -> Fraction | None:
    if kind == "add":
        return sum(values, Fraction(0))
    if kind == "sub":
        return values[0] - values[1]
    if kind == "mul":
        product = Fraction(1)
        for v in values:
            product = _bounded(product * v) or Fraction(0)
        return product
    if kind == "neg":
        return -values[0]
    if kind == "div":
        if not values[1]:
            raise NoValueError
        return values[0] / values[1]
    if kind == "pow":
        return _exact_power(values[0], values[1])
    if kind == "fact":
        return _factorial(values[0])
    if kind == "abs":
        return abs(values[0])
    if kind == "fn":
        return _exact_function(args[0], values)
    return None


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    if not base and exponent <= 0:
        if not exponent:
            return Fraction(1)
        raise NoValueError
    if abs(base) in (0, 1) and exponent.denominator == 1:
        return base if exponent.numerator % 2 else abs(base)
    size = max(base.numerator.bit_length(), base.denominator.bit_length()) - 1
    if size and abs(exponent) * size > MAX_BITS:
        raise TooLargeError
    if exponent.denominator == 1:
        return base ** int(exponent)
    if exponent.denominator == 2 and base > 0:
        root = _square_root(base)
        return None if root is None else root**exponent.numerator
    return None


def _square_root(value: Fraction) -> Fraction | None:
    if value < 0:
        return None
    top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
    exact = top * top == value.numerator and bottom * bottom == value.denominator
    return Fraction(top, bottom) if exact else None


def _factorial(value: Fraction) -> Fraction:
    if value.denominator != 1 or value < 0:
        raise NoValueError
    if value > MAX_FACTORIAL:
        raise TooLargeError
    return Fraction(math.factorial(int(value)))


def _exact_function(name: str, values: list[Fraction]) -> Fraction | None:
    first = values[0]
    if name == "sqrt" and len(values) == 1:
        return _square_root(first)
    if name == "floor":
        return Fraction(math.floor(first))
    if name == "ceil":
        return Fraction(math.ceil(first))
    if name == "abs":
        return abs(first)
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    whole = all(v.denominator == 1 and v >= 0 for v in values)
    if name == "binom" and whole and len(values) == 2:
        if values[0] > MAX_FACTORIAL:
            raise TooLargeError
        return Fraction(math.comb(int(values[0]), int(values[1])))
    if name in ("gcd", "lcm") and whole:
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*map(int, values)))
    return None


def _written_out(node: Node, env: Mapping[str, Fraction] | None) -> Fraction | None:
    operator, variable, low, high, body = node.args
    if has(body, "big"):
        raise TooLargeError  # sums of sums: left to the symbolic stage
    first, last = rational(low, env), rational(high, env)
    if first is None or last is None or first.denominator != 1 or last.denominator != 1:
        return None
    if last - first >= MAX_TERMS:
        raise TooLargeError
    total = Fraction(0 if operator == "sum" else 1)
    for index in range(int(first), int(last) + 1):
        term = rational(_bind(body, variable, index), env)
        if term is None:
            return None
        total = _bounded(total + term if operator == "sum" else total * term) or Fraction(0)
    return total


def _bind(node: Node, variable: str, value: int) -> Node:
    if node.kind in ("sym", "const"):
        return Node("num", (Fraction(value),)) if node.args[0] == variable else node
    return Node(node.kind, tuple(_bind(a, variable, value) if isinstance(a, Node) else a for a in node.args))


class Arithmetic(NamedTuple):
    """One kind of complex numbers: how to make one, and the functions on them."""

    make: Callable[[Fraction], Any]
    constants: Mapping[str, Any]
    functions: Mapping[str, Callable[..., Any]]
    power: Callable[[Any, Any], Any]


def _float_power(base: complex, exponent: complex) -> complex:
    if not base:
        if exponent.real > 0:
            return 0j
        raise NoValueError
    if abs(exponent) * abs(cmath.log(base)) > 700:
        raise TooLargeError
    return complex(base**exponent)


def _log(log: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda x, base=None: log(x) if base is None else log(x) / log(base)


def _angle(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def guarded(x: Any) -> Any:
        if abs(x) > MAX_ANGLE:
            raise TooLargeError
        return function(x)

    return guarded


def _inverse(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: 1 / function(x)


def _root(x: Any, n: Any, power: Callable[[Any, Any], Any]) -> Any:
    """The n-th root; of a negative number an odd root is the real one, as in school."""
    odd = not n.imag and n.real % 2 == 1
    return -power(-x, 1 / n) if odd and not x.imag and x.real < 0 else power(x, 1 / n)


def _real(function: Callable[[float], Any]) -> Callable[[Any], Any]:
    def on_reals(x: Any) -> Any:
        if abs(x.imag) > 1e-9 * (1 + abs(x.real)) or abs(x.real) > MAX_ANGLE:
            raise NoValueError
        return function(x.real)

    return on_reals


def _functions(lib: Any, power: Callable[[Any, Any], Any], floor: Any, ceil: Any) -> dict[str, Callable[..., Any]]:
    plain = {name: _angle(getattr(lib, name)) for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
    return {
        **plain,
        "arcsin": lib.asin,
        "arccos": lib.acos,
        "arctan": lib.atan,
        "cot": _inverse(plain["tan"]),
        "sec": _inverse(plain["cos"]),
        "csc": _inverse(plain["sin"]),
        "ln": _log(lib.log),
        "log": _log(lib.log),
        "lg": lambda x: lib.log(x) / lib.log(10),
        "exp": lambda x: power(lib.exp(1), x),
        "sqrt": lambda x, n=None: lib.sqrt(x) if n is None else _root(x, n, power),
        "abs": abs,
        "floor": _real(floor),
        "ceil": _real(ceil),
    }


FLOATS = Arithmetic(
    make=lambda value: complex(value),
    constants={"pi": complex(math.pi), "e": complex(math.e), "i": 1j},
    functions=_functions(
        cmath, _float_power, lambda x: complex(math.floor(x + 1e-9)), lambda x: complex(math.ceil(x - 1e-9))
    ),
    power=_float_power,
)


def precise_numbers() -> Arithmetic:
    """DIGITS digits, by mpmath. One context per thread: some of its functions move the precision while they work."""
    return _precise_numbers(threading.get_ident())


@lru_cache(maxsize=32)
def _precise_numbers(thread: int) -> Arithmetic:
    import mpmath

    lib = mpmath.MPContext()
    lib.dps = DIGITS + 10
    tiny = lib.mpf(10) ** (-DIGITS // 2)

    def power(base: Any, exponent: Any) -> Any:
        if not base:
            if lib.re(exponent) > 0:
                return lib.mpc(0)
            raise NoValueError
        if abs(exponent) * abs(lib.log(base)) > 1e12:
            raise TooLargeError
        return lib.power(base, exponent)

    return Arithmetic(
        make=lambda value: lib.mpc(lib.mpf(value.numerator) / value.denominator),
        constants={"pi": lib.mpc(lib.pi), "e": lib.mpc(lib.e), "i": lib.mpc(0, 1)},
        functions=_functions(lib, power, lambda x: lib.mpc(lib.floor(x + tiny)), lambda x: lib.mpc(lib.ceil(x - tiny))),
        power=power,
    )


def value(node: Node, env: Mapping[str, Fraction], numbers: Arithmetic) -> Any:
    """The complex value at a point. NoValueError for poles, overflow and what has no number."""
    try:
        return _value(node, env, numbers)
    except (ZeroDivisionError, OverflowError, ValueError) as error:
        raise NoValueError from error


def _value(node: Node, env: Mapping[str, Fraction], numbers: Arithmetic) -> Any:
    kind, args = node
    if kind in ("num", "dec"):
        return numbers.make(args[0])
    if kind == "sym":
        return numbers.make(env[args[0]])
    if kind == "const":
        if args[0] not in numbers.constants:
            raise NoValueError
        return numbers.constants[args[0]]
    if kind == "seq" and len(args) == 3:
        return _value(args[2], env, numbers)
    if kind in ("unit", "percent"):
        return _value(args[0], env, numbers)
    if kind == "fact" or (kind == "fn" and args[0] in ("binom", "gcd", "lcm")) or kind == "big":
        exact = rational(node, env)
        if exact is None:
            raise NoValueError
        return numbers.make(exact)
    values = [_value(a, env, numbers) for a in args if isinstance(a, Node)]
    return _step(kind, args, values, numbers)


def _step(kind: str, args: tuple[Any, ...], values: list[Any], numbers: Arithmetic) -> Any:
    if kind == "add":
        return sum(values)
    if kind == "sub":
        return values[0] - values[1]
    if kind == "mul":
        product = values[0]
        for v in values[1:]:
            product = product * v
        return product
    if kind == "neg":
        return 0 - values[0]  # a minus sign would make the imaginary part -0, on the other side of every branch cut
    if kind == "div":
        return values[0] / values[1]
    if kind == "pow":
        return numbers.power(values[0], values[1])
    if kind == "abs":
        return numbers.make(Fraction(0)) + abs(values[0])
    if kind == "fn" and args[0] in numbers.functions:
        try:
            return numbers.make(Fraction(0)) + numbers.functions[args[0]](*values)
        except TypeError as error:  # a function with the wrong number of arguments
            raise NoValueError from error
    raise NoValueError
