"""What changed between two sets of facts, key by key, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ABSENT = object()


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per differing key, e.g. ``lr: 0.001 → 0.0001``; dotted keys for what is nested. Empty when equal."""
    old, new = _flatten(was), _flatten(now)
    lines = []
    for key in [*old, *(k for k in new if k not in old)]:
        before, after = old.get(key, _ABSENT), new.get(key, _ABSENT)
        if before != after or type(before) is not type(after):
            lines.append(f"{_title(key)}: {_show(key, before)} → {_show(key, after)}")
    return lines


def only_inputs_changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """True when the facts differ in nothing but the inputs' digests."""
    return {k: v for k, v in was.items() if k != "inputs"} == {k: v for k, v in now.items() if k != "inputs"}


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat.update(_flatten(inner, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    if isinstance(value, list) and any(isinstance(v, Mapping | list) for v in value):
        return _flatten({str(i): v for i, v in enumerate(value)}, prefix)
    return {prefix: value}


def _title(key: str) -> str:
    head, _, rest = key.partition(".")
    if head == "config" and rest:
        return rest
    if head == "inputs" and rest:
        return f"input {rest.removesuffix('.digest')}"
    if head == "files" and rest:
        return f"file {rest}"
    return {"version": "stage version"}.get(key, key)


def _show(key: str, value: Any) -> str:
    if value is _ABSENT:
        return "(not there)"
    if key.startswith(("inputs.", "files.")) and isinstance(value, str) and len(value) == 64:
        return f"{value[:12]}…"
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"
