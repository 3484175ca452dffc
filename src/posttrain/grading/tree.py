"""The expression tree that answers are read into: small, immutable, bounded.

Kinds and their arguments:

scalars      num(Fraction) · dec(Fraction, decimal places) · sym(name) · const("pi" | "e" | "i" | "inf") · add(*) ·
             mul(*) · sub(a, b) · div(a, b) · neg(a) · pow(a, b) · pm(a, b), mp(a, b) for ± and ∓ · fact(a) ·
             abs(a) · fn(name, *args) · percent(a) · unit(a, word) · based(digits, base) ·
             big(operator, variable, low, high, body)
structures   list(*) bare, unordered · set(*) · seq(open, close, *) tuples and intervals · union(*) · matrix(rows) ·
             rel(operators, *sides) a chain · ratio(*) · text(words)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, NamedTuple

MAX_PIECE = 4_000  # characters of an answer that are read at all
MAX_TOKENS = 800
MAX_DEPTH = 40
MAX_ITEMS = 64  # items of a collection that is matched in any order


class Node(NamedTuple):
    kind: str
    args: tuple[Any, ...]


class ParseError(Exception):
    """The text is not an expression of this language, or too large. Never leaves the grading package."""


SCALARS = frozenset("num dec sym const add sub mul div neg pow pm mp fact abs fn percent unit based big".split())


def number(value: int | Fraction) -> Node:
    return Node("num", (Fraction(value),))


def symbol(name: str) -> Node:
    return Node("sym", (name,))


INFINITY = Node("const", ("inf",))
MINUS_INFINITY = Node("neg", (INFINITY,))


def walk(node: Node) -> Iterator[Node]:
    """The node and everything under it."""
    stack = [node]
    while stack:
        here = stack.pop()
        yield here
        for arg in here.args:
            if isinstance(arg, Node):
                stack.append(arg)
            elif type(arg) is tuple:  # the rows of a matrix
                stack.extend(cell for cell in arg if isinstance(cell, Node))


def symbols(node: Node) -> frozenset[str]:
    return frozenset(n.args[0] for n in walk(node) if n.kind == "sym")


def has(node: Node, *kinds: str) -> bool:
    return any(n.kind in kinds for n in walk(node))


def replace(node: Node, kinds: dict[str, str]) -> Node:
    """The same tree with some kinds renamed."""

    def inside(arg: Any) -> Any:
        if isinstance(arg, Node):
            return replace(arg, kinds)
        return tuple(map(inside, arg)) if type(arg) is tuple else arg

    return Node(kinds.get(node.kind, node.kind), tuple(map(inside, node.args)))


def signs(node: Node) -> tuple[Node, ...]:
    """The readings of ±: (upper signs, lower signs), or the node alone. `pm(a, b)` is a ± b."""
    if not has(node, "pm", "mp"):
        return (node,)
    return (replace(node, {"pm": "add", "mp": "sub"}), replace(node, {"pm": "sub", "mp": "add"}))
