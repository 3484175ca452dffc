"""Training curves from the metrics.jsonl of every training stage behind the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.report.lineage import Made
from posttrain.tracking import Metrics

POINTS = 150  # a longer curve is averaged down to this many points

# (title, metrics drawn together with their names for people, whether they are shares)
PANELS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Loss", {"loss": "training", "val_loss": "validation"}, False),
    ("Accuracy", {"accuracy": "rollouts", "val_accuracy": "validation"}, True),
    ("Reward", {"reward": "mean reward"}, False),
    ("Token accuracy", {"token_accuracy": "training"}, True),
    ("Entropy", {"entropy": "nats per token"}, False),
    ("Response length", {"length_mean": "mean tokens"}, False),
    ("Truncated, unparsed", {"truncated": "truncated", "unparsed": "unparsed"}, True),
    ("Groups with a signal", {"effective_groups": "share of groups"}, True),
    ("Gradient norm", {"grad_norm": "before clipping"}, False),
)


@dataclass(frozen=True)
class Series:
    """One line of a chart. low, high: the interval at each point; empty where there is none."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One chart. share: y is a share and is written in percent. mark: a place on the x axis, and its name."""

    title: str
    x_label: str
    series: tuple[Series, ...]
    share: bool
    mark: tuple[float, str] | None = None


@dataclass(frozen=True)
class StageCurves:
    """The charts of one training stage and what its diagnoses said."""

    name: str
    stage: str
    panels: tuple[Panel, ...]
    notes: tuple[str, ...]


def stage_curves(made: Sequence[Made]) -> list[StageCurves]:
    """Every artifact that logged a metric we know how to draw, or left notes."""
    found = []
    for m in made:
        rows = Metrics(m.path / "metrics.jsonl").read() if m.manifest else []
        panels = tuple(p for title, keys, share in PANELS if (p := _panel(rows, title, keys, share)) is not None)
        if panels or m.notes:
            found.append(StageCurves(m.name, m.stage, panels, tuple(m.notes)))
    return found


def _panel(rows: Sequence[dict[str, Any]], title: str, keys: dict[str, str], share: bool) -> Panel | None:
    lines = [Series(name, *thinned(*points(rows, key))) for key, name in keys.items()]
    drawn = tuple(line for line in lines if len(line.xs) > 1)
    return Panel(title, "step", drawn, share) if drawn else None


def points(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of a metric where it was logged as a number."""
    kept = [r for r in rows if isinstance(r.get(key), int | float)]
    return [float(r["step"]) for r in kept], [float(r[key]) for r in kept]


def thinned(xs: Sequence[float], ys: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means of equal runs of points, so that a curve has at most POINTS of them."""
    size = -(-len(xs) // POINTS) if xs else 1
    groups = range(0, len(xs), size)

    def means(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(sum(part) / len(part) for part in (values[i : i + size] for i in groups))

    return means(xs), means(ys)


def learning_curve(made: Sequence[Made]) -> Panel | None:
    """Validation accuracy over seconds of training, every stage starting where the one it continues ended."""
    ended: dict[str, float] = {}
    lines = []
    for m in made:
        rows = Metrics(m.path / "metrics.jsonl").read() if m.manifest else []
        at = {0: 0.0} | {r["step"]: float(r["seconds"]) for r in rows if isinstance(r.get("seconds"), int | float)}
        began = max((ended[name] for name in m.inputs if name in ended), default=0.0)
        if len(at) > 1:
            ended[m.name] = began + max(at.values())
        steps, values = points(rows, "val_accuracy")
        known = [(began + at[int(s)], v) for s, v in zip(steps, values, strict=True) if int(s) in at]
        if len(known) > 1:
            lines.append(Series(m.name, tuple(x for x, _ in known), tuple(v for _, v in known)))
    return Panel("Validation accuracy", "seconds of training", tuple(lines), True) if lines else None
