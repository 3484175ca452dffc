"""Structures in one form before they are compared: ± written out, > turned round, matrices multiplied and added."""

from __future__ import annotations

from posttrain.grading.matrices import added, multiplied
from posttrain.grading.tree import SCALARS, Node, signs

REALS = Node("sym", ("\\mathbb R",))
INTEGERS, NATURALS = Node("sym", ("\\mathbb Z",)), Node("sym", ("\\mathbb N",))
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def settle(node: Node) -> Node:
    """The form that is compared."""
    if node.kind == "mul":
        node = multiplied(node)
    elif node.kind == "add":
        node = added(node)
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
        return _without_quantifiers(items)
    if node.kind == "rel":
        return directed(node)
    if node.kind == "union" and all(part.kind in ("set", "list") or part.kind in SCALARS for part in node.args):
        members = [part.args if part.kind in ("set", "list") else (part,) for part in node.args]
        return Node("set", tuple(item for part in members for item in part))
    if node.kind == "union":
        return Node("union", tuple(Node("set", (part,)) if part.kind in SCALARS else part for part in node.args))
    return node


def _without_quantifiers(items: list[Node]) -> Node:
    """`k\\pi, k \\in \\mathbb{Z}`: what is said of the range of a letter is no item of the list."""
    kept = [item for item in items if not _is_quantifier(item)]
    if not kept or len(kept) == len(items):
        return Node("list", tuple(items))
    return kept[0] if len(kept) == 1 else Node("list", tuple(kept))


def _is_quantifier(node: Node) -> bool:
    return node.kind == "rel" and node.args[0] == ("in",) and node.args[2] in (INTEGERS, NATURALS)


def directed(node: Node) -> Node:
    """`2 > x` as `x < 2`: a chain of > is turned round."""
    operators, *sides = node.args
    if operators and all(o in (">", ">=") for o in operators):
        return Node("rel", (tuple(_MIRROR[o] for o in reversed(operators)), *reversed(sides)))
    return node


def is_application(node: Node) -> bool:
    """f(x), which is read as a product of letters."""
    return node.kind == "mul" and len(node.args) == 2 and all(arg.kind == "sym" for arg in node.args)


def ordered(node: Node) -> bool:
    """Whether a node is an inequality, or a chain of them."""
    return node.kind == "rel" and bool(node.args[0]) and all(o in _MIRROR for o in node.args[0])


def parts(node: Node) -> tuple[Node, ...]:
    return node.args if node.kind == "union" else (node,)
