"""A training stage's loss as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def draw_loss(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Loss over optimizer steps, its running mean, and the validation loss where there is one. The same rows draw the
    same bytes. Nothing is written where no row has a loss."""
    points = [(int(row["step"]), float(row["loss"])) for row in rows if row.get("loss") is not None]
    if not points:
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    steps, losses = zip(*points, strict=True)
    axes.plot(steps, losses, color="#9bb7d4", linewidth=1, label="each step")
    axes.plot(steps, _running_mean(losses), color="#1f4e79", linewidth=1.8, label="running mean")
    checked = [(int(row["step"]), float(row["val_loss"])) for row in rows if row.get("val_loss") is not None]
    if checked:
        axes.plot(*zip(*checked, strict=True), color="#c1440e", marker="o", markersize=3, label="validation")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})
    temporary.rename(path)


def _running_mean(values: Sequence[float], decay: float = 0.9) -> list[float]:
    """Exponential mean, corrected for its start."""
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = decay * mean + (1 - decay) * value, decay * weight + (1 - decay)
        found.append(mean / weight)
    return found
