"""Small drawings as inline SVG, in the page's own colours: no style attribute, no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

CELL = 14  # width of one column of the map


def accuracy_strip(values: Sequence[tuple[float, float, float] | None], height: int = 56) -> Markup:
    """(value, low, high) of each column of the map as a bar with its interval, above that column."""
    width = CELL * len(values)
    top = max([0.1, *(v[2] for v in values if v is not None)])
    parts = [
        Markup('<svg class="strip" viewBox="0 0 {w} {h}" width="{w}" height="{h}" aria-hidden="true">').format(
            w=width, h=height
        )
    ]
    for i, value in enumerate(values):
        if value is None:
            continue
        mean, low, high = ((height - 2) * (1 - v / top) for v in value)
        x = i * CELL
        parts.append(
            Markup('<rect class="bar" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>').format(
                x + 1, mean + 1, CELL - 2, height - mean - 1
            )
        )
        parts.append(
            Markup('<line class="err" x1="{0}" x2="{0}" y1="{1:.1f}" y2="{2:.1f}"/>').format(
                x + CELL / 2, high + 1, low + 1
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def span_bar(value: float, low: float, high: float) -> Markup:
    """A share with its interval on a scale from 0 to 1."""
    return Markup(
        '<svg class="span" viewBox="0 0 200 12" preserveAspectRatio="none" aria-hidden="true">'
        '<line class="base" x1="0" x2="200" y1="6" y2="6"/><rect class="range" x="{:.1f}" y="2" width="{:.1f}" height="8"/>'
        '<line class="mean" x1="{:.1f}" x2="{:.1f}" y1="0" y2="12"/></svg>'
    ).format(200 * low, max(1.0, 200 * (high - low)), 200 * value, 200 * value)


def parts_chart(parts: Sequence[tuple[str, float]]) -> Markup:
    """Where a difference comes from: signed bars around a common zero."""
    largest = max([0.01, *(abs(v) for _, v in parts)])
    row, left, width = 22, 92, 460
    middle, half = left + (width - left - 60) / 2, (width - left - 60) / 2
    out = [Markup('<svg class="parts" viewBox="0 0 {} {}" role="img" aria-label="Where the difference comes from">').format(
        width, row * len(parts) + 4)]  # fmt: skip
    for i, (name, value) in enumerate(parts):
        size = half * abs(value) / largest
        x = middle if value >= 0 else middle - size
        shown = "0.0" if abs(value) < 0.0005 else f"{100 * value:+.1f}".replace("-", "−")
        end = middle + size + 6 if value >= 0 else middle + 6
        out.append(
            Markup(
                '<text x="0" y="{y}">{name}</text><rect class="{tone}" x="{x:.1f}" y="{top}" width="{size:.1f}" height="12" rx="1.5"/>'
                '<text class="n" x="{end:.1f}" y="{y}">{shown}</text>'
            ).format(
                y=row * i + 15,
                name=name,
                tone="good" if value >= 0 else "bad",
                x=x,
                top=row * i + 5,
                size=size,
                end=end,
                shown=shown,
            )  # fmt: skip
        )
    out.append(
        Markup('<line class="zero" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"/></svg>').format(
            middle, row * len(parts) + 4
        )
    )
    return Markup("").join(out)


def histogram(first: Sequence[int], second: Sequence[int], bins: int = 36) -> Markup:
    """Two distributions of lengths over one axis: the first filled, the second as a line. Shares of each."""
    if not first or not second:
        return Markup("")
    high = max(*first, *second, 1)
    size = max(1, -(-(high + 1) // bins))
    count = high // size + 1
    sides = [[0.0] * count, [0.0] * count]
    for side, values in zip(sides, (first, second), strict=True):
        for value in values:
            side[value // size] += 1 / len(values)
    top = max(max(sides[0]), max(sides[1]))
    width, height, base = 460, 150, 128
    step = (width - 8) / count
    out = [
        Markup('<svg class="hist" viewBox="0 0 {} {}" role="img" aria-label="Lengths in tokens">').format(width, height)
    ]
    for i, value in enumerate(sides[0]):
        tall = (base - 6) * value / top
        if tall:
            out.append(Markup('<rect class="first" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                4 + i * step, base - tall, max(1.0, step - 0.8), tall))  # fmt: skip
    places = [f"{4 + i * step:.1f},{base - (base - 6) * v / top:.1f} {4 + (i + 1) * step:.1f},{base - (base - 6) * v / top:.1f}"
              for i, v in enumerate(sides[1])]  # fmt: skip
    out.append(
        Markup('<polyline class="second" points="4,{} {} {:.1f},{}"/>').format(
            base, " ".join(places), 4 + count * step, base
        )
    )
    out.append(Markup('<line class="zero" x1="4" x2="{}" y1="{y}" y2="{y}"/>').format(width - 4, y=base))
    for share in (0.0, 0.5, 1.0):
        anchor = "start" if share == 0 else "middle" if share == 0.5 else "end"
        out.append(Markup('<text x="{:.0f}" y="{}" text-anchor="{}">{:,}</text>').format(
            4 + (width - 8) * share, height - 6, anchor, round(share * count * size)))  # fmt: skip
    return Markup("").join([*out, Markup("</svg>")])


def before_after(values: Sequence[tuple[str, int, int]]) -> Markup:
    """(label, before, after) as rows: a pale bar, and within it what stayed."""
    row, left, width = 18, 96, 400
    top = max([1, *(b for _, b, _ in values)])
    out = [Markup('<svg class="funnelbars" viewBox="0 0 {} {}" role="img" aria-label="Before and after">').format(
        width, row * len(values) + 2)]  # fmt: skip
    for i, (label, before, after) in enumerate(values):
        y, scale = row * i, (width - left - 62) / top
        out.append(
            Markup(
                '<text x="{}" y="{}" text-anchor="end">{}</text><rect class="before" x="{}" y="{}" width="{:.1f}" height="11"/>'
                '<rect class="after" x="{}" y="{}" width="{:.1f}" height="11"/><text x="{:.1f}" y="{}">{:,}</text>'
            ).format(
                left - 8,
                y + 13,
                label,
                left,
                y + 4,
                before * scale,
                left,
                y + 4,
                after * scale,
                left + before * scale + 6,
                y + 13,
                after,
            )  # fmt: skip
        )
    return Markup("").join([*out, Markup("</svg>")])


@dataclass(frozen=True)
class Node:
    """One box of the lineage: `column` counts from the data on. tone: a class."""

    name: str
    stage: str
    href: str
    tone: str
    column: int
    inputs: tuple[str, ...]


def graph(nodes: Sequence[Node]) -> Markup:
    """Artifacts from left to right, each with lines from what it was made of."""
    if not nodes:
        return Markup("")
    wide, tall, gap_x, gap_y = 148, 40, 52, 14
    columns: dict[int, list[Node]] = {}
    for node in nodes:
        columns.setdefault(node.column, []).append(node)
    most = max(len(c) for c in columns.values())
    height = most * (tall + gap_y) - gap_y + 4
    width = (max(columns) + 1) * (wide + gap_x) - gap_x + 4
    place: dict[str, tuple[float, float]] = {}
    for column, members in columns.items():
        start = (height - (len(members) * (tall + gap_y) - gap_y)) / 2
        for i, node in enumerate(members):
            place[node.name] = (2 + column * (wide + gap_x), start + i * (tall + gap_y))
    out = [Markup('<svg class="graph" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" aria-label="Lineage">').format(
        w=width, h=f"{height:.0f}")]  # fmt: skip
    for node in nodes:
        x1, y1 = place[node.name]
        for name in node.inputs:
            if name in place:
                x0, y0 = place[name][0] + wide, place[name][1] + tall / 2
                bend = min(gap_x, x1 - x0) / 2
                out.append(
                    Markup('<path d="M{:.0f},{:.1f} C{:.0f},{:.1f} {:.0f},{:.1f} {:.0f},{:.1f}"/>').format(
                        x0, y0, x0 + bend, y0, x1 - bend, y1 + tall / 2, x1, y1 + tall / 2
                    )
                )
    for node in nodes:
        x, y = place[node.name]
        inner = Markup('<rect class="{}" x="{:.0f}" y="{:.1f}" width="{}" height="{}" rx="5"/>'
                       '<text class="name" x="{:.0f}" y="{:.1f}">{}</text><text x="{:.0f}" y="{:.1f}">{}</text>').format(
            node.tone, x, y, wide, tall, x + 10, y + 17, _short(node.name, 19), x + 10, y + 31, _short(node.stage, 22))  # fmt: skip
        out.append(
            Markup('<a href="{}"><title>{}</title>{}</a>').format(node.href, node.name, inner) if node.href else inner
        )
    return Markup("").join([*out, Markup("</svg>")])


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
