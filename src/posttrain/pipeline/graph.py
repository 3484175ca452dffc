"""The graph of a recipe: every stage of every branch with its config and where its inputs come from, checked."""

from __future__ import annotations

import graphlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posttrain.config import Config, parse
from posttrain.errors import RecipeError, did_you_mean
from posttrain.pipeline.declared import Declared, declared_stages
from posttrain.pipeline.external import describe, is_artifact_folder, open_artifact
from posttrain.pipeline.recipe import Recipe
from posttrain.pipeline.variables import fields_of, named_in, substitute
from posttrain.seeding import derive
from posttrain.stage import Input, StageSpec
from posttrain.store import Artifact

Source = str | Artifact  # another node's name, or something from outside
Branch = tuple[tuple[str, Any], ...]  # (matrix key, value) pairs in the matrix's order


@dataclass(frozen=True)
class Node:
    """One artifact to be: `name` is its folder, `base` the stage's name in the recipe."""

    name: str
    base: str
    spec: StageSpec
    config: Config
    inputs: Mapping[str, Source | tuple[Source, ...]]
    seed: int
    branch: Branch

    @property
    def needs(self) -> list[str]:
        """Names of the nodes that this one reads."""
        return [s for s in self.sources() if isinstance(s, str)]

    def sources(self) -> Iterator[Source]:
        for given in self.inputs.values():
            yield from given if isinstance(given, tuple) else (given,)


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be made."""

    recipe: Recipe
    nodes: Mapping[str, Node]

    def select(self, name: str) -> list[str]:
        """The nodes a person means by `name`: one, or all branches of a stage. RecipeError for an unknown name."""
        found = [n.name for n in self.nodes.values() if name in (n.name, n.base)]
        if not found:
            known = [*self.nodes, *(n.base for n in self.nodes.values())]
            raise RecipeError(
                f"there is no stage '{name}' in {self.recipe.source}.{did_you_mean(name, known)} "
                f"It has: {', '.join(self.nodes)}."
            )
        return found

    def after(self, names: Sequence[str]) -> list[str]:
        """`names` and everything that follows from them, in order."""
        reached = set(names)
        for node in self.nodes.values():
            if reached.intersection(node.needs):
                reached.add(node.name)
        return [name for name in self.nodes if name in reached]


def build_graph(recipe: Recipe) -> Graph:
    """Checks everything that can be known before running. RecipeError with the first thing that is wrong."""
    declared = declared_stages(recipe)
    resolver = _Resolver(recipe, declared)
    nodes: dict[str, Node] = {}
    for name in _ordered(resolver, declared):
        for node in resolver.nodes_of(declared[name]):
            nodes[node.name] = node
    return Graph(recipe, nodes)


def _ordered(resolver: _Resolver, declared: Mapping[str, Declared]) -> list[str]:
    """Stage names such that each follows what it reads; the recipe's own order where there is a choice."""
    needs = {name: resolver.stages_read_by(one) for name, one in declared.items()}
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        path = " → ".join(reversed(error.args[1]))
        raise RecipeError(
            f"recipe {resolver.recipe.source}: the stages feed each other in a circle: {path}. "
            f"One of them must take something from outside it."
        ) from None
    order: list[str] = []
    while len(order) < len(needs):
        order.append(next(n for n, read in needs.items() if n not in order and read <= set(order)))
    return order


