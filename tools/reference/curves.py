"""Measured learning curves: figures and words from perf/results/rl-learning*.json, which `perf.rl_learning` writes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.reference.text import code, table

from posttrain.evals.table import p_value, percent, points

RESULTS = "perf/results/*learning*.json"
HOW = "[measurements](../../perf/README.md) says how one is taken"
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 52, 14, 14, 42
INK, FAINT, BOLD, CONTROL = "#444", "#c9ccd1", "#1f5fbf", "#c0703a"


@dataclass(frozen=True)
class Measured:
    """All trainings of one measurement that share their start. rows: one per algorithm and seed."""

    file: str
    facts: Mapping[str, Any]
    amounts: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    how: str | None = None  # in words; None: as `perf.rl_learning` does it

    def names(self) -> list[str]:
        return list(dict.fromkeys(row["algorithm"] for row in self.rows))

    def of(self, name: str) -> list[Mapping[str, Any]]:
        return [row for row in self.rows if row["algorithm"] == name]


def measured(root: Path) -> list[Measured]:
    """What has been measured, by file name."""
    found = []
    for path in sorted(root.glob(RESULTS)):
        values = json.loads(path.read_text(encoding="utf-8"))
        name = path.relative_to(root).as_posix()
        found.append(Measured(name, values["machine"], values["amounts"], values["rows"], values.get("how")))
    return found


def figures(root: Path) -> dict[str, str]:
    """Algorithm → its figure as SVG."""
    return {_stem(name): _svg(one, name) for one in measured(root) for name in one.names() if " " not in name}


def told(root: Path, page: Path, name: str) -> str:
    """The figure of one algorithm with its numbers; or that nothing was measured, and how one would."""
    of = next((one for one in measured(root) if one.of(name)), None)
    if of is None:
        return f"No learning curve of this algorithm has been measured yet; {HOW}."
    figure = os.path.relpath(root / "docs" / "images" / "curves" / f"{_stem(name)}.svg", page.parent)
    return (
        f"![Validation accuracy over the updates of {name}: the mean of its seeds and their range]({figure})\n\n"
        f"{_how(of, root, page)}\n\n{_table(of, [name])}"
    )


def told_of_all(root: Path, page: Path) -> str:
    """Every measurement's numbers, beside the picture that it drew."""
    parts = []
    picture = root / "docs" / "rl-learning.png"
    if picture.is_file():
        link = os.path.relpath(picture, page.parent)
        parts.append(f"![Validation accuracy over updates, each algorithm's mean and range over its seeds]({link})")
    for one in measured(root):
        parts += [_how(one, root, page), _table(one, one.names())]
    return "\n\n".join(parts) or "No learning curves have been measured yet; `python -m perf.rl_learning` does it."


def _how(one: Measured, root: Path, page: Path) -> str:
    a, m = one.amounts, one.facts
    link = os.path.relpath(root / one.file, page.parent)
    how = one.how or (
        f"From one SFT checkpoint of a tiny model (hidden {a['hidden']}, {a['layers']} layers): {a['steps']} updates "
        f"of {a['prompts']} problems × 8 rollouts at a rate of {a['rate']:g}."
    )
    return (
        f"{how} The synthetic task, levels 1 and 2. The line is the greedy accuracy on 256 validation problems, "
        "the mean of the seeds, the band their range; the table "
        f"compares the end with the start, paired, on {a['test']:,} other problems. {m['cpu']}, {m['threads']} "
        f"thread{'s' if m['threads'] > 1 else ''}, torch {m['versions']['torch']}; commit {m['commit']}: "
        f"[{Path(one.file).name}]({link})."
    )


def _table(one: Measured, names: Sequence[str]) -> str:
    rows = [
        (
            code(name) if " " not in name else name,
            str(row["seed"]),
            percent(row["before"]),
            percent(row["after"]),
            f"{points(row['difference'])} points, {p_value(row['p'])}",
        )
        for name in names
        for row in one.of(name)
    ]
    return table(("", "seed", "before", "after", "difference"), rows)


def _stem(name: str) -> str:
    return name.replace("+", "-plus").replace(" ", "-")


def _svg(one: Measured, name: str) -> str:
    """One algorithm's mean and range over the others' means; what must not learn is dashed."""
    shown = {other: mean(one.of(other)) for other in one.names()}
    low, high = spread(one.of(name))
    steps = max(step for curve in shown.values() for step, _ in curve) or 1
    values = [value for curve in [*shown.values(), low, high] for _, value in curve]
    floor, ceiling = _decade(min(values), down=True), _decade(max(values), down=False)

    def at(step: float, value: float) -> str:
        x = LEFT + step / steps * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (value - floor) / (ceiling - floor) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff"/>',
    ]
    ticks = range(round(floor * 100), round(ceiling * 100) + 1, 10)
    for tick in ticks:
        left, right = at(0, tick / 100), at(steps, tick / 100)
        parts.append(f'<polyline points="{left} {right}" stroke="#eceef1"/>')
        parts.append(_text(LEFT - 8, float(left.partition(",")[2]) + 4, f"{tick} %", "end"))
    for tick in (0, steps // 2, steps):
        parts.append(_text(float(at(tick, floor).partition(",")[0]), HEIGHT - BOTTOM + 18, str(tick), "middle"))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "updates", "middle"))
    for other, curve in shown.items():
        if other != name:
            dash = ' stroke-dasharray="4 4"' if " " in other else ""
            parts.append(_line(curve, at, CONTROL if " " in other else FAINT, 1.2, dash))
    band = [*low, *reversed(high)]
    parts.append(f'<polygon points="{" ".join(at(*p) for p in band)}" fill="{BOLD}" fill-opacity="0.15"/>')
    parts.append(_line(shown[name], at, BOLD, 2.4))
    parts += _legend(name, [other for other in shown if other != name])
    return "\n".join([*parts, "</svg>", ""])


def _legend(name: str, others: Sequence[str]) -> list[str]:
    controls = [other for other in others if " " in other]
    entries = [(BOLD, name)]
    if len(others) > len(controls):
        entries.append((FAINT, "the other algorithms"))
    if controls:
        entries.append((CONTROL, " and ".join(controls)))
    parts = []
    for i, (colour, words) in enumerate(entries):
        y = HEIGHT - BOTTOM - 12 - 18 * (len(entries) - 1 - i)
        parts.append(
            f'<line x1="{WIDTH - 236}" x2="{WIDTH - 214}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2.4"/>'
        )
        parts.append(_text(WIDTH - 206, y + 4, words, "start"))
    return parts


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{words}</text>'


def _line(curve: Sequence[tuple[float, float]], at: Any, colour: str, width: float, more: str = "") -> str:
    places = " ".join(at(*point) for point in curve)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"{more}/>'


def mean(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """(step, mean over the seeds)."""
    return [(step, sum(values) / len(values)) for step, values in _by_step(rows)]


def spread(rows: Sequence[Mapping[str, Any]]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    by_step = _by_step(rows)
    return [(step, min(values)) for step, values in by_step], [(step, max(values)) for step, values in by_step]


def _by_step(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, list[float]]]:
    """(step, the seeds' values) at the steps that all seeds have."""
    curves = [dict(map(tuple, row["curve"])) for row in rows]
    common = sorted(set.intersection(*(set(one) for one in curves)))
    return [(step, [one[step] for one in curves]) for step in common]


def _decade(value: float, *, down: bool) -> float:
    """The next tenth below or above."""
    tenths = value * 10
    whole = int(tenths)
    return whole / 10 if down else (whole + (tenths > whole)) / 10
