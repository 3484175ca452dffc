"""The same charts as PNG files, for the Markdown report. matplotlib is imported inside."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.report.curves import Panel
from posttrain.store import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK = "#3b4252"
COLOURS = ("#3f6fb5", "#c2703d", "#4b8f6b", "#8a63ab", "#b0568a", "#6b7280")


def accuracy_plot(models: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Accuracies of one benchmark with their intervals, one row per model, the first on top."""
    figure = _figure(6.4, 0.9 + 0.42 * len(models))
    axes = figure.subplots()
    for row, m in enumerate(models):
        low, high = (100 * x for x in m["interval"])
        axes.plot([low, high], [row, row], color=COLOURS[0], linewidth=5, alpha=0.35, solid_capstyle="round")
        axes.plot([100 * m["accuracy"]], [row], "o", color=COLOURS[0], markersize=6)
    axes.set_yticks(range(len(models)), [m["name"] for m in models])
    axes.set_ylim(len(models) - 0.5, -0.5)
    axes.set_xlim(0, max(5.0, *(min(100.0, 110 * m["interval"][1]) for m in models)))
    axes.set_xlabel(f"accuracy on {models[0]['benchmark']} (%), n = {models[0]['n']:,}")
    _calm(axes)
    _save(figure, path)


def curve_plot(panels: Sequence[Panel], path: Path) -> None:
    """All panels in one picture, two beside each other."""
    rows = -(-len(panels) // 2)
    figure = _figure(9.0, 2.7 * rows)
    grid = figure.subplots(rows, 2, squeeze=False).flat
    for panel, axes in zip(panels, grid, strict=False):
        _draw(panel, axes)
    for axes in list(grid)[len(panels) :]:
        axes.set_axis_off()
    _save(figure, path)


def panel_plot(panel: Panel, path: Path) -> None:
    """One panel alone."""
    figure = _figure(6.4, 3.2)
    _draw(panel, figure.subplots())
    _save(figure, path)


def _draw(panel: Panel, axes: Axes) -> None:
    factor = 100 if panel.share else 1
    for i, series in enumerate(panel.series):
        marker = "o" if len(series.xs) <= 40 else None
        axes.plot(
            series.xs,
            [factor * y for y in series.ys],
            label=series.name,
            color=COLOURS[i % len(COLOURS)],
            marker=marker,
            markersize=3,
            linewidth=1.6,
        )
        if series.low:
            low, high = ([factor * y for y in bound] for bound in (series.low, series.high))
            axes.fill_between(series.xs, low, high, color=COLOURS[i % len(COLOURS)], alpha=0.15, linewidth=0)
    if panel.mark is not None:
        axes.axvline(panel.mark[0], color="#9ca3af", linewidth=1, linestyle=(0, (3, 3)), label=panel.mark[1])
    axes.set_title(panel.title + (" (%)" if panel.share else ""), loc="left", fontsize=10, color=INK)
    axes.set_xlabel(panel.x_label, fontsize=9)
    if all(float(x).is_integer() for s in panel.series for x in s.xs):
        axes.locator_params(axis="x", integer=True)  # steps: there is none between two
    if panel.share:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    _calm(axes)


def _calm(axes: Axes) -> None:
    axes.grid(axis="both", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, length=0, labelcolor=INK)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#cbd5e1")


def _figure(width: float, height: float) -> Figure:
    """A figure of its own: no pyplot, so no global state and no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    with write_atomic(path) as file:
        file.write(buffer.getvalue())
