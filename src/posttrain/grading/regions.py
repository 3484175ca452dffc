"""Regions of the real line: inequalities in one unknown, intervals, unions, what is left of the line without points."""

from __future__ import annotations

from posttrain.grading.evaluate import FLOATS, NoValueError, value
from posttrain.grading.shapes import REALS, directed, is_application, ordered, parts
from posttrain.grading.tree import INFINITY, MINUS_INFINITY, Node, number, symbols

MAX_HOLES = 16  # points that are taken out of a region


def region(node: Node) -> Node | None:
    """An interval or union for inequalities in one unknown; other structures as they are; None if it isn't one."""
    if node.kind in ("seq", "union", "set"):
        return node
    if node == REALS:
        return interval("(", MINUS_INFINITY, INFINITY, ")")
    if node.kind == "list":
        return _joined([region(item) for item in node.args])
    if node.kind == "fn" and node.args[0] == "minus":
        return _without(*node.args[1:])
    if node.kind == "rel" and node.args[0] == ("in",):
        return region(node.args[2])
    if node.kind == "rel" and node.args[0] == ("!=",) and node.args[1].kind == "sym" and not symbols(node.args[2]):
        return _without(REALS, node.args[2])
    return _solved(node) if ordered(node) else None


def interval(opener: str, low: Node, high: Node, closer: str) -> Node:
    return Node("seq", (opener, closer, low, high))


def _solved(node: Node) -> Node | None:
    """The solutions of a chain of inequalities whose only unknown stands alone, or in bars."""
    operators, *sides = directed(node).args
    if any(o not in ("<", "<=") for o in operators):
        return None
    if len(sides) == 2:
        unknown = 0 if _is_unknown(sides[0]) else 1
        low, high = (MINUS_INFINITY, sides[1]) if unknown == 0 else (sides[0], INFINITY)
        signs = ("<", operators[0]) if unknown == 0 else (operators[0], "<")
    elif len(sides) == 3:
        unknown, (low, high), signs = 1, (sides[0], sides[2]), (operators[0], operators[1])
    else:
        return None
    bounds = symbols(low) | symbols(high)
    if not _is_unknown(sides[unknown]) or (bounds if len(sides) == 2 else bounds & symbols(sides[unknown])):
        return None
    inside = interval("[" if signs[0] == "<=" else "(", low, high, "]" if signs[1] == "<=" else ")")
    return _unbarred(sides[unknown], inside) if sides[unknown].kind == "abs" else inside


def _is_unknown(node: Node) -> bool:
    return node.kind == "sym" or is_application(node) or (node.kind == "abs" and len(symbols(node)) == 1)


def _unbarred(bars: Node, inside: Node) -> Node | None:
    """The values of x for which |x - c| lies in an interval."""
    opener, closer, low, high = inside.args
    centre = _centre(bars.args[0])
    if centre is None:
        return None

    def moved(distance: Node, sign: str) -> Node:
        return Node(sign, (centre, distance))

    if low == MINUS_INFINITY:
        mirrored = {"]": "[", ")": "("}[closer]
        return interval(mirrored, moved(high, "sub"), moved(high, "add"), closer)
    left_closer, right_opener = {"[": ("]", "["), "(": (")", "(")}[opener]
    far = [MINUS_INFINITY, INFINITY] if high == INFINITY else [moved(high, "sub"), moved(high, "add")]
    outer = {"]": "[", ")": "("}[closer]
    left = interval(outer, far[0], moved(low, "sub"), left_closer)
    return Node("union", (left, interval(right_opener, moved(low, "add"), far[1], closer)))


def _centre(node: Node) -> Node | None:
    """c of x, x - c, x + c."""
    if node.kind == "sym":
        return number(0)
    if node.kind == "add" and len(node.args) == 2 and node.args[0].kind == "sym" and not symbols(node.args[1]):
        return node.args[1].args[0] if node.args[1].kind == "neg" else Node("neg", (node.args[1],))
    return None


def _joined(regions: list[Node | None]) -> Node | None:
    """The union; two half-lines that overlap (`x > 1 and x < 2`) are meant as their intersection."""
    known = [r for r in regions if r is not None]
    if len(known) < len(regions):
        return None
    if len(known) == 2 and all(r.kind == "seq" and len(r.args) == 4 for r in known):
        for up, down in (known, known[::-1]):
            if up.args[3] == INFINITY and down.args[2] == MINUS_INFINITY and _below(up.args[2], down.args[3]):
                return interval(up.args[0], up.args[2], down.args[3], down.args[1])
    return Node("union", tuple(part for r in known for part in parts(r)))


def _without(whole: Node, points: Node) -> Node | None:
    """The line, or an interval, less some points that lie inside it."""
    start = region(whole)
    holes = list(points.args) if points.kind in ("set", "list") else [points]
    if start is None or start.kind != "seq" or len(start.args) != 4 or len(holes) > MAX_HOLES:
        return None
    placed = [(_place(hole), hole) for hole in holes]
    if any(place is None for place, _ in placed):
        return None
    opener, closer, low, high = start.args
    pieces = []
    for _, hole in sorted(placed, key=lambda pair: pair[0] or 0.0):
        pieces.append(interval(opener, low, hole, ")"))
        opener, low = "(", hole
    return Node("union", (*pieces, interval(opener, low, high, closer)))


def _place(node: Node) -> float | None:
    try:
        return None if symbols(node) else float(value(node, {}, FLOATS).real)
    except NoValueError:
        return None


def _below(a: Node, b: Node) -> bool:
    left, right = _place(a), _place(b)
    return left is not None and right is not None and left < right
