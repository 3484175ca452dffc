"""What of a graph becomes which job: one per stage, an array where a matrix makes several of it; and its file."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from posttrain.cluster.slurm.config import JobConfig, SlurmConfig
from posttrain.cluster.slurm.journal import FOLDER
from posttrain.errors import RecipeError
from posttrain.hub.mirror import VARIABLE
from posttrain.pipeline import Graph, Node
from posttrain.training.config import LaunchConfig

# Exit codes of a job. Others: 0 made, 2 an error for the user (its words are in NODE.why).
STOPPED, ENVIRONMENT, NOT_SHARED = 75, 78, 79


@dataclass(frozen=True)
class Job:
    """One file for sbatch. nodes: by index in the array of the stage's branches; {0: stage} for a single one."""

    base: str
    nodes: Mapping[int, Node]
    array: bool
    config: JobConfig
    launch: LaunchConfig


@dataclass(frozen=True)
class Place:
    """Where a node stands in the queue: its job's number (or $name in a dry run), and its index in an array."""

    job: str
    index: int | None
    indices: frozenset[int]


def jobs_of(graph: Graph, config: SlurmConfig, wanted: Collection[str]) -> list[Job]:
    """The jobs that make `wanted`, in order. RecipeError where a stage wants other machines than its job gets."""
    made = []
    branches: dict[str, list[Node]] = {}
    for node in graph.nodes.values():
        branches.setdefault(node.base, []).append(node)
    for base, all_of_it in branches.items():
        nodes = {index: node for index, node in enumerate(all_of_it) if node.name in wanted}
        if not nodes:
            continue
        if FOLDER in (node.name for node in nodes.values()):
            raise RecipeError(
                f"a stage named '{FOLDER}' can't be submitted: its folder is where jobs are noted. Rename it."
            )
        job = config.of(base)
        launches = {_launch(node) for node in nodes.values()}
        if len({launch.nodes for launch in launches}) > 1:
            raise RecipeError(
                f"stage '{base}': its branches want different numbers of machines (launch.nodes), and an array's jobs "
                "are alike. Make them two stages."
            )
        launch = max(launches, key=lambda one: one.processes)
        _check(base, job, launch)
        made.append(Job(base, nodes, len(all_of_it) > 1, job, launch))
    return made


def _launch(node: Node) -> LaunchConfig:
    found = getattr(node.config, "launch", None)
    return found if isinstance(found, LaunchConfig) else LaunchConfig()


def _check(base: str, job: JobConfig, launch: LaunchConfig) -> None:
    if job.gpus and launch.processes > job.gpu_count:
        raise RecipeError(
            f"stage '{base}': launch.processes is {launch.processes} and its job asks for {job.gpu_count} GPUs on each "
            f"node; one process needs one GPU. Set slurm.stages.{base}.gpus to {launch.processes}."
        )
    if launch.strategy in ("zero2", "zero3") and launch.world > 1 and job.time is not None and job.requeues:
        raise RecipeError(
            f"stage '{base}': {launch.strategy} saves no state, so a job that comes back after its time limit would "
            f"start from nothing each time. Use launch.strategy: fsdp2, or set slurm.stages.{base}.requeues: 0."
        )


def dependency(job: Job, places: Mapping[str, Place]) -> str:
    """sbatch's --dependency for what of the job's inputs is not made yet; "" for none.

    An array whose elements each follow the element of their own branch says so (aftercorr), and starts them one by one.
    """
    pairs: dict[str, set[tuple[int, int | None]]] = {}
    indices: dict[str, frozenset[int]] = {}
    for index, node in job.nodes.items():
        for need in node.needs:
            if need in places:
                place = places[need]
                pairs.setdefault(place.job, set()).add((index, place.index))
                indices[place.job] = place.indices
    parts = []
    for number, found in pairs.items():
        theirs = {their for _, their in found}
        if job.array and len(found) == len(job.nodes) and all(mine == their for mine, their in found):
            parts.append(f"aftercorr:{number}")
        elif None in theirs or theirs == indices[number]:
            parts.append(f"afterok:{number}")
        else:
            parts += [f"afterok:{number}_{their}" for their in sorted(t for t in theirs if t is not None)]
    return ",".join(parts)


def places_of(job: Job, number: str) -> dict[str, Place]:
    """The places of a job's nodes once it has a number."""
    indices = frozenset(job.nodes)
    return {node.name: Place(number, index if job.array else None, indices) for index, node in job.nodes.items()}


def render(job: Job, run: Path, mark: str, recipe: str) -> str:
    """The text of the job's file. `mark`: what is looked for to know that storage is shared."""
    config = job.config
    machines = job.launch.nodes
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters["sh"] = lambda value: shlex.quote(str(value))
    template = environment.from_string((Path(__file__).parent / "job.sbatch.jinja").read_text(encoding="utf-8"))
    srun = f"srun --nodes={machines} --ntasks={machines} --ntasks-per-node=1 --kill-on-bad-exit=1 "
    if config.cpus:
        srun += f"--cpus-per-task={config.cpus * job.launch.processes} "
    return (
        template.render(
            title=f"{run.name}: {', '.join(node.name for node in job.nodes.values())}",
            options=_options(job, run, mark),
            folder=run.resolve() / FOLDER,
            nodes={index: node.name for index, node in job.nodes.items()},
            mark=f"marks/{mark}",
            cwd=Path.cwd(),
            job=config,
            exports=_exports(config),
            python=_python(config),
            machines=machines,
            launcher=srun if machines > 1 else "",
            grace=max(2, config.signal - min(30, config.signal // 3)),
            recipe=recipe,
            codes={"stopped": STOPPED, "environment": ENVIRONMENT, "not_shared": NOT_SHARED},
        )
        + "\n"
    )


def _options(job: Job, run: Path, mark: str) -> list[str]:
    config, launch = job.config, job.launch
    given = {
        "job-name": f"{run.name}.{job.base}",
        "comment": mark,
        "array": _array(job),
        "partition": config.partition,
        "account": config.account,
        "qos": config.qos,
        "constraint": config.constraint,
        "nodes": launch.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": config.gpus or None,
        "cpus-per-task": config.cpus and config.cpus * launch.processes,
        "mem": config.memory,
        "time": config.time,
        "signal": f"B:USR1@{config.signal}",
    }
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    return [*options, "--requeue", "--kill-on-invalid-dep=yes", *config.extra]


def _array(job: Job) -> str | None:
    if not job.array:
        return None
    at_once = f"%{job.config.parallel}" if job.config.parallel else ""
    return ",".join(map(str, job.nodes)) + at_once


def _python(config: JobConfig) -> str:
    if config.venv:
        return str(Path(config.venv).expanduser().absolute() / "bin" / "python")
    return str(Path(config.python).expanduser().absolute()) if config.python else sys.executable


def _exports(config: JobConfig) -> dict[str, str]:
    """What the job's environment is given: a mirror is named by its whole path."""
    mirror = mirror_of(config)
    own: dict[str, str] = {VARIABLE: str(mirror)} if mirror is not None else {}
    if config.offline:
        own |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return own | config.environment


def mirror_of(config: JobConfig) -> Path | None:
    """The folder that names of the hub are looked up in, if there is one."""
    named = config.mirror or os.environ.get(VARIABLE)
    return Path(named).expanduser().resolve() if named else None


def sbatch_words(script: str | Path, after: str) -> Sequence[str]:
    """The command that queues a job's file."""
    return ["sbatch", "--parsable", *([f"--dependency={after}"] if after else []), str(script)]
