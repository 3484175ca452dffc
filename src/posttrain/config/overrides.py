"""``a.b=c`` on the command line: the value is YAML, the path walks mappings and list indexes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from posttrain.errors import RecipeError


def parse_override(text: str) -> tuple[list[str], Any]:
    """``"sft.lr=1e-4"`` → (["sft", "lr"], 0.0001)."""
    path, sep, raw = text.partition("=")
    if not sep or not path.strip():
        raise RecipeError(f"override {text!r} is not of the form key=value. Write for example: sft.steps=100")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        raise RecipeError(f"override {text!r}: {raw!r} is not a YAML value. Quote it: {path}='\"…\"'") from None
    return path.strip().split("."), _number(value)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4 as a string; people mean a number."""
    if isinstance(value, str):
        try:
            return float(value) if any(c.isdigit() for c in value) and "e" in value.lower() else value
        except ValueError:
            return value
    return value


def apply_overrides(values: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """A deep copy of `values` with every override set; missing parents are made."""
    result = copy.deepcopy(dict(values))
    for text in overrides:
        path, value = parse_override(text)
        set_at(result, path, value, f"override {text!r}")
    return result


def set_at(values: dict[str, Any], path: list[str], value: Any, where: str, *, merge: bool = False) -> None:
    """Sets `value` at the dotted `path` in place; with `merge`, a mapping is laid over the mapping that is there."""
    node: Any = values
    for depth, part in enumerate(path[:-1]):
        if isinstance(node, list):
            node = node[_index(part, node, where)]
        else:
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            raise RecipeError(f"{where}: '{'.'.join(path[: depth + 1])}' is {node!r}, which has no keys below it.")
    key: Any = _index(path[-1], node, where) if isinstance(node, list) else path[-1]
    old = node[key] if isinstance(node, list) else node.get(key)
    if merge and isinstance(old, dict) and isinstance(value, dict):
        for inner, inner_value in value.items():
            set_at(old, [str(inner)], inner_value, where, merge=True)
    else:
        node[key] = copy.deepcopy(value)


def _index(part: str, node: list[Any], where: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise RecipeError(f"{where}: {part!r} is not an index of a list of {len(node)}.")
    return int(part)
