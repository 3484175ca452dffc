"""Runs: what ran, in which state, and its curves while it trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from posttrain.explorer.library import Found
from posttrain.explorer.live import panels
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.words import brief, duration

HIDDEN = ("notes",)
FACTS = 6  # of a summary, in the table


def runs_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """`params` is not looked at: there is one such page."""
    del params
    found = list(site.library.artifacts().values())
    stages = [_stage(site, f) for f in found]
    curves = [c for f in found if (c := _curves(site, f)) is not None]
    curves.sort(key=lambda c: not c["open"])
    running = [f.name for f in found if f.state == "running"]
    notes = [{"artifact": f.name, "note": plain(n, 400)} for f in found for n in _notes(f)]
    return {
        "stages": stages,
        "curves": curves,
        "running": running,
        "notes": notes,
        "finished": sum(f.state == "finished" for f in found),
        "seconds": duration(sum((f.manifest.seconds or 0.0) for f in found if f.manifest)),
    }


def _stage(site: Site, found: Found) -> dict[str, Any]:
    manifest = found.manifest
    summary = {k: v for k, v in (manifest.summary if manifest else {}).items() if k not in HIDDEN}
    facts = [f"{plain(k, 60)} {plain(brief(v), 60)}" for k, v in list(summary.items())[:FACTS]]
    took = duration(manifest.seconds) if manifest and manifest.seconds is not None else ""
    return {
        "name": plain(found.name, 80),
        "key": found.name,
        "stage": plain(found.stage, 40),
        "state": found.state,
        "started": manifest.started.replace("T", " ")[:16] if manifest else "",
        "took": took if found.state != "running" else _silence(site, found),
        "attempts": manifest.attempts if manifest else 0,
        "facts": facts,
        "trouble": plain(found.trouble, 300),
        "series": [
            (s.title.partition(": ")[2] or s.kind, s.name, len(s.sets))
            for s in site.library.series().values()
            if s.artifact == found.name
        ],
    }


def _silence(site: Site, found: Found) -> str:
    """How long ago a running stage wrote a number."""
    changed = site.tail(found).changed
    return f"wrote {duration(max(0.0, time.time() - changed))} ago" if changed is not None else ""


def _curves(site: Site, found: Found) -> dict[str, Any] | None:
    tail = site.tail(found)
    if not tail.path.resolve().is_relative_to(site.library.root):
        return None
    rows = tail.rows()
    drawn = panels(rows)
    if not drawn:
        return None
    return {
        "name": plain(found.name, 80),
        "state": found.state,
        "step": int(rows[-1]["step"]),
        "steps": _steps(found),
        "panels": drawn,
        "open": found.state == "running",
    }


def _steps(found: Found) -> int | None:
    steps = found.manifest.config.get("steps") if found.manifest else None
    return steps if isinstance(steps, int) and steps > 0 else None


def _notes(found: Found) -> list[str]:
    notes = found.manifest.summary.get("notes", []) if found.manifest else []
    return [str(n) for n in notes] if isinstance(notes, list) else [str(notes)]
