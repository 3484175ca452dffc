"""Lineage and Certificate: what came from what, and what the run checked of itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from posttrain.explorer.charts import Node, graph
from posttrain.explorer.library import Found
from posttrain.explorer.site import Site
from posttrain.explorer.text import plain
from posttrain.report.words import brief, duration

LONGEST = 400  # characters of a setting


def lineage_page(site: Site, params: Mapping[str, str]) -> dict[str, Any]:
    """`params` is not looked at: there is one such page."""
    del params
    found = site.library.artifacts()
    inputs = {name: _inputs(site, f) for name, f in found.items()}
    depth: dict[str, int] = {}

    def column(name: str, above: frozenset[str] = frozenset()) -> int:
        if name not in depth:
            inner = [i["name"] for i in inputs.get(name, ()) if i["name"] not in above]
            depth[name] = max((column(i, above | {name}) + 1 for i in inner), default=0)
        return depth[name]

    outside = {i["name"]: i for given in inputs.values() for i in given if i["name"] not in found}
    nodes = [Node(name, "from outside", "", "outside", 0, ()) for name in outside]
    nodes += [
        Node(name, f.stage, f"#{_anchor(name)}", f.state, column(name), tuple(i["name"] for i in inputs[name]))
        for name, f in found.items()
    ]
    return {
        "graph": graph(nodes),
        "artifacts": [_artifact(f, inputs[f.name]) for f in found.values()],
        "outside": [{"name": plain(i["name"], 120), "digest": i["digest"]} for i in outside.values()],
    }


def _inputs(site: Site, found: Found) -> list[dict[str, str]]:
    """Name, role and digest of each input; one within the folder is named as the library names it."""
    given: list[dict[str, str]] = []
    for role, several in (found.manifest.inputs if found.manifest else {}).items():
        for one in several if isinstance(several, list) else [several]:
            if isinstance(one, dict) and isinstance(one.get("path"), str):
                written = one["path"]
                given.append(
                    {
                        "role": role,
                        "name": _name(site, found, written) or plain(one.get("name") or written, 120),
                        "digest": str(one.get("digest") or "")[:12],
                    }
                )
    return given


def _name(site: Site, found: Found, written: str) -> str | None:
    """The artifact of the library that an input's path leads to, itself or a part of it. No file is looked at."""
    target = os.path.normpath(found.path / written)
    for name, other in site.library.artifacts().items():
        if target == str(other.path) or target.startswith(f"{other.path}{os.sep}"):
            return name
    return None


def _artifact(found: Found, inputs: list[dict[str, str]]) -> dict[str, Any]:
    m = found.manifest
    return {
        "name": plain(found.name, 120),
        "anchor": _anchor(found.name),
        "stage": plain(found.stage, 60),
        "state": found.state,
        "trouble": plain(found.trouble, 300),
        "inputs": [
            {"role": plain(i["role"], 40), "name": plain(i["name"], 120), "digest": i["digest"]} for i in inputs
        ],
        "facts": [
            (key, plain(value, 200))
            for key, value in (
                ("seed", m.seed),
                ("started", m.started.replace("T", " ")[:19]),
                ("took", duration(m.seconds) if m.seconds is not None else "–"),
                ("attempts", m.attempts),
                ("digest", m.digest or "–"),
                ("fingerprint", m.fingerprint),
                ("code", brief(m.code)),
                ("hardware", brief(m.hardware)),
                ("libraries", brief(m.versions)),
            )
        ]
        if m
        else [],
        "config": [(plain(k, 100), plain(brief(v), LONGEST)) for k, v in _settings(m.config)] if m else [],
        "outputs": [(plain(k, 200), str(v)[:12]) for k, v in list(m.outputs.items())[:200]] if m else [],
    }


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        elif value is not None and value != [] and value != "":
            yield f"{prefix}{key}", value


def _anchor(name: str) -> str:
    return "a-" + "".join(c if c.isalnum() and c.isascii() else "-" for c in name)
