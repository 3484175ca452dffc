"""Small drawings as inline SVG, in the page's own colours: no style attribute, no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

CELL = 14  # width of one column of the map
EMPTY = Markup("")
Number = int | float


def element(name: str, content: str | Markup = EMPTY, /, **attributes: Number | str) -> Markup:
    """``<name …>content</name>``: values are escaped, numbers have one decimal, `cls` is class, `_` becomes `-`."""
    given = EMPTY
    for key, value in attributes.items():
        shown = f"{value:.1f}".removesuffix(".0") if isinstance(value, int | float) else value
        given += Markup(' {}="{}"').format("class" if key == "cls" else key.replace("_", "-"), shown)
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), given, escape(content))


def drawing(
    cls: str, label: str, width: float, height: float, parts: Iterable[Markup], *, fixed: bool = False
) -> Markup:
    """An ``<svg>``, named for those who don't see it. fixed: it keeps its size."""
    size = {"width": width, "height": height} if fixed else {}
    box = f"0 0 {width:.0f} {height:.0f}"
    return element("svg", EMPTY.join(parts), cls=cls, viewBox=box, role="img", aria_label=label, **size)


def accuracy_strip(values: Sequence[tuple[float, float, float] | None], height: int = 56) -> Markup:
    """(value, low, high) of each column of the map as a bar with its interval, above that column."""
    top = max([0.1, *(v[2] for v in values if v is not None)])
    parts = []
    for i, value in enumerate(values):
        if value is not None:
            mean, low, high = (1 + (height - 2) * (1 - v / top) for v in value)
            parts.append(element("rect", cls="bar", x=i * CELL + 1, y=mean, width=CELL - 2, height=height - mean))
            middle = i * CELL + CELL / 2
            parts.append(element("line", cls="err", x1=middle, x2=middle, y1=high, y2=low))
    return drawing("strip", "Accuracy of each checkpoint", CELL * len(values), height, parts, fixed=True)


def span_bar(value: float, low: float, high: float) -> Markup:
    """A share with its interval on a scale from 0 to 1."""
    parts = [
        element("line", cls="base", x1=0, x2=200, y1=6, y2=6),
        element("rect", cls="range", x=200 * low, y=2, width=max(1.0, 200 * (high - low)), height=8),
        element("line", cls="mean", x1=200 * value, x2=200 * value, y1=0, y2=12),
    ]
    box = {"viewBox": "0 0 200 12", "preserveAspectRatio": "none"}
    return element("svg", EMPTY.join(parts), cls="span", aria_hidden="true", **box)


def parts_chart(parts: Sequence[tuple[str, float]]) -> Markup:
    """Where a difference comes from: signed bars around a common zero."""
    largest = max([0.01, *(abs(v) for _, v in parts)])
    row, left, width = 22, 92, 460
    half = (width - left - 60) / 2
    middle, height = left + half, row * len(parts) + 4
    out = []
    for i, (name, value) in enumerate(parts):
        size, y = half * abs(value) / largest, row * i
        tone, x = ("good", middle) if value >= 0 else ("bad", middle - size)
        shown = "0.0" if abs(value) < 0.0005 else f"{100 * value:+.1f}".replace("-", "−")
        out += [
            element("text", name, x=0, y=y + 15),
            element("rect", cls=tone, x=x, y=y + 5, width=size, height=12, rx=1.5),
            element("text", shown, cls="n", x=middle + 6 + (size if value >= 0 else 0), y=y + 15),
        ]
    out.append(element("line", cls="zero", x1=middle, x2=middle, y1=0, y2=height))
    return drawing("parts", "Where the difference comes from", width, height, out)


