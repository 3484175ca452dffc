"""Foreign configurations from YAML, JSON or a command line. Text only: nothing in them is executed or imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from posttrain.config import load_yaml
from posttrain.errors import RecipeError

_REMARK = re.compile(r"\s+//.*$")  # not YAML's comment sign, but people write it


def read_settings(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file. RecipeError where there is none."""
    return {key: _without_remark(value) for key, value in load_yaml(path).items()}


def read_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """``--key value``, ``--key=value``, ``--flag``, ``--key a b c``; before the first ``--`` stands a command."""
    words = list(arguments)
    while words and not words[0].startswith("--"):
        words.pop(0)
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            key, mark, value = word[2:].partition("=")
            found[key := key.replace("-", "_")] = [value] if mark else []
        else:
            found[key].append(word)
    if not found:
        raise RecipeError("there are no arguments to import. Give a file, or --key value … after a bare --.")
    return {key: _value(values) for key, values in found.items()}


def _value(words: Sequence[str]) -> Any:
    if not words:
        return True
    values = [_scalar(word) for word in words]
    return values[0] if len(values) == 1 else values


def _without_remark(value: Any) -> Any:
    """``16384 // edit if needed`` is 16384."""
    if not isinstance(value, str) or not _REMARK.search(value):
        return value
    return _scalar(_REMARK.sub("", value))


def _scalar(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
