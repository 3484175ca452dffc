"""Structures in one form before they are compared: ± written out, > turned round, inequalities as intervals."""

from __future__ import annotations

from posttrain.grading.evaluate import FLOATS, NoValueError, value
from posttrain.grading.matrices import multiplied
from posttrain.grading.tree import INFINITY, MINUS_INFINITY, SCALARS, Node, signs, symbols

REALS = Node("sym", ("\\mathbb R",))
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def settle(node: Node) -> Node:
    """The form that is compared."""
    if node.kind == "mul":
        node = multiplied(node)
    if node.kind in SCALARS or node.kind == "rel":
        upper = signs(node)
        if len(upper) == 2 and upper[0] != upper[1]:
            return Node("list", upper)
    if node.kind == "seq" and len(node.args) == 3:  # [42]
        return settle(node.args[2])
    if node.kind == "list":
        items: list[Node] = []
        for item in map(settle, node.args):
            items.extend(item.args if item.kind == "list" else (item,))
        return Node("list", tuple(items))
    if node.kind == "rel":
        return directed(node)
    if node.kind == "union" and all(part.kind in ("set", "list") or part.kind in SCALARS for part in node.args):
        members = [part.args if part.kind in ("set", "list") else (part,) for part in node.args]
        return Node("set", tuple(item for part in members for item in part))
    return node


def directed(node: Node) -> Node:
    """`2 > x` as `x < 2`: a chain of > is turned round."""
    operators, *sides = node.args
    if operators and all(o in (">", ">=") for o in operators):
        return Node("rel", (tuple(_MIRROR[o] for o in reversed(operators)), *reversed(sides)))
    return node


# --- collections


def ordered(node: Node) -> bool:
    return node.kind == "rel" and bool(node.args[0]) and all(o in _MIRROR for o in node.args[0])


def region(node: Node) -> Node | None:
    """An interval or union for inequalities in one unknown; other structures as they are; None if it isn't one."""
    if node.kind in ("seq", "union", "set"):
        return node
    if node == REALS:
        return Node("seq", ("(", ")", MINUS_INFINITY, INFINITY))
    if node.kind == "list":
        return _joined([region(item) for item in node.args])
    if node.kind == "rel" and node.args[0] == ("in",):
        return region(node.args[2])
    if not ordered(node):
        return None
    operators, *sides = directed(node).args
    if any(o not in ("<", "<=") for o in operators):
        return None
    if len(sides) == 2:
        if sides[0].kind == "sym" and not symbols(sides[1]):
            return Node("seq", ("(", "]" if operators[0] == "<=" else ")", MINUS_INFINITY, sides[1]))
        if sides[1].kind == "sym" and not symbols(sides[0]):
            return Node("seq", ("[" if operators[0] == "<=" else "(", ")", sides[0], INFINITY))
    if len(sides) == 3 and sides[1].kind == "sym" and not symbols(sides[0]) | symbols(sides[2]):
        closed = ["[" if operators[0] == "<=" else "(", "]" if operators[1] == "<=" else ")"]
        return Node("seq", (*closed, sides[0], sides[2]))
    return None


def _joined(regions: list[Node | None]) -> Node | None:
    """The union; two half-lines that overlap (`x > 1 and x < 2`) are meant as their intersection."""
    known = [r for r in regions if r is not None]
    if len(known) < len(regions):
        return None
    if len(known) == 2 and all(r.kind == "seq" and len(r.args) == 4 for r in known):
        for up, down in (known, known[::-1]):
            if up.args[3] == INFINITY and down.args[2] == MINUS_INFINITY and _below(up.args[2], down.args[3]):
                return Node("seq", (up.args[0], down.args[1], up.args[2], down.args[3]))
    return Node("union", tuple(part for r in known for part in parts(r)))


def _below(a: Node, b: Node) -> bool:
    try:
        return bool(value(a, {}, FLOATS).real < value(b, {}, FLOATS).real)
    except NoValueError:
        return False


def parts(node: Node) -> tuple[Node, ...]:
    return node.args if node.kind == "union" else (node,)


# --- matrices and ratios
