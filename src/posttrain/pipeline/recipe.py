"""A recipe file with its overrides applied: names, variables and the bodies of its stages, not yet a graph."""

from __future__ import annotations

import copy
import os
import re
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from posttrain.config import Config, load_yaml, parse, parse_override, set_at
from posttrain.errors import RecipeError, did_you_mean
from posttrain.pipeline.publishing import PushPlan
from posttrain.tracking import SINKS

TOP = (
    *("name", "seed", "model", "vars", "matrix", "stages", "options", "smoke", "devices", "tracking"),
    *("launch", "ray", "slurm", "push"),
)
_NAME = re.compile(r"^[A-Za-z0-9][\w.+-]*$")


class Option(Config):
    """A setting of a recipe that stands for several overrides at once."""

    default: str
    choices: dict[str, dict[str, Any]]


class RecipeFile(Config):
    """The top level of a recipe.

    name: the run's folder.
    seed: the root of every stage's own seed.
    model, vars: what ``{model}`` and ``{other}`` stand for in stage bodies; ``{here}`` is the recipe's folder.
    matrix: lists of values; stages that name a key are made once per value. A value may be a mapping with a `name`
      and fields, which ``{key.field}`` stands for.
    stages: bodies by name.
    options: settings with names, e.g. {scale: {default: full, choices: {full: {}, small: {problems.limit: 9}}}};
      `scale=small` lays that choice's overrides over the recipe, and adds -small to the run's name.
    smoke: overrides for --smoke; null takes a key away.
    devices: e.g. [cuda:0, cuda:1]; default: every GPU there is, else wherever a stage likes to run.
    tracking: trackers that are given the metrics beside metrics.jsonl, e.g. [wandb].
    launch: where stages run: local (the devices of this machine) or ray (a cluster, settings under `ray`).
    slurm: what jobs ask for where stages run on a cluster (posttrain.cluster.slurm has the keys).
    push: what goes to the Hub when everything is made; a smoke run sends nothing.
    """

    name: str
    seed: int = 0
    model: str | None = None
    vars: dict[str, Any] = Field(default_factory=dict)
    matrix: dict[str, list[Any]] = Field(default_factory=dict)
    stages: dict[str, dict[str, Any]]
    options: dict[str, Option] = Field(default_factory=dict)
    smoke: dict[str, Any] = Field(default_factory=dict)
    devices: list[str] | None = None
    tracking: list[str] = Field(default_factory=list)
    launch: Literal["local", "ray"] = "local"
    ray: dict[str, Any] = Field(default_factory=dict)
    slurm: dict[str, Any] = Field(default_factory=dict)
    push: PushPlan | None = None

    @field_validator("name")
    @classmethod
    def _a_folder_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("use letters, digits, '.', '_', '+' and '-'; it names the run's folder")
        return value

    @field_validator("stages")
    @classmethod
    def _some_stages(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name in value:
            if not _NAME.match(name) or "--" in name:
                raise ValueError(f"stage name {name!r}: use letters, digits, '.', '_' and single '-'")
        if not value:
            raise ValueError("a recipe needs at least one stage")
        return value

    @field_validator("matrix")
    @classmethod
    def _some_values(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        for key, values in value.items():
            if not values:
                raise ValueError(f"'{key}' has no values")
            if any(isinstance(one, dict) for one in values):
                _same_fields(key, values)
        return value

    @field_validator("tracking")
    @classmethod
    def _known_trackers(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in SINKS:
                raise ValueError(f"there is no tracker {name!r}.{did_you_mean(name, SINKS)} Known: {', '.join(SINKS)}")
        return value


def _same_fields(key: str, values: list[Any]) -> None:
    """ValueError unless each of a matrix key's values is a mapping with a name of its own, and all have one shape."""
    for one in values:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise ValueError(f"'{key}' has values with fields, and {one!r} has no name. Write {{name: …, field: …}}")
        if missing := set(values[0]) ^ set(one):
            raise ValueError(
                f"'{key}': the values {values[0]['name']!r} and {one['name']!r} don't have the same fields: one lacks "
                f"{', '.join(map(repr, sorted(missing)))}"
            )
    names = [one["name"] for one in values]
    if len(set(names)) < len(names):
        raise ValueError(f"'{key}' has two values of one name")


@dataclass(frozen=True)
class Recipe:
    """A parsed recipe. `variables` is model and vars; matrix keys come on top per branch."""

    name: str
    seed: int
    variables: Mapping[str, Any]
    matrix: Mapping[str, list[Any]]
    stages: Mapping[str, dict[str, Any]]
    devices: list[str] | None
    tracking: tuple[str, ...]
    source: str
    launch: str = "local"
    ray: Mapping[str, Any] = field(default_factory=dict)
    slurm: Mapping[str, Any] = field(default_factory=dict)
    push: PushPlan | None = None


def load_recipe(source: str | Path, overrides: Iterable[str] = (), *, smoke: bool = False) -> Recipe:
    """Reads a recipe by path or by the name of one that ships, and applies its smoke section and then `overrides`.

    ``a.b=c`` addresses a top-level key, a variable, or a stage by its name: ``seed=2``, ``sft.lr=1e-4``.
    A smoke run gets a name of its own: ``NAME-smoke``.
    """
    path = find_recipe(source)
    return parse_recipe(load_yaml(path), str(path), overrides, smoke=smoke)


def parse_recipe(
    values: Mapping[str, Any], source: str, overrides: Iterable[str] = (), *, smoke: bool = False
) -> Recipe:
    """`load_recipe` of a mapping; `source` is what errors call it."""
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    where = f"recipe {source}"
    for key in ("stages", "vars", "matrix", "options", "smoke", "ray"):
        if not isinstance(changed.get(key, {}), dict):
            raise RecipeError(f"{where}: '{key}' is {changed[key]!r}; it must be a mapping.")
    overrides = _choose(changed, list(overrides), where, smoke=smoke)
    if smoke:
        if not changed.get("smoke"):
            raise RecipeError(f"{where} has no 'smoke:' section. Add one, e.g. smoke: {{model: …, sft.steps: 2}}.")
        for key, value in changed["smoke"].items():
            _override(changed, str(key).split("."), value, f"{where}: smoke", merge=True)
        changed["name"] = f"{changed.get('name', '')}-smoke"
    for text in overrides:
        keys, value = parse_override(text)
        _override(changed, keys, value, f"override {text!r}", merge=False)
    file = parse(RecipeFile, changed, where)
    here = {"here": str(Path(source).parent)} if Path(source).is_file() else {}
    own = {**({"model": file.model} if file.model is not None else {}), **file.vars}
    # Only `here` is known inside the variables themselves: they don't name each other.
    variables = {**here, **{name: _placed(value, here) for name, value in own.items()}}
    _refuse_clashes(where, variables, file)
    return Recipe(
        name=file.name,
        seed=file.seed,
        variables=variables,
        matrix=file.matrix,
        stages=file.stages,
        devices=file.devices,
        tracking=tuple(file.tracking),
        source=source,
        launch=file.launch,
        ray=file.ray,
        slurm=file.slurm,
        push=None if smoke else file.push,
    )


def _choose(values: dict[str, Any], overrides: list[str], where: str, *, smoke: bool) -> list[str]:
    """Applies the chosen options; returns the overrides that are none. A smoke section may choose too."""
    options = {}
    for name, body in values.get("options", {}).items():
        if not isinstance(body, dict):
            raise RecipeError(f"{where}: option '{name}' is {body!r}; it must be a mapping with default and choices.")
        options[name] = parse(Option, body, f"{where}: option '{name}'")
    chosen = {name: option.default for name, option in options.items()}
    if smoke:
        chosen |= {name: str(values["smoke"].pop(name)) for name in options if name in values.get("smoke", {})}
    rest = []
    for text in overrides:
        keys, value = parse_override(text)
        if len(keys) == 1 and keys[0] in options:
            chosen[keys[0]] = str(value)
        else:
            rest.append(text)
    for name, option in options.items():
        choice = chosen[name]
        if choice not in option.choices:
            known = ", ".join(option.choices)
            raise RecipeError(
                f"{where}: {name} is {choice!r}.{did_you_mean(choice, option.choices)} It may be: {known}."
            )
        for key, value in option.choices[choice].items():
            _override(values, str(key).split("."), value, f"{where}: {name}: {choice}", merge=True)
        if choice != option.default and not smoke:
            values["name"] = f"{values.get('name', '')}-{choice}"
    return rest


def _override(values: dict[str, Any], keys: list[str], value: Any, where: str, *, merge: bool) -> None:
    """Sets the value at `keys`, whose head is a top-level key, a variable or a stage (also one inside a group)."""
    head = keys[0]
    stages, variables = values.get("stages", {}), values.get("vars", {})
    if head in TOP:
        node, rest = values, keys
    elif head in variables:
        node, rest = variables, keys
    else:
        groups = [body["stages"] for body in stages.values() if isinstance(body, dict) and "repeat" in body]
        owner = next((g for g in [stages, *groups] if isinstance(g, dict) and head in g), None)
        if owner is None:
            known = [*TOP, *variables, *stages, *(name for g in groups if isinstance(g, dict) for name in g)]
            raise RecipeError(f"{where}: there is no stage or key '{head}'.{did_you_mean(head, known)}")
        node, rest = owner, keys
    set_at(node, rest, value, where, merge=merge)
    if merge:
        _take_away(node, rest, value)


def _placed(value: Any, here: Mapping[str, str]) -> Any:
    return value.replace("{here}", here["here"]) if isinstance(value, str) and here else value


def _take_away(node: dict[str, Any], path: list[str], value: Any) -> None:
    """Removes the keys that a smoke section sets to null: they may mean nothing for the data it uses."""
    for key in path[:-1]:
        node = node[key]
    if value is None:
        node.pop(path[-1], None)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _take_away(node[path[-1]], [str(key)], inner)


def _refuse_clashes(where: str, variables: Mapping[str, Any], file: RecipeFile) -> None:
    for key in file.matrix:
        if key in variables:
            raise RecipeError(f"{where}: '{key}' is both a variable and a matrix key. Rename one of them.")
    for key in [*file.vars, *file.matrix, *file.options]:
        if key in file.stages or key in TOP:
            other = "a stage" if key in file.stages else "a key of every recipe"
            raise RecipeError(f"{where}: variable '{key}' is also {other}. Rename the variable.")


def recipe_folders() -> list[Path]:
    """Where shipped recipes stand: `recipes/` of a checkout, or the installation's share folder."""
    checkout = Path(__file__).resolve().parents[3] / "recipes"
    installed = Path(sysconfig.get_path("data")) / "share" / "posttrain" / "recipes"
    return [folder for folder in (checkout, installed) if folder.is_dir()]


def shipped_recipes() -> dict[str, Path]:
    """Recipe files that ship, by name (the file's stem)."""
    found: dict[str, Path] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_recipe(source: str | Path) -> Path:
    """A recipe's file from its path or a shipped one's name. RecipeError when there is neither."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)]
    near = did_you_mean(str(source), shipped) or did_you_mean(path.stem, shipped)
    neighbours = sorted(path.parent.glob("*.yaml")) if path.parent.is_dir() else []
    near = did_you_mean(path.name, [p.name for p in neighbours]) or near
    raise RecipeError(f"there is no recipe {os.fspath(source)!r}.{near} `posttrain recipes` lists those that ship.")
