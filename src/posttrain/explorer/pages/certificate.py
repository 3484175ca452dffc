"""Certificate: what every stage checked of itself, red lines before green ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from posttrain.explorer.library import Found
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.words import brief

LARGEST = 4 * 2**20


def certificate_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """`params` is not looked at: there is one such page."""
    del params
    groups = [g for f in site.library.artifacts().values() if (g := _group(site, f)) is not None]
    lines = [line for g in groups for line in g["lines"]]
    return {
        "groups": groups,
        "red": [line for line in lines if not line["ok"]],
        "green": sum(line["ok"] for line in lines),
        "total": len(lines),
    }


def _group(site: Site, found: Found) -> dict[str, Any] | None:
    path = found.path / "certificate.json"
    if not path.is_file() or not path.resolve().is_relative_to(site.library.root):
        return None
    name = plain(found.name, 120)
    lines = read_certificate(found)
    if lines is None:
        return {"name": name, "trouble": "certificate.json can't be read", "lines": []}
    shown = [
        {
            "artifact": name,
            "line": plain(line, 200),
            "ok": bool(facts.get("ok")),
            "facts": [(plain(k, 60), plain(brief(v), 300)) for k, v in facts.items() if k != "ok"],
        }
        for line, facts in lines.items()
    ]
    shown.sort(key=lambda line: bool(line["ok"]))
    return {"name": name, "trouble": "", "lines": shown}


def read_certificate(found: Found) -> dict[str, dict[str, Any]] | None:
    """None where it can't be read."""
    path = found.path / "certificate.json"
    try:
        if path.stat().st_size > LARGEST:
            return None
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(read, dict):
        return None
    return {str(k): v for k, v in read.items() if isinstance(v, dict)}
