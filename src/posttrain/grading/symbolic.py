"""Symbolic equality, the last stage: SymPy on trees that we built, inside a worker that can be killed.

Only what arithmetic could not decide comes here: long or infinite sums and products, unknown functions, expressions
that have no value at the sampled points. No text reaches SymPy.
"""

from __future__ import annotations

from typing import Any

import sympy

from posttrain.grading.tree import Node

_FUNCTIONS: dict[str, Any] = {
    "sin": sympy.sin, "cos": sympy.cos, "tan": sympy.tan, "cot": sympy.cot, "sec": sympy.sec, "csc": sympy.csc,
    "arcsin": sympy.asin, "arccos": sympy.acos, "arctan": sympy.atan, "arccot": sympy.acot,
    "sinh": sympy.sinh, "cosh": sympy.cosh, "tanh": sympy.tanh, "exp": sympy.exp, "ln": sympy.log, "log": sympy.log,
    "floor": sympy.floor, "ceil": sympy.ceiling, "abs": sympy.Abs, "binom": sympy.binomial, "gcd": sympy.gcd,
    "lcm": sympy.lcm, "max": sympy.Max, "min": sympy.Min, "Gamma": sympy.gamma, "Re": sympy.re, "Im": sympy.im,
}  # fmt: skip
_CONSTANTS = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}


class UnknownError(Exception):
    """A part of the tree has no counterpart in SymPy."""


def to_sympy(node: Node) -> Any:
    """The expression of a scalar tree. UnknownError for structures and opaque functions."""
    kind, args = node
    if kind in ("num", "dec"):
        return sympy.Rational(args[0].numerator, args[0].denominator)
    if kind == "sym":
        return sympy.Symbol(args[0])
    if kind == "const":
        return _CONSTANTS[args[0]]
    if kind == "big":
        operator, variable, low, high, body = args
        limits = (sympy.Symbol(variable), to_sympy(low), to_sympy(high))
        renamed = to_sympy(_index_as_symbol(body, variable))
        return (sympy.Sum if operator == "sum" else sympy.Product)(renamed, limits)
    if kind in ("unit", "percent"):
        return to_sympy(args[0])
    parts = [to_sympy(a) for a in args if isinstance(a, Node)]
    if kind == "add":
        return sympy.Add(*parts)
    if kind == "sub":
        return parts[0] - parts[1]
    if kind == "mul":
        return sympy.Mul(*parts)
    if kind == "neg":
        return -parts[0]
    if kind == "div":
        return parts[0] / parts[1]
    if kind == "pow":
        return sympy.Pow(parts[0], parts[1])
    if kind == "fact":
        return sympy.factorial(parts[0])
    if kind == "abs":
        return sympy.Abs(parts[0])
    if kind == "fn":
        return _apply(args[0], parts)
    raise UnknownError(kind)


def _apply(name: str, parts: list[Any]) -> Any:
    if name == "sqrt":
        return sympy.sqrt(parts[0]) if len(parts) == 1 else sympy.root(parts[0], parts[1])
    if name == "lg":
        return sympy.log(parts[0], 10)
    if name not in _FUNCTIONS:
        raise UnknownError(name)
    return _FUNCTIONS[name](*parts)


def _index_as_symbol(node: Node, variable: str) -> Node:
    """The body of a sum over i means its index, not the imaginary unit."""
    if node.kind == "const" and node.args[0] == variable:
        return Node("sym", (variable,))
    return Node(node.kind, tuple(_index_as_symbol(a, variable) if isinstance(a, Node) else a for a in node.args))


def same_value(a: Node, b: Node) -> bool | None:
    """Whether the difference simplifies to zero; None where SymPy can't tell either."""
    try:
        difference = (to_sympy(a) - to_sympy(b)).doit()
    except (UnknownError, TypeError, ValueError):
        return None
    if difference.is_zero is not None:
        return bool(difference.is_zero)
    simple = sympy.simplify(difference)
    verdict = simple.is_zero if simple.is_zero is not None else simple.equals(0)
    return None if verdict is None else bool(verdict)
