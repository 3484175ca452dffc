"""Sums and products of matrices and of scalars with matrices, written out entry by entry."""

from __future__ import annotations

from posttrain.grading.tree import Node

MAX_SIDE = 8


def multiplied(node: Node) -> Node:
    """A product with matrices in it as one matrix; any other product as it is."""
    if not any(factor.kind == "matrix" for factor in node.args):
        return node
    product: Node = node.args[0]
    for factor in node.args[1:]:
        pair = _times(product, factor)
        if pair is None:
            return node
        product = pair
    return product


def added(node: Node) -> Node:
    """A sum of matrices of one shape as one matrix; any other sum as it is."""
    terms = [_signed(term) for term in node.args]
    shapes = {tuple(map(len, matrix.args)) for matrix, _ in terms if matrix.kind == "matrix"}
    if len(shapes) != 1 or any(matrix.kind != "matrix" for matrix, _ in terms):
        return node
    rows = []
    for i, width in enumerate(shapes.pop()):
        cells = [[(m.args[i][j], plus) for m, plus in terms] for j in range(width)]
        rows.append(tuple(Node("add", tuple(x if plus else Node("neg", (x,)) for x, plus in cell)) for cell in cells))
    return Node("matrix", tuple(rows))


def _signed(term: Node) -> tuple[Node, bool]:
    """A term without its sign, its products multiplied out; whether the sign was plus."""
    plus = term.kind != "neg"
    inner = term if plus else term.args[0]
    return (multiplied(inner) if inner.kind == "mul" else inner), plus


def _times(a: Node, b: Node) -> Node | None:
    if a.kind != "matrix" and b.kind != "matrix":
        return Node("mul", (a, b))
    if a.kind != "matrix" or b.kind != "matrix":
        matrix, scalar = (a, b) if a.kind == "matrix" else (b, a)
        return Node("matrix", tuple(tuple(Node("mul", (scalar, x)) for x in row) for row in matrix.args))
    if max(len(a.args), len(b.args), len(b.args[0])) > MAX_SIDE or any(len(row) != len(b.args) for row in a.args):
        return None
    if len({len(row) for row in b.args}) > 1:
        return None
    columns = list(zip(*b.args, strict=True))
    return Node("matrix", tuple(tuple(_dot(row, column) for column in columns) for row in a.args))


def _dot(row: tuple[Node, ...], column: tuple[Node, ...]) -> Node:
    return Node("add", tuple(Node("mul", pair) for pair in zip(row, column, strict=True)))
