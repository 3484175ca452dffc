"""Stages as a recipe declares them: bodies taken apart into config and inputs, groups unrolled, branches not yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from posttrain.config import dotted_keys
from posttrain.errors import RecipeError, did_you_mean
from posttrain.pipeline.recipe import Recipe
from posttrain.pipeline.variables import fields_of, substitute
from posttrain.stage import StageSpec, stage_spec

RESERVED = ("stage", "seed", "each")  # keys of a body that belong to the recipe and not to the stage
GROUP_KEYS = ("repeat", "start", "stages")


@dataclass(frozen=True)
class Declared:
    """One stage of a recipe. `config` and `inputs` may still hold matrix keys in braces."""

    name: str
    spec: StageSpec
    config: Mapping[str, Any]
    inputs: Mapping[str, Any]
    seed: Any  # pinned by the body, or None
    each: tuple[str, ...]

    @property
    def where(self) -> str:
        return f"stage '{self.name}'"


def declared_stages(recipe: Recipe) -> dict[str, Declared]:
    """Every stage by name, in the recipe's order; a group's stage `x` becomes x-1, x-2 …, and `x` means the last."""
    found: dict[str, Declared] = {}
    last: dict[str, str] = {}  # a group's stage → its last round's name
    for name, body in recipe.stages.items():
        made, aliases = _group(name, body, recipe) if "repeat" in body else ([_declare(name, body, recipe, {})], {})
        for one in made:
            if one.name in found:
                raise RecipeError(f"recipe {recipe.source}: there are two stages named '{one.name}'. Rename one.")
            found[one.name] = one
        last.update(aliases)
    for alias in last:
        if alias in found:
            raise RecipeError(f"recipe {recipe.source}: '{alias}' is a stage and also one of a group. Rename one.")
    return {name: replace(one, inputs=_renamed(one.inputs, last)) for name, one in found.items()}


def _declare(name: str, body: Mapping[str, Any], recipe: Recipe, extra: Mapping[str, Any]) -> Declared:
    """Splits a body into the recipe's own keys, the stage's inputs and its config."""
    where = f"stage '{name}'"
    kind = body.get("stage")
    if not isinstance(kind, str):
        raise RecipeError(f"{where} does not say which stage it is. Add 'stage: …' (data, sft, eval …).")
    spec = stage_spec(kind)
    body_without = {k: v for k, v in body.items() if k != "stage"}
    filled: dict[str, Any] = substitute(body_without, {**_variables(recipe), **extra}, where)
    names = [i.name for i in spec.inputs]
    fields = list(spec.config.model_fields)
    for key in filled:
        if key not in (*RESERVED, *names, *fields):
            near = _nested(spec, key) or did_you_mean(key, [*names, *fields, *RESERVED])
            raise RecipeError(f"{where}: unknown key '{key}'.{near or f' Known: {_listed(names + fields)}.'}")
    each = filled.get("each", [])
    each = [each] if isinstance(each, str) else each
    for key in each:
        if key not in recipe.matrix:
            raise RecipeError(f"{where}: each: '{key}' is no matrix key.{did_you_mean(str(key), recipe.matrix)}")
    return Declared(
        name=name,
        spec=spec,
        config={k: v for k, v in filled.items() if k in fields},
        inputs={k: v for k, v in filled.items() if k in names},
        seed=filled.get("seed"),
        each=tuple(each),
    )


def _variables(recipe: Recipe) -> dict[str, Any]:
    """Variables, and matrix keys standing for themselves: branches fill those in later."""
    words = [word for key, values in recipe.matrix.items() for word in fields_of(key, values[0])]
    return {**{word: f"{{{word}}}" for word in words}, **recipe.variables}


def _group(name: str, body: Mapping[str, Any], recipe: Recipe) -> tuple[list[Declared], dict[str, str]]:
    """Unrolls ``{repeat: n, start: {…}, stages: {…}}``.

    Within round k a name means the same round's stage when that stands above, else the round before; `start` says what
    it means in round 1. ``{round}`` is the round's number.
    """
    where = f"group '{name}'"
    for key in body:
        if key not in GROUP_KEYS:
            raise RecipeError(
                f"{where}: unknown key '{key}'.{did_you_mean(key, GROUP_KEYS)} Known: {_listed(GROUP_KEYS)}."
            )
    rounds = substitute(body["repeat"], recipe.variables, where)
    inner, start = body.get("stages"), substitute(body.get("start", {}), _variables(recipe), where)
    if not isinstance(rounds, int) or isinstance(rounds, bool) or rounds < 1:
        raise RecipeError(f"{where}: repeat is {rounds!r}; it must be a number of rounds, 1 or more.")
    if not isinstance(inner, dict) or not inner or not all(isinstance(b, dict) for b in inner.values()):
        raise RecipeError(f"{where}: 'stages' must be a mapping of stages by name.")
    if not isinstance(start, dict):
        raise RecipeError(f"{where}: 'start' is {start!r}; it must say what a stage's name means in round 1.")
    for key in start:
        if key not in inner:
            raise RecipeError(f"{where}: start: '{key}' is no stage of the group.{did_you_mean(str(key), inner)}")
    order = list(inner)
    made = []
    for k in range(1, rounds + 1):
        for position, (stage, stage_body) in enumerate(inner.items()):
            one = _declare(f"{stage}-{k}", stage_body, recipe, {"round": k})
            meaning = {
                other: f"{other}-{k}"
                if order.index(other) < position
                else f"{other}-{k - 1}"
                if k > 1
                else start[other]
                for other in order
                if k > 1 or order.index(other) < position or other in start
            }
            for other in _names(one.inputs):
                if other in order and other not in meaning:
                    raise RecipeError(
                        f"{where}: round 1 of '{stage}' takes '{other}', which no earlier round has made. "
                        f"Say what it means there: start: {{{other}: …}}."
                    )
            made.append(replace(one, inputs=_renamed(one.inputs, meaning)))
    return made, {stage: f"{stage}-{rounds}" for stage in order}


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)
    elif isinstance(value, str):
        yield value


def _renamed(value: Any, meaning: Mapping[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(inner, meaning) for key, inner in value.items()}
    if isinstance(value, list):
        return [_renamed(inner, meaning) for inner in value]
    return meaning.get(value, value) if isinstance(value, str) else value


def _nested(spec: StageSpec, key: str) -> str:
    """A hint for a key that stands deeper: ``lr`` is ``optimizer.lr``."""
    deeper = [path for path in dotted_keys(spec.config) if path.endswith(f".{key}")]
    return f" Did you mean '{deeper[0]}'?" if deeper else ""


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
