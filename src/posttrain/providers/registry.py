"""Teachers by name: the packaged table, a file of the user's own, and what is written inline, each over the one before.

A name is a teacher of the table (`gpt-4o-mini`), a provider and a model of its (`openrouter/qwen/qwen3-32b`), or any
name of one's own that comes with `base_url` and `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field

from posttrain.config import Config, load_yaml, parse
from posttrain.errors import ProviderError, did_you_mean
from posttrain.providers.teacher import Teacher


class _Table(Config):
    """A file of teachers. providers: what their models have in common; teachers: a provider and a model each."""

    providers: dict[str, dict[str, Any]] = Field(default_factory=dict)
    teachers: dict[str, dict[str, Any]] = Field(default_factory=dict)


def get_teacher(name: str, overrides: Mapping[str, Any] | None = None, registry: Path | None = None) -> Teacher:
    """The teacher called `name`.

    overrides: keys of `Teacher`, over what the tables say (nested ones are merged). registry: a YAML file like the
    packaged teachers.yaml, whose entries stand before the packaged ones. ProviderError where nobody knows the name;
    RecipeError where a table or an override is wrong.
    """
    providers, teachers = _tables(registry)
    entry = teachers.get(name)
    if entry is None:
        owner, _, model = name.partition("/")
        entry = {"provider": owner, "model": model} if model and owner in providers else {}
    given = dict(overrides or {})
    owner = str(given.get("provider") or entry.get("provider") or "")
    values = _merged(_merged(providers.get(owner, {}), entry), given)
    if owner and owner not in providers and "base_url" not in values:
        raise ProviderError(
            f"teacher '{name}' names the provider '{owner}', which no table has.{did_you_mean(owner, providers)} "
            f"Known providers: {', '.join(sorted(providers))}; or give base_url."
        )
    if not entry and not ({"base_url", "model"} <= set(values)):
        raise ProviderError(
            f"no teacher is called '{name}'.{did_you_mean(name, teachers)} Known: {', '.join(sorted(teachers))}; or "
            f"PROVIDER/MODEL with one of {', '.join(sorted(providers))}; or any name with base_url and model of its "
            "own."
        )
    return parse(Teacher, {"name": name, **values}, f"teacher '{name}'")


def known_teachers(registry: Path | None = None) -> list[str]:
    """The names in the tables, sorted."""
    return sorted(_tables(registry)[1])


def _tables(registry: Path | None) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    ours = _packaged()
    if registry is None:
        return ours.providers, ours.teachers
    theirs = parse(_Table, load_yaml(registry), str(registry))
    return _merged(ours.providers, theirs.providers), {**ours.teachers, **theirs.teachers}


@cache
def _packaged() -> _Table:
    with resources.as_file(resources.files("posttrain.providers") / "teachers.yaml") as path:
        return parse(_Table, load_yaml(path), "teachers.yaml")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`; mappings in both are merged, and prices never are: half a price list would be no one's."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        nested = isinstance(value, Mapping) and isinstance(under, Mapping) and key != "prices"
        both[key] = _merged(under, value) if nested else value  # type: ignore[arg-type]
    return both
