"""Data: what was trained on: problems by split and level, what curation kept and why, and pairs that are too alike."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from posttrain.errors import DamagedError
from posttrain.explorer.library import Found
from posttrain.explorer.pages.curation import curated
from posttrain.explorer.reading import read_columns
from posttrain.explorer.site import Site
from posttrain.explorer.text import paint, plain
from posttrain.explorer.words import difference
from posttrain.report.words import brief

SHOWN = 60  # rows of a ledger, pairs of a list
LARGEST = 64 * 2**20  # bytes of a JSON file that is still opened
Table = dict[str, Any]


def data_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """`params` is not looked at: there is one such page."""
    del params
    found = list(site.library.artifacts().values())
    return {
        "problems": [t for f in found if (t := _guarded(site, f, "problems.parquet", _problems)) is not None],
        "curated": [t for f in found if (t := _guarded(site, f, "curation.json", curated)) is not None],
        "pairs": [t for f in found for t in _pairs(site, f)],
    }


def _guarded(site: Site, found: Found, name: str, make: Any) -> Table | None:
    """The table of an artifact that has the file; one that can't be read says so in its place."""
    path = found.path / name
    if not _inside(site, path):
        return None
    stamp = (path.stat().st_size, path.stat().st_mtime_ns)
    try:
        made: Table = site.remember(("data", found.name, name, stamp), lambda: make(found, path))
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError) as error:
        return {"name": plain(found.name, 100), "trouble": plain(error, 300)}
    return {"name": plain(found.name, 100), "trouble": "", **made}


def _inside(site: Site, path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= LARGEST and path.resolve().is_relative_to(site.library.root)


def _problems(found: Found, path: Path) -> Table:
    """Counts by split and level."""
    table = read_columns(path, ["split", "level", "subject"])
    columns = {n: table.column(n).to_pylist() for n in table.column_names}
    count = table.num_rows
    splits = [str(s) for s in columns.get("split", ["–"] * count)]
    levels = columns.get("level", [None] * count)
    counts = Counter(zip(splits, levels, strict=True))
    heads: list[Any] = sorted({lv for lv in levels if lv is not None})
    shown = [*heads[:12], *([None] if None in set(levels) else [])]
    subjects = Counter(str(s) for s in columns.get("subject", ()) if s is not None)
    return {
        "stage": plain(found.stage, 60),
        "count": count,
        "levels": ["–" if lv is None else str(lv) for lv in shown],
        "splits": [
            {"split": plain(s, 60), "total": n, "levels": [counts[s, lv] for lv in shown]}
            for s, n in Counter(splits).most_common(12)
        ],
        "subjects": [(plain(s, 60), n) for s, n in subjects.most_common(12)],
    }


def _pairs(site: Site, found: Found) -> list[Table]:
    """Pairs of contamination: those that curation noted, and what `posttrain contamination --json` wrote."""
    tables = []
    for name in ("contamination.json", "curation.json"):
        path = found.path / name
        if not _inside(site, path):
            continue
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for where, pairs in _lists_of_pairs(told, ""):
            shown = [_pair(p) for p in pairs[:SHOWN]]
            tables.append({"name": plain(f"{found.name} {where}".strip(), 100), "count": len(pairs), "pairs": shown})
    return tables


def _lists_of_pairs(value: Any, where: str) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Every list of rows that hold two texts, however deep, with the name of what it stands in."""
    if isinstance(value, dict):
        name = str(value.get("benchmark") or value.get("label") or where)
        return [found for v in value.values() for found in _lists_of_pairs(v, name)]
    if isinstance(value, list):
        pairs: list[Mapping[str, Any]] = [v for v in value if isinstance(v, dict) and _texts(v) is not None]
        if pairs:
            return [(where, pairs)]
        return [found for v in value[:200] for found in _lists_of_pairs(v, where)]
    return []


def _texts(pair: Mapping[str, Any]) -> tuple[str, str] | None:
    """(training row, benchmark item)."""
    row = next((pair[k] for k in ("row_text", "text", "training") if isinstance(pair.get(k), str)), None)
    item = next((pair[k] for k in ("item_text", "item_question") if isinstance(pair.get(k), str)), None)
    return (row, item) if row is not None and item is not None else None


def _pair(pair: Mapping[str, Any]) -> Table:
    row, item = _texts(pair) or ("", "")
    row, item = row[:2_000], item[:2_000]
    changed = difference(item, row)
    tier = str(pair.get("tier") or "")
    return {
        "tier": plain(tier, 30),
        "tone": {"drop": "bad", "review": "unsure"}.get(tier, "none"),
        "row": paint(row, [changed.new], limit=2_000),
        "item": paint(item, limit=2_000) if item else Markup(""),
        "facts": [
            (plain(k, 40), plain(brief(v), 100))
            for k, v in pair.items()
            if isinstance(v, int | float | str) and v not in (row, item) and k not in ("tier", "row_text", "item_text")
        ],
    }
