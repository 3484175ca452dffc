"""What a stage's tasks ask of a cluster, and whether it has that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from posttrain.cluster.ray.config import RayConfig, Resources
from posttrain.cluster.ray.probe import Node as Machine
from posttrain.errors import ClusterError, RecipeError
from posttrain.pipeline.graph import Node
from posttrain.store import Checkpoint


@dataclass(frozen=True)
class Needs:
    """Of one task. memory: bytes, None = not asked for."""

    cpus: float
    gpus: float
    memory: float | None = None
    custom: Mapping[str, float] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """What the stage is told to run on."""
        return "cuda" if self.gpus > 0 else "cpu"

    def options(self) -> dict[str, Any]:
        """As Ray's options of a task. We hand lost tasks out again ourselves."""
        told = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": 0}
        more = {"memory": self.memory} if self.memory is not None else {}
        return {**told, **more, "resources": dict(self.custom)}

    def amounts(self) -> dict[str, float]:
        """By Ray's names of resources, those that are asked for."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory or 0.0, **self.custom}
        return {name: amount for name, amount in asked.items() if amount > 0}

    def words(self) -> str:
        """For people: ``1 CPU, 2 GPU``."""
        return ", ".join(f"{amount:g} {name}" for name, amount in self.amounts().items()) or "nothing"


def needs_of(node: Node, config: RayConfig, machines: Sequence[Machine]) -> Needs:
    """What the recipe says, else by the stage: a process that reads or makes a model gets a GPU where the cluster has
    any, and every process a CPU. RecipeError for a stage that launches on several machines by itself."""
    launch = getattr(node.config, "launch", None)
    if launch is not None and launch.nodes > 1:
        raise RecipeError(
            f"stage '{node.name}' launches on {launch.nodes} machines by itself, and a Ray task is on one. Set "
            f"{node.base}.launch.nodes=1, or run this stage with torchrun or SLURM."
        )
    processes = float(launch.processes) if launch is not None else 1.0
    reads = any(Checkpoint in takes.kinds for takes in node.spec.inputs if node.inputs.get(takes.name))
    of_model = reads or issubclass(node.spec.output, Checkpoint)
    has_gpus = any(machine.resources.get("GPU", 0) >= 1 for machine in machines)
    said = config.resources.get(node.base, Resources())
    return Needs(
        cpus=processes if said.cpus is None else said.cpus,
        gpus=(processes if of_model and has_gpus else 0.0) if said.gpus is None else said.gpus,
        memory=None if said.memory_gb is None else said.memory_gb * 2**30,
        custom=said.custom,
    )


def slots(needs: Needs, machines: Sequence[Machine]) -> int:
    """How many such tasks the machines can run at once."""
    amounts = needs.amounts() or {"CPU": 1.0}
    return sum(
        int(min(machine.resources.get(name, 0.0) / amount for name, amount in amounts.items())) for machine in machines
    )


def check_fits(name: str, needs: Needs, machines: Sequence[Machine]) -> None:
    """ClusterError where no machine could ever run a task of this stage: Ray would wait for one for good."""
    if slots(needs, machines) > 0:
        return
    have = "; ".join(
        f"{m.name}: " + ", ".join(f"{m.resources.get(kind, 0):g} {kind}" for kind in needs.amounts()) for m in machines
    )
    raise ClusterError(
        f"stage '{name}' asks for {needs.words()} and no node has that ({have or 'no node is left'}). Ask for less: "
        f"ray.resources, e.g. {{{name}: {{cpus: 1, gpus: 0}}}}, or add a node."
    )
