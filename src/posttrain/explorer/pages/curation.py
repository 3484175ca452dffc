"""What curation kept: the funnel of curation.json, what it did to the distributions, and the ledger's rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from posttrain.explorer.charts import before_after
from posttrain.explorer.library import Found
from posttrain.explorer.reading import read_columns
from posttrain.explorer.text import plain
from posttrain.report.words import brief

SHOWN = 60  # rows of the ledger
VALUES = 24  # bars of a distribution
REASONS = 6  # of one step
COLUMNS = ("row", "dataset", "id", "question", "kept", "dropped_by", "reason", "length")
Table = dict[str, Any]


def curated(found: Found, path: Path) -> Table:
    """The funnel and the distributions, with the ledger's reasons where it stands beside them."""
    told = json.loads(path.read_text(encoding="utf-8"))
    steps = [s for s in told["steps"] if isinstance(s, dict)]
    ledger = _ledger(found.path / "ledger.parquet")
    rows = int(told.get("rows") or 0)
    return {
        "facts": [
            (plain(k, 60), plain(brief(told[k]), 100)) for k in ("kind", "rows", "kept", "untouched") if k in told
        ],
        "steps": [_step(s, max(rows, 1), ledger["reasons"] if ledger else {}) for s in steps],
        "distributions": _distributions(told.get("distributions")),
        "ledger": ledger,
    }


def _step(step: Mapping[str, Any], rows: int, reasons: Mapping[str, Counter[str]]) -> Table:
    before, after = int(step["before"]), int(step["after"])
    label = str(step["label"])
    scores = step.get("scores")
    given = step.get("config")
    config: Mapping[str, Any] = given if isinstance(given, dict) else {}
    rule = " ".join(f"{k} {brief(v)}" for k, v in config.items() if k != step.get("verb") and v is not None)
    return {
        "label": plain(label, 80),
        "rule": plain(rule, 200),
        "before": before,
        "after": after,
        "share": round(100 * after / rows, 1),
        "threshold": brief(step["threshold"]) if step.get("threshold") is not None else "",
        "scores": plain(" · ".join(brief(v) for v in scores.values()), 100) if isinstance(scores, dict) else "",
        "reasons": [(plain(why, 160), n) for why, n in reasons.get(label, Counter()).most_common(REASONS)],
    }


def _distributions(told: Any) -> list[tuple[str, Markup]]:
    """Each quantity's rows before and after, by value."""
    found = []
    for name, counts in (told if isinstance(told, dict) else {}).items():
        edges = counts.get("edges")
        labels = [str(v) for v in counts["values"]] if edges is None else [f"{a:,}" for a in edges[:-1]]
        values = zip(labels, counts["before"], counts["after"], strict=True)
        kept = [(plain(label, 22), int(b), int(a)) for label, b, a in values][:VALUES]
        unit = counts.get("unit")
        found.append((plain(f"{name} in {unit}, from" if unit else name, 60), before_after(kept)))
    return found


def _ledger(path: Path) -> Table | None:
    """The first rows that went, with the reason, and how often each reason was given, by step."""
    import pyarrow as pa

    if not path.is_file():
        return None
    table = read_columns(path, list(COLUMNS))
    columns = {n: table.column(n).to_pylist() for n in table.column_names if n in ("kept", "dropped_by", "reason")}
    if len(columns) < 3:
        return None
    reasons: dict[str, Counter[str]] = {}
    for step, why in zip(columns["dropped_by"], columns["reason"], strict=True):
        if step is not None:
            reasons.setdefault(str(step), Counter())[str(why)] += 1
    gone = pa.array(_some_of_each(columns["dropped_by"]), pa.int64())  # typed: no row may have gone
    rows = table.take(gone).to_pylist()
    names = [n for n in COLUMNS if n in table.column_names and n != "kept"]
    return {
        "columns": names,
        "rows": [[plain(row[n], 160) if row[n] is not None else "" for n in names] for row in rows],
        "count": table.num_rows,
        "gone": sum(step is not None for step in columns["dropped_by"]),
        "reasons": reasons,
    }


def _some_of_each(steps: Sequence[str | None]) -> list[int]:
    """Rows that went, the same number of each step where there are as many, at most SHOWN."""
    by_step: dict[str, list[int]] = {}
    for i, step in enumerate(steps):
        if step is not None and len(by_step.setdefault(step, [])) < SHOWN:
            by_step[step].append(i)
    most = max(1, SHOWN // max(1, len(by_step)))
    return [i for places in by_step.values() for i in places[:most]]
