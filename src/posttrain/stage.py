"""Stages by name, and the Workspace a stage works in.

A stage is an ordinary function ``(config, input artifacts ..., work) -> artifact``. It is named by its word in the
registry (`sft`) or, a user's own, as "module:function". The registry's modules import no torch at their top (the heavy
work is imported inside the function), so planning a recipe reads signatures without paying for torch.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import math
import types
import typing
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.config import Config
from posttrain.errors import RecipeError, did_you_mean
from posttrain.registry import STAGES
from posttrain.seeding import derive
from posttrain.store import Artifact, write_json, write_table
from posttrain.tracking import Metrics, Progress, open_sinks

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Input:
    """One artifact parameter of a stage."""

    name: str
    kinds: tuple[type[Artifact], ...]
    many: bool
    required: bool


@dataclass(frozen=True)
class Parts:
    """How a stage's work is parted among devices or machines (its function's attribute `parts`).

    A part is one file below the workspace's `state`. It is made alone, in any order, in any workspace with the stage's
    seed, and comes out the same; a stage that finds it in its own workspace doesn't make it again.

    names(config, inputs): all parts, relative to `state`; [] where this config can't be parted.
    make(config, inputs, work, names): makes the parts named and yields each name when its file is whole.
    """

    names: Callable[[Any, Mapping[str, Any]], list[str]]
    make: Callable[[Any, Mapping[str, Any], Workspace, Iterable[str]], Generator[str, None, None]]


@dataclass(frozen=True)
class StageSpec:
    """A stage as its signature tells it. `version` enters the fingerprint: raise it when results change."""

    name: str
    function: Callable[..., Artifact]
    config: type[Config]
    inputs: tuple[Input, ...]
    output: type[Artifact]
    version: int
    forecast: Callable[..., dict[str, Any]] | None
    parts: Parts | None = None


def stage_spec(name: str) -> StageSpec:
    """The spec behind a stage's name: a registered word, or "module:function" for one's own.

    RecipeError for an unknown name, a module that can't be found, or a function that is no stage.
    """
    if ":" in name:
        return spec_of(name, _import_function(name))
    if name not in STAGES:
        raise RecipeError(
            f"unknown stage {name!r}.{did_you_mean(name, STAGES)} Known: {', '.join(sorted(STAGES))}; "
            f"a stage of your own is written module:function."
        )
    module_name, _, function_name = STAGES[name][0].partition(":")
    return spec_of(name, getattr(importlib.import_module(module_name), function_name))


def _import_function(target: str) -> Callable[..., Artifact]:
    module_name, _, function_name = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it imports is not
        raise RecipeError(
            f"stage {target!r}: there is no module {module_name!r}. Install it, or add its folder to PYTHONPATH."
        ) from None
    function = getattr(module, function_name, None)
    if not callable(function):
        names = [n for n, value in vars(module).items() if inspect.isfunction(value)]
        raise RecipeError(
            f"stage {target!r}: module {module_name!r} has no function {function_name!r}."
            f"{did_you_mean(function_name, names)}"
        )
    found: Callable[..., Artifact] = function
    return found


def spec_of(name: str, function: Callable[..., Artifact]) -> StageSpec:
    """Reads config, inputs and output from the annotations of a stage function. RecipeError where it is no stage."""
    try:
        hints = typing.get_type_hints(function)
    except NameError as error:
        raise RecipeError(f"{name} is no stage: an annotation can't be read ({error}). Import what it names.") from None
    parameters = list(inspect.signature(function).parameters.values())
    config = hints.get(parameters[0].name) if parameters else None
    if not (isinstance(config, type) and issubclass(config, Config)):
        raise _no_stage(name, "its first parameter is its config and must be annotated with a Config")
    output = hints.get("return")
    if not (isinstance(output, type) and issubclass(output, Artifact)):
        raise _no_stage(name, "its return annotation must be an artifact (Problems, Samples, Checkpoint …)")
    if "work" not in [p.name for p in parameters]:
        raise _no_stage(name, "it must take `work: Workspace`")
    inputs = []
    for parameter in parameters[1:]:
        if parameter.name != "work":
            kinds, many = _artifact_kinds(name, parameter.name, hints.get(parameter.name))
            inputs.append(Input(parameter.name, kinds, many, parameter.default is inspect.Parameter.empty))
    for given in inputs:
        if given.name in config.model_fields:
            raise _no_stage(name, f"'{given.name}' is both an input and a key of its config")
    return StageSpec(
        name=name,
        function=function,
        config=config,
        inputs=tuple(inputs),
        output=output,
        version=getattr(function, "version", 1),
        forecast=getattr(function, "forecast", None),
        parts=getattr(function, "parts", None),
    )


def _no_stage(name: str, why: str) -> RecipeError:
    return RecipeError(f"{name} is no stage: {why}. A stage is (config, artifacts …, work) -> artifact.")


def _artifact_kinds(stage: str, name: str, hint: Any) -> tuple[tuple[type[Artifact], ...], bool]:
    """``Checkpoint`` → ((Checkpoint,), False); ``list[Scores] | None`` → ((Scores,), True)."""
    if typing.get_origin(hint) is list:
        return _artifact_kinds(stage, name, typing.get_args(hint)[0])[0], True
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_artifact_kinds(stage, name, h) for h in typing.get_args(hint) if h is not types.NoneType]
        return tuple(kind for kinds, _ in parts for kind in kinds), any(many for _, many in parts)
    if not (isinstance(hint, type) and issubclass(hint, Artifact)):
        raise _no_stage(stage, f"parameter '{name}' must be annotated with an artifact or a list of them")
    return (hint,), False


class Workspace:
    """What a stage is given beside its config and inputs: a folder, a seed, progress, metrics.

    dir: the stage's folder; whatever an interrupted attempt left there is still there.
    state: a folder for what only a resume needs (optimizer state, journals); removed when the stage finishes.
    seed: this stage's own seed, derived from the run's root seed and the stage's name in the recipe.
    closing: what must end with the stage, well or badly (processes); whoever runs the stage leaves this context.
    tracking: trackers that are given the metrics too; they write below `.tracking`, which is no part of the artifact.
    """

    def __init__(
        self,
        directory: Path,
        *,
        seed: int = 0,
        device: str = "auto",
        quiet: bool = False,
        tracking: Sequence[str] = (),
    ) -> None:
        self.dir = directory
        self.dir.mkdir(parents=True, exist_ok=True)
        self.state = directory / ".work"
        self.state.mkdir(exist_ok=True)
        self.seed = seed
        self.device = device
        self.quiet = quiet
        run = "/".join(directory.resolve().parts[-2:])
        self.metrics = Metrics(
            directory / "metrics.jsonl", open_sinks(tracking, run=run, folder=directory / ".tracking")
        )
        self.closing = contextlib.ExitStack()
        self.summary: dict[str, Any] = {}

    def derive(self, purpose: str, *index: int | str) -> int:
        return derive(self.seed, purpose, *index)

    def progress(self, total: int | None, label: str, unit: str = "items") -> Progress:
        return Progress(total, label, unit, quiet=self.quiet)

    def note(self, message: str) -> None:
        """One line for the person who watches."""
        if not self.quiet:
            print(f"  {message}", flush=True)

    def summarise(self, **facts: Any) -> None:
        """A few numbers that the manifest keeps and the run's last lines show."""
        self.summary.update(facts)

    def write_json(self, name: str, value: Any) -> Path:
        write_json(self.dir / name, value)
        return self.dir / name

    def write_table(self, name: str, table: pa.Table) -> Path:
        write_table(self.dir / name, table)
        return self.dir / name

    def certify(self, line: str, ok: bool, **facts: Any) -> None:
        """One line of the run's certificate; the report shows it. Red lines stand beside green ones.

        Numbers that are none (NaN, infinity) are written as null, for other readers can't parse them.
        """
        path = self.dir / "certificate.json"
        lines: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        told = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in facts.items()}
        lines[line] = {"ok": ok, **told}
        write_json(path, lines)
