"""Whether two answers are the same: numbers, lists, tuples, intervals, sets, matrices, equations, inequalities, words.

Every comparison answers True, False or None (undecided: one of its scalars is).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from posttrain.grading.algebra import points, same_scalar, same_value
from posttrain.grading.evaluate import NoValueError, rational
from posttrain.grading.regions import region
from posttrain.grading.shapes import REALS, is_application, ordered, parts, settle
from posttrain.grading.tree import (
    MAX_ITEMS,
    SCALARS,
    Node,
    has,
    number,
    symbol,
    symbols,
    walk,
)

LastResort = Callable[[Node, Node], bool | None]


class OutOfTimeError(Exception):
    """The comparison took longer than it may. Never leaves the grading package."""


class Comparison:
    """One comparison of a gold with an answer, with its limits.

    deadline: a `time.thread_time` (a busy machine must not change verdicts) after which OutOfTimeError is raised.
    last_resort: asked where numbers can't tell.
    """

    def __init__(self, deadline: float, last_resort: LastResort | None = None) -> None:
        self.deadline = deadline
        self.last_resort = last_resort

    def value(self, a: Node, b: Node) -> bool | None:
        """Whether two scalars without units have one value."""
        if time.thread_time() > self.deadline:
            raise OutOfTimeError
        verdict = same_value(a, b)
        return self.last_resort(a, b) if verdict is None and self.last_resort else verdict

    def scalar(self, gold: Node, answer: Node) -> bool | None:
        return same_scalar(gold, answer, self.value)

    def same(self, gold: Node, answer: Node) -> bool | None:
        """Whether an answer is the gold."""
        gold, answer = settle(gold), settle(answer)
        if gold == answer:
            return not self.contradicts(answer)
        if self.contradicts(answer):
            return False
        return self._same_kind(gold, answer)

    def _same_kind(self, gold: Node, answer: Node) -> bool | None:
        g, a = gold.kind, answer.kind
        if "list" in (g, a) or g == a == "set":
            return self._same_collection(gold, answer)
        if g == a == "rel":
            return self._same_relation(gold, answer)
        if "rel" in (g, a):
            return self._relation_and_value(gold, answer)
        if REALS in (gold, answer) or any(n.kind == "fn" and n.args[0] == "minus" for n in (gold, answer)):
            left, right = region(gold), region(answer)
            return self._in_any_order(parts(left), parts(right)) if left and right else gold == answer
        if g == a == "seq":
            return self._same_sequence(gold, answer)
        if "union" in (g, a):
            return self._in_any_order(parts(gold), parts(answer))
        if g == a == "matrix":
            return self._same_matrix(gold, answer)
        if "matrix" in (g, a) and (rows := _as_rows(answer if g == "matrix" else gold)) is not None:
            return self._same_matrix(*((gold, rows) if g == "matrix" else (rows, answer)))
        if g == a == "ratio":
            return self._same_ratio(gold, answer)
        if {g, a} == {"ratio", "div"} and len((gold if g == "ratio" else answer).args) == 2:
            return self.value(*(Node("div", n.args) for n in (gold, answer)))
        if (
            g == a == "fn"
            and gold.args[0] == answer.args[0]
            and len(gold.args) == len(answer.args)
            and not _has_value(gold)
        ):
            return all_of([self.same(x, y) for x, y in zip(gold.args[1:], answer.args[1:], strict=True)])
        if g in SCALARS and a in SCALARS:
            return self.scalar(gold, answer)
        return False

    def _same_sequence(self, gold: Node, answer: Node) -> bool | None:
        """Tuples and intervals: the same brackets, the same items in the same order."""
        if gold.args[:2] != answer.args[:2] or len(gold.args) != len(answer.args):
            return False
        return all_of([self.same(x, y) for x, y in zip(gold.args[2:], answer.args[2:], strict=True)])

    def _same_collection(self, gold: Node, answer: Node) -> bool | None:
        if gold.kind == "rel" or answer.kind == "rel":
            gold, answer = (_valued(n) or n if n.kind == "rel" and not ordered(n) else n for n in (gold, answer))
        for pair, assigned in ((gold, answer), (answer, gold)):
            if _is_assignment_of(pair, assigned):
                return self._same_kind(pair, Node("seq", ("(", ")", *(item.args[-1] for item in assigned.args))))
        if "union" in (gold.kind, answer.kind) or any(map(_inequalities, (gold, answer))):
            left, right = region(gold), region(answer)
            if left is not None and right is not None:
                return self._in_any_order(parts(left), parts(right))
        for pair, loose in ((gold, answer), (answer, gold)):
            if pair.kind == "seq" and pair.args[:2] == ("(", ")") and loose.kind == "list":
                return self._same_sequence(pair, Node("seq", ("(", ")", *loose.args)))  # written without its brackets
        if not {gold.kind, answer.kind} <= {"list", "set"}:
            return False
        return self._in_any_order(_items(gold), _items(answer))

    def _in_any_order(self, gold: Sequence[Node], answer: Sequence[Node]) -> bool | None:
        """Every gold item is in the answer and every answer item in the gold (as sets: repeats don't count)."""
        if not gold or not answer:
            return not gold and not answer
        if max(len(gold), len(answer)) > MAX_ITEMS:
            return False
        undecided = False
        for these, those in ((gold, answer), (answer, gold)):
            for x in these:
                verdicts = [True] if x in those else [self.same(x, y) for y in those]
                if True not in verdicts:
                    if None not in verdicts:
                        return False
                    undecided = True
        return None if undecided else True

    def contradicts(self, node: Node) -> bool:
        """`5 = 6`: numbers that are said to be equal and aren't."""
        if node.kind != "rel" or set(node.args[0]) - {"=", "~", "!="} or node.args[0][0] != "=":
            return False
        sides = node.args[1:]
        if any(symbols(side) or side.kind not in SCALARS for side in sides[:2]):
            return False
        return self.scalar(sides[0], sides[1]) is False

    def _relation_and_value(self, gold: Node, answer: Node) -> bool | None:
        relation, other = (gold, answer) if gold.kind == "rel" else (answer, gold)
        if ordered(relation) or relation.args[0] == ("!=",):
            here, there = region(relation), region(other)
            return self._in_any_order(parts(here), parts(there)) if here and there else False
        valued = _valued(relation)
        if valued is None:
            return False
        return self.same(valued, other) if relation is gold else self.same(other, valued)

    def _same_relation(self, gold: Node, answer: Node) -> bool | None:
        if gold.args[0][0] == "in" or answer.args[0][0] == "in" or ordered(gold) != ordered(answer):
            said, heard = _valued(gold), _valued(answer)
            return self._same_kind(said or gold, heard or answer) if said or heard else False
        if ordered(gold) and ordered(answer):
            regions = region(gold), region(answer)
            if regions[0] is not None and regions[1] is not None:
                same_unknown = symbols(gold) == symbols(answer)
                return self._in_any_order(parts(regions[0]), parts(regions[1])) if same_unknown else False
            return self._proportional(gold, answer, positive=True) if gold.args[0] == answer.args[0] else False
        if "!=" in (gold.args[0][0], answer.args[0][0]):
            return self._proportional(gold, answer) if gold.args[0][0] == answer.args[0][0] else False
        left, right = _valued(gold), _valued(answer)
        if left is not None and right is not None and _same_name(gold, answer):
            verdict = self.same(left, right)
            if verdict or has(gold, "unit") or has(answer, "unit"):  # a modulus must agree
                return verdict
        return self._proportional(gold, answer)

    def _proportional(self, gold: Node, answer: Node, positive: bool = False) -> bool | None:
        """Whether left - right of one relation is a constant multiple of the other's."""
        if len(gold.args) != 3 or len(answer.args) != 3:
            return False
        if any(side.kind not in SCALARS for side in (*gold.args[1:], *answer.args[1:])):
            return False
        g, a = (Node("sub", n.args[1:]) for n in (gold, answer))
        if not symbols(g) or symbols(g) != symbols(a):
            return False
        factor = _quotient(g, a)
        if factor is None:
            return None
        if positive and factor.args[0] < 0:
            return False
        return bool(factor.args[0]) and self.value(g, Node("mul", (factor, a)))

    def _same_matrix(self, gold: Node, answer: Node) -> bool | None:
        if [len(row) for row in gold.args] != [len(row) for row in answer.args]:
            return False
        pairs = [(x, y) for r, s in zip(gold.args, answer.args, strict=True) for x, y in zip(r, s, strict=True)]
        return all_of([self.same(x, y) for x, y in pairs])

    def _same_ratio(self, gold: Node, answer: Node) -> bool | None:
        """1 : 2 is 2 : 4."""
        if len(gold.args) != len(answer.args) or has(gold, "list") or has(answer, "list"):
            return False
        crossed = [
            self.value(Node("mul", (gold.args[0], y)), Node("mul", (answer.args[0], x)))
            for x, y in zip(gold.args[1:], answer.args[1:], strict=True)
        ]
        return all_of(crossed)


def _has_value(node: Node) -> bool:
    return node.args[0] not in ("'", "cap", "minus", "det", "arg", "Re", "Im", "deg", "dim", "ker")


def all_of(verdicts: Sequence[bool | None]) -> bool | None:
    """False beats undecided beats True."""
    if False in verdicts:
        return False
    return None if None in verdicts else True


def _as_rows(node: Node) -> Node | None:
    """`[[1, 2], [3, 4]]` as a matrix."""
    if node.kind != "seq" or any(row.kind != "seq" or row.args[:2] != ("[", "]") for row in node.args[2:]):
        return None
    return Node("matrix", tuple(row.args[2:] for row in node.args[2:]))


def _inequalities(node: Node) -> bool:
    return node.kind == "list" and all(item.kind == "rel" and ordered(item) for item in node.args)


def _items(node: Node) -> tuple[Node, ...]:
    """`n = 2, 3, 4` are three values of n."""
    first = node.args[0] if node.args else None
    if node.kind != "list" or first is None or first.kind != "rel" or first.args[0] != ("=",):
        return node.args
    alone = not any(item.kind == "rel" for item in node.args[1:])
    return (first.args[2], *node.args[1:]) if alone and _is_name(first.args[1]) else node.args


def _is_assignment_of(gold: Node, answer: Node) -> bool:
    """`x = 1, y = 2` for a gold (1, 2): different names, in the order of the tuple."""
    if gold.kind != "seq" or answer.kind != "list" or len(gold.args) - 2 != len(answer.args):
        return False
    names = [item.args[1] for item in answer.args if item.kind == "rel" and item.args[0] == ("=",)]
    return len(set(names)) == len(answer.args) and all(map(_is_name, names))


# --- relations


def _is_name(node: Node) -> bool:
    """Whether a side of an equation only names what the other side values: x, f(x), |AB|, V_1 : V_2, (x, y)."""
    if not symbols(node):
        return False
    if node.kind == "mul" and node.args[0].kind == "sym" and any(arg.kind == "rel" for arg in node.args[1:]):
        return True  # P(X = 2)
    if (
        node.kind == "mul"
        and node.args[0].kind == "pow"
        and node.args[0].args == (symbol("f"), Node("neg", (number(1),)))
    ):
        return True  # f^{-1}(x)
    kinds = {n.kind for n in walk(node)}
    return kinds <= {"sym", "mul", "div", "abs", "ratio", "seq", "fn", "text", "const", "unit"} and (
        node.kind != "fn" or node.args[0] not in ("sqrt", "cap", "minus")
    )


def _valued(node: Node) -> Node | None:
    """What an equation or membership says of its name; None if it isn't of that form."""
    operators, *sides = node.args
    equal = 0
    while equal < len(operators) and operators[equal] == "=":
        equal += 1
    if operators[0] == "in":
        return settle(sides[1])
    if operators[0] == "~":
        return settle(sides[1] if sides[0].kind == "sym" else sides[0])
    if not equal:
        return None
    if _is_name(sides[0]):
        return settle(sides[equal])
    if equal == 1 and sides[1].kind == "sym":
        return settle(sides[0])
    named = any(symbols(side) for side in sides[: equal + 1])
    # a chain of equations ends in its value: 2x + 1 = 3 + 4 = 7
    return settle(sides[equal]) if not named or (equal > 1 and not symbols(sides[equal])) else None


def _same_name(gold: Node, answer: Node) -> bool:
    """Whether two equations name the same thing; `y = ...` and `f(x) = ...` do."""
    heads = {_head(gold), _head(answer)}
    return len(heads) == 1 or ("y" in heads and any(is_application(n.args[1]) for n in (gold, answer)))


def _head(node: Node) -> str | Node:
    """The first symbol of an equation, `f` of f(x) = ...; the whole side where it is none, as of sin x = ..."""
    side = node.args[1] if _is_name(node.args[1]) else node.args[2]
    if is_application(side):
        side = side.args[0]
    return str(side.args[0]) if side.kind == "sym" else side


def _quotient(g: Node, a: Node) -> Node | None:
    """g / a at one point, as an exact number."""
    env = next(points(symbols(g), whole=False))
    try:
        x, y = rational(g, env), rational(a, env)
    except NoValueError:
        return None
    if x is None or y is None or not y:
        return number(1) if x is None or y is None else None
    return number(x / y)


# --- regions of the real line
