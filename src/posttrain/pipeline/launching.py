"""The stages of a command that train in several processes, and what every machine has to start for them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from posttrain.config import Config
from posttrain.errors import RecipeError
from posttrain.pipeline.executor import run_graph
from posttrain.pipeline.graph import build_graph
from posttrain.pipeline.make import run_stage
from posttrain.pipeline.order import Inputs
from posttrain.pipeline.recipe import load_recipe
from posttrain.pipeline.wishes import Wishes
from posttrain.stage import StageSpec
from posttrain.training.config import LaunchConfig, TrainingConfig
from posttrain.training.launch import JOB


@dataclass(frozen=True)
class Launch:
    """One stage: its folder, its block, the command that makes it, and how to make it here."""

    name: str
    launch: LaunchConfig
    directory: Path
    command: str
    make: Callable[[], object]

    def lines(self) -> list[str]:
        """What each machine starts, and what becomes of it there."""
        launch = self.launch
        machines = f"{launch.nodes} machines × " if launch.nodes > 1 else ""
        lines = [f"# {self.name}: {machines}{launch.processes} processes, {launch.strategy}, in {self.directory}"]
        address = launch.address or "$(hostname)"
        first = "" if launch.nodes == 1 or launch.address else f"MASTER_ADDR={address} "
        port = f"MASTER_PORT={launch.port or 29500} " if first else ""
        job = self.directory / ".work" / JOB
        for node in range(launch.nodes):
            if launch.nodes > 1:
                lines.append(f"# machine {node}")
            lines.append(f"{first}{port}{self.command}" if node == 0 else _rank(job, node))
            start = 1 if node == 0 else 0
            lines += [f"#   starts {_rank(job, node, local)}" for local in range(start, launch.processes)]
        return lines


def _rank(job: Path, node: int, local: int | None = None) -> str:
    words = [
        "python",
        "-m",
        "posttrain.training.rank",
        str(job),
        str(node),
        *([str(local)] if local is not None else []),
    ]
    return shlex.join(words)


def of_recipe(target: str, assignments: Sequence[str], *, only: str | None, smoke: bool, runs: Path) -> list[Launch]:
    """The stages of a recipe, or `only` one. RecipeError where none trains in several processes."""
    graph = build_graph(load_recipe(target, assignments, smoke=smoke))
    names = graph.select(only) if only is not None else list(graph.nodes)
    found = []
    for name in names:
        node = graph.nodes[name]
        if not isinstance(node.config, TrainingConfig) or (only is None and node.config.launch.world == 1):
            continue
        run = runs / graph.recipe.name
        flags = [
            *(["--smoke"] if smoke else []),
            "--only",
            name,
            *(["--runs", str(runs)] if runs != Path("runs") else []),
        ]
        command = shlex.join(["posttrain", "run", target, *assignments, *flags])
        found.append(
            Launch(name, node.config.launch, run / name, command, partial(run_graph, graph, run, Wishes(name)))
        )
    if not found:
        raise RecipeError(
            f"no stage of {target} trains in several processes. Add launch: {{processes: 2}} to one (pretrain, sft, "
            "rl, dpo), or name it with --only."
        )
    return found


def of_stage(
    spec: StageSpec, settings: Config, inputs: Inputs, out: str, seed: int, assignments: Sequence[str]
) -> Launch:
    """A stage alone. RecipeError for one that trains nothing."""
    if not isinstance(settings, TrainingConfig):
        raise RecipeError(f"stage '{spec.name}' trains nothing. launch is for pretrain, sft, rl and dpo.")
    make = partial(run_stage, spec.name, settings, inputs, out, seed=seed)
    command = shlex.join(["posttrain", spec.name, *assignments])
    return Launch(spec.name, settings.launch, Path(out), command, make)
