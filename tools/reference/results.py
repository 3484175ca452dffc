"""Tables computed from the statistics themselves, and from what stands in perf/results/."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.reference.text import code, table

from posttrain.evals.table import p_value, percent, points
from posttrain.stats import items_needed, wilson

COUNTS = (30, 100, 250, 500, 1000, 1319, 5000)
DIFFERENCES = (0.10, 0.05, 0.03, 0.02, 0.01)
CHANGED = (0.05, 0.10, 0.20, 0.30)  # shares of problems that only one of two models solves


def half_widths(root: Path, page: Path) -> str:
    """Half of a score's 95 % interval (Wilson), one sample per problem."""
    del root, page
    rows = [(f"{n:,}", *(_half(share, n) for share in (0.5, 0.8, 0.95))) for n in COUNTS]
    return table(("problems", "at 50 %", "at 80 %", "at 95 %"), rows)


def _half(share: float, n: int) -> str:
    low, high = wilson(round(share * n), n)
    return f"± {50 * (high - low):.1f}"


def needed(root: Path, page: Path) -> str:
    """Problems for a paired difference: with one sample each, ω² is the share that differs less δ²."""
    del root, page
    head = ("true difference", *(f"{100 * share:.0f} % of the problems differ" for share in CHANGED))
    words = {delta: f"{100 * delta:.0f} point{'s' if delta > 0.01 else ''}" for delta in DIFFERENCES}
    rows = [(words[delta], *(_count(delta, share) for share in CHANGED)) for delta in DIFFERENCES]
    return table(head, rows)


def _count(delta: float, share: float) -> str:
    return f"{items_needed(delta, share - delta**2):,}" if share > delta else "–"


def quickstart(root: Path, page: Path) -> str:
    """Accuracy of each model of the quickstart, and the paired differences, by seed."""
    file = root / "perf" / "results" / "quickstart-epyc-2core.json"
    result = json.loads(file.read_text(encoding="utf-8"))
    seeds = result["rows"]
    head = ("", *(f"seed {row['seed']}" for row in seeds))
    models: Iterator[tuple[str, ...]] = zip(*([_model(m) for m in row["models"]] for row in seeds), strict=True)
    names = [model["name"] for model in seeds[0]["models"]]
    rows = [(code(name), *cells) for name, cells in zip(names, models, strict=True)]
    pairs = [(c["a"], c["b"]) for c in seeds[0]["comparisons"]]
    for a, b in pairs:
        cells = [next(_difference(c) for c in row["comparisons"] if (c["a"], c["b"]) == (a, b)) for row in seeds]
        rows.append((f"{code(b)} − {code(a)}", *cells))
    link = os.path.relpath(file, page.parent)
    m = result["machine"]
    told = (
        f"{m['cpu']}, {m['cores']} cores, torch {m['versions']['torch']}; commit {m['commit']}: [{file.name}]({link})."
    )
    return f"{table(head, rows)}\n{told}"


def _model(model: dict[str, Any]) -> str:
    low, high = model["interval"]
    return f"{percent(model['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(row: dict[str, Any]) -> str:
    low, high = row["interval"]
    return f"{points(row['difference'])} [{points(low)}, {points(high)}], {p_value(row['p'])}"


def ratios(root: Path, page: Path) -> str:
    """Every ratio in perf/results/: the median of the rounds and their spread."""
    rows = []
    for file in sorted((root / "perf" / "results").glob("*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        machine = result["machine"]
        link = os.path.relpath(file, page.parent)
        for name, value in result.get("ratios", {}).items():
            low, high = result.get("spread", {}).get(name, (None, None))
            spread = f"{low:.2f} to {high:.2f}" if low is not None else "–"
            where = f"{machine['cpu']}, {machine['cores']} cores" + (
                f", {machine['gpu']}" if machine.get("gpu") else ""
            )
            rows.append((code(name), f"{value:.2f}", spread, where, f"[{file.name}]({link})"))
    return table(("ratio", "median", "rounds", "machine", "file"), rows)