class _Resolver:
    """Gives names their meaning: which stage, which branch, or which artifact outside."""

    def __init__(self, recipe: Recipe, declared: Mapping[str, Declared]) -> None:
        self.recipe = recipe
        self.declared = declared
        self._keys: dict[str, tuple[str, ...]] = {}
        self._names = self._branch_names()

    # Which matrix keys a stage is made per.

    def named_keys(self, stage: Declared) -> tuple[str, ...]:
        named = {*named_in(stage.config), *named_in(stage.inputs), *named_in(stage.seed), *stage.each}
        return tuple(key for key in self.recipe.matrix if key in named)

    def keys(self, stage: Declared) -> tuple[str, ...]:
        """Keys the stage names, and those of what it follows through inputs that take one artifact."""
        if stage.name not in self._keys:
            found = set(self.named_keys(stage))
            for takes in stage.spec.inputs:
                if not takes.many and takes.name in stage.inputs:
                    for name in self._stages_in(stage, stage.inputs[takes.name]):
                        found.update(self.keys(self.declared[name]))
            self._keys[stage.name] = tuple(key for key in self.recipe.matrix if key in found)
        return self._keys[stage.name]

    def branches(self, keys: Sequence[str]) -> list[Branch]:
        values = [[(key, value) for value in self.recipe.matrix[key]] for key in keys]
        return list(itertools.product(*values))

    def stages_read_by(self, stage: Declared) -> set[str]:
        """Names of the stages in its inputs. RecipeError for one that makes the wrong kind of artifact."""
        read: set[str] = set()
        for takes in stage.spec.inputs:
            names = self._stages_in(stage, stage.inputs.get(takes.name))
            for name in names:
                made = self.declared[name].spec.output
                if not issubclass(made, takes.kinds):
                    hint = self._suggest(stage, takes)
                    raise RecipeError(f"{stage.where} needs '{takes.name}', but '{name}' makes {made.kind}.{hint}")
            read |= names
        return read

    def _stages_in(self, stage: Declared, value: Any) -> set[str]:
        """Stage names in an input's value, over every branch that the stage's own words make."""
        found: set[str] = set()
        for branch in self.branches(self.named_keys(stage)):
            for item in _listed(substitute(value, _variables(branch), stage.where)):
                if isinstance(item, str) and item in self.declared:
                    found.add(item)
        return found

    # Nodes.

    def nodes_of(self, stage: Declared) -> list[Node]:
        return [self._node(stage, branch) for branch in self.branches(self.keys(stage))]

    def _node(self, stage: Declared, branch: Branch) -> Node:
        values = _variables(branch)
        config: dict[str, Any] = substitute(stage.config, values, stage.where)
        seed = substitute(stage.seed, values, stage.where)
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise RecipeError(f"{stage.where}: seed is {seed!r}; it must be a whole number.")
        if seed is not None and "seed" in stage.spec.config.model_fields:
            config["seed"] = seed
        return Node(
            name=self.node_name(stage.name, branch),
            base=stage.name,
            spec=stage.spec,
            config=parse(stage.spec.config, config, stage.where),
            inputs=self._inputs(stage, values, branch),
            seed=derive(self.recipe.seed, "stage", stage.name) if seed is None else seed,
            branch=branch,
        )

    def _inputs(
        self, stage: Declared, values: Mapping[str, Any], branch: Branch
    ) -> dict[str, Source | tuple[Source, ...]]:
        inputs: dict[str, Source | tuple[Source, ...]] = {}
        for takes in stage.spec.inputs:
            value = substitute(stage.inputs.get(takes.name), values, stage.where)
            if value is None or value == []:
                if takes.required:
                    raise RecipeError(
                        f"{stage.where}: input '{takes.name}' ({describe(takes)}) is missing."
                        f"{self._suggest(stage, takes)}"
                    )
                continue
            items = _listed(value)
            sources = [s for item in items for s in self._sources(stage, takes, item, branch)]
            if takes.many:
                inputs[takes.name] = tuple(sources)
            elif len(sources) == 1 and not isinstance(value, list):
                inputs[takes.name] = sources[0]
            else:
                raise RecipeError(f"{stage.where}: '{takes.name}' takes one artifact, not a list. Give one name.")
        return inputs

    def _sources(self, stage: Declared, takes: Input, item: Any, branch: Branch) -> list[Source]:
        if not isinstance(item, str):
            raise RecipeError(
                f"{stage.where}: '{takes.name}' is {item!r}; it must name a stage or a folder ({describe(takes)})."
            )
        if item in self.declared:
            if is_artifact_folder(item):
                raise RecipeError(
                    f"{stage.where}: '{item}' is a stage of this recipe and also a folder here. "
                    f"Write ./{item} for the folder, or rename the stage."
                )
            return [self.node_name(item, b) for b in self._matching(item, branch)]
        if not Path(item).expanduser().exists() and "/" not in item:
            raise RecipeError(
                f"{stage.where} needs '{takes.name}', but '{item}' is neither a stage of this recipe nor a folder."
                f"{did_you_mean(item, [n for n in self.declared if n != stage.name]) or self._suggest(stage, takes)}"
            )
        return [open_artifact(item, takes, f"{stage.where}: input '{takes.name}'")]

    def _matching(self, name: str, branch: Branch) -> list[Branch]:
        """Branches of stage `name` that agree with `branch` where both have a key."""
        mine = dict(branch)
        return [
            other
            for other in self.branches(self.keys(self.declared[name]))
            if all(key not in mine or mine[key] == value for key, value in other)
        ]

    def _suggest(self, stage: Declared, takes: Input) -> str:
        """The stage that most likely was meant: one that makes the right kind, by name or else the last above."""
        above: list[str] = []
        for name, other in self.declared.items():
            if name != stage.name and issubclass(other.spec.output, takes.kinds):
                above.append(name)
        if not above:
            return f" No stage here makes {describe(takes)}: add one, or give a folder."
        order = list(self.declared)
        earlier = [n for n in above if order.index(n) < order.index(stage.name)]
        best = takes.name if takes.name in above else (earlier or above)[-1]
        return f" Did you mean {takes.name}: {best}?"

    # Names.

    def node_name(self, stage: str, branch: Branch) -> str:
        """``traces`` or ``traces--gpt-4o-mini``: readable, and a folder's name anywhere."""
        return "--".join([stage, *(self._names[key, repr(value)] for key, value in branch)])

    def _branch_names(self) -> dict[tuple[str, str], str]:
        names: dict[tuple[str, str], str] = {}
        for key, values in self.recipe.matrix.items():
            words = [str(fields_of(key, value)[key]) for value in values]
            slugs = [re.sub(r"[^\w.+]+", "-", word).strip("-.")[:60] or "empty" for word in words]
            for value, slug in zip(values, slugs, strict=True):
                if (key, repr(value)) in names:
                    raise RecipeError(f"recipe {self.recipe.source}: matrix '{key}' has {value!r} twice.")
                tail = f"-{hashlib.sha256(repr(value).encode()).hexdigest()[:6]}" if slugs.count(slug) > 1 else ""
                names[key, repr(value)] = slug + tail
        return names


def _variables(branch: Branch) -> dict[str, Any]:
    """What matrix keys and their fields stand for in a branch."""
    return {word: inner for key, value in branch for word, inner in fields_of(key, value).items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
