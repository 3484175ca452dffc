"""Line charts as inline SVG: drawn in the page's own colours, so that they follow its light and dark themes."""

from __future__ import annotations

import math

from markupsafe import Markup, escape

from posttrain.report.curves import Panel, Series

LEFT, RIGHT, TOP, BOTTOM = 50, 12, 10, 38
COLOURS = 6  # the style sheet has stroke colours s0 … s5


def line_chart(panel: Panel, width: int = 440, height: int = 220) -> Markup:
    """The panel as an ``<svg>``: axes with round numbers, one path per series, points where there are few."""
    right, bottom = width - RIGHT, height - BOTTOM
    xs = [x for s in panel.series for x in s.xs]
    ys = [y for s in panel.series for y in (*s.ys, *s.low, *s.high)]
    x_ticks = nice_ticks(min(xs), max(xs), 6)
    if max(xs) > min(xs) and all(float(x).is_integer() for x in xs):  # steps: there is none between two
        x_ticks = [x for x in x_ticks if math.isclose(x, round(x), abs_tol=1e-9)]
    # A share is drawn from 0, and one that is 0 all along still has an axis that says so.
    if panel.share:
        y_ticks = nice_ticks(0.0, max(*ys, 0.04), 5)
    else:
        y_ticks = nice_ticks(min(ys), max(ys), 5) if any(ys) else nice_ticks(0.0, 1.0, 5)
    x_low, x_high = min(xs), max(max(xs), min(xs) + 1e-9)
    y_low, y_high = y_ticks[0], y_ticks[-1]

    def across(x: float) -> float:
        return LEFT + (x - x_low) / (x_high - x_low) * (right - LEFT)

    def down(y: float) -> float:
        return bottom - (y - y_low) / (y_high - y_low) * (bottom - TOP)

    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, panel.title),
        *(_y_tick(down(y), right, tick_label(y, y_ticks, panel.share)) for y in y_ticks),
        *(_x_tick(across(x), bottom, tick_label(x, x_ticks)) for x in x_ticks if x_low <= x <= x_high),
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + right) // 2, height - 4, panel.x_label
        ),
    ]
    if panel.mark is not None:
        parts.append(_mark(across(panel.mark[0]), bottom, right, panel.mark[1]))
    for i, series in enumerate(panel.series):
        xs = [across(x) for x in series.xs]
        if series.low:
            parts.append(_band(i, xs, [down(y) for y in series.low], [down(y) for y in series.high]))
        parts.append(_path(series, i, [*zip(xs, map(down, series.ys), strict=True)]))
    return Markup("").join([*parts, Markup("</svg>")])


def _y_tick(y: float, right: int, label: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>'
        '<text class="axis" x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>'
    ).format(LEFT, right, y, LEFT - 8, y + 4, label)


def _x_tick(x: float, bottom: int, label: str) -> Markup:
    return Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(x, bottom + 16, label)


def _mark(x: float, bottom: int, right: int, name: str) -> Markup:
    left = x > right - 90  # no room for the name on the right
    return Markup(
        '<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
        '<text class="axis" x="{3:.1f}" y="{4}" text-anchor="{5}">{6}</text>'
    ).format(x, TOP, bottom, x - 5 if left else x + 5, bottom - 6, "end" if left else "start", name)


def _band(index: int, xs: list[float], low: list[float], high: list[float]) -> Markup:
    edge = [*zip(xs, high, strict=True), *zip(reversed(xs), reversed(low), strict=True)]
    d = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in edge) + "Z"
    return Markup('<path class="band b{}" d="{}"/>').format(index % COLOURS, d)


def _path(series: Series, index: int, places: list[tuple[float, float]]) -> Markup:
    d = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour = f"s{index % COLOURS}"
    dots = Markup("").join(
        Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(colour, x, y)
        for x, y in (places if len(places) <= 40 else ())
    )
    return Markup('<path class="{}" d="{}"><title>{}</title></path>').format(colour, d, escape(series.name)) + dots


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers that enclose [low, high]."""
    if high - low < 1e-12:
        pad = abs(high) * 0.1 or 0.5
        low, high = low - pad, high + pad
    raw = (high - low) / max(count - 1, 1)
    scale = 10.0 ** math.floor(math.log10(raw))
    step = next(m * scale for m in (1, 2, 2.5, 5, 10) if m * scale >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def tick_label(value: float, ticks: list[float], share: bool = False) -> str:
    """A tick's number with as many decimals as the distance between ticks asks for."""
    factor = 100 if share else 1
    step = (ticks[1] - ticks[0]) * factor
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if not math.isclose(step * 10**decimals, round(step * 10**decimals), rel_tol=1e-6):
        decimals += 1
    text = f"{value * factor:,.{decimals}f}".replace("-", "−")
    return f"{text} %" if share else text