def histogram(first: Sequence[int], second: Sequence[int], bins: int = 36) -> Markup:
    """Two distributions of lengths over one axis: the first filled, the second as a line. Shares of each."""
    if not first or not second:
        return EMPTY
    high = max(*first, *second, 1)
    size = max(1, -(-(high + 1) // bins))
    count = high // size + 1
    sides = [[0.0] * count, [0.0] * count]
    for side, values in zip(sides, (first, second), strict=True):
        for value in values:
            side[value // size] += 1 / len(values)
    width, height, base = 460, 150, 128
    step, scale = (width - 8) / count, (base - 6) / max(max(sides[0]), max(sides[1]))
    out = [
        element("rect", cls="first", x=4 + i * step, y=base - v * scale, width=max(1.0, step - 0.8), height=v * scale)
        for i, v in enumerate(sides[0])
        if v
    ]
    line = [(4 + (i + end) * step, base - v * scale) for i, v in enumerate(sides[1]) for end in (0, 1)]
    places = [(4.0, float(base)), *line, (4 + count * step, float(base))]
    out.append(element("polyline", cls="second", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places)))
    out.append(element("line", cls="zero", x1=4, x2=width - 4, y1=base, y2=base))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        label = f"{share * count * size:,.0f}"
        out.append(element("text", label, x=4 + (width - 8) * share, y=height - 6, text_anchor=anchor))
    return drawing("hist", "Lengths in tokens", width, height, out)


def before_after(values: Sequence[tuple[str, int, int]]) -> Markup:
    """(label, before, after) as rows: a pale bar, and within it what stayed."""
    row, left, width = 18, 96, 400
    scale = (width - left - 62) / max([1, *(b for _, b, _ in values)])
    out = []
    for i, (label, before, after) in enumerate(values):
        y = row * i
        out += [
            element("text", label, x=left - 8, y=y + 13, text_anchor="end"),
            element("rect", cls="before", x=left, y=y + 4, width=before * scale, height=11),
            element("rect", cls="after", x=left, y=y + 4, width=after * scale, height=11),
            element("text", f"{after:,}", x=left + before * scale + 6, y=y + 13),
        ]
    return drawing("funnelbars", "Before and after", width, row * len(values) + 2, out)


@dataclass(frozen=True)
class Node:
    """One box of the lineage: `column` counts from the data on. tone: a class."""

    name: str
    stage: str
    href: str
    tone: str
    column: int
    inputs: tuple[str, ...]


WIDE, TALL, ACROSS, DOWN = 148, 40, 52, 14  # a box, and the gaps between boxes


def graph(nodes: Sequence[Node]) -> Markup:
    """Artifacts from left to right, each with lines from what it was made of."""
    if not nodes:
        return EMPTY
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(node.column, []).append(node)
    height = max(len(c) for c in columns.values()) * (TALL + DOWN) - DOWN + 4
    width = (max(columns) + 1) * (WIDE + ACROSS) - ACROSS + 4
    place: dict[str, tuple[float, float]] = {}
    for column, members in columns.items():
        start = (height - (len(members) * (TALL + DOWN) - DOWN)) / 2
        for i, node in enumerate(members):
            place[node.name] = (2 + column * (WIDE + ACROSS), start + i * (TALL + DOWN))
    lines = [_edge(place[i], place[node.name]) for node in nodes for i in node.inputs if i in place]
    boxes = [_box(node, *place[node.name]) for node in nodes]
    return drawing("graph", "Lineage", width, height, [*lines, *boxes], fixed=True)


def _edge(source: tuple[float, float], target: tuple[float, float]) -> Markup:
    x0, y0, x1, y1 = source[0] + WIDE, source[1] + TALL / 2, target[0], target[1] + TALL / 2
    bend = min(ACROSS, max(0.0, x1 - x0)) / 2
    return element("path", d=f"M{x0:.0f},{y0:.1f} C{x0 + bend:.0f},{y0:.1f} {x1 - bend:.0f},{y1:.1f} {x1:.0f},{y1:.1f}")


def _box(node: Node, x: float, y: float) -> Markup:
    inner = EMPTY.join(
        [
            element("title", node.name),
            element("rect", cls=node.tone, x=x, y=y, width=WIDE, height=TALL, rx=5),
            element("text", _short(node.name, 19), cls="name", x=x + 10, y=y + 17),
            element("text", _short(node.stage, 22), x=x + 10, y=y + 31),
        ]
    )
    return element("a", inner, href=node.href) if node.href else element("g", inner)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
