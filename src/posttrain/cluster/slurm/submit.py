"""Queues what of a recipe is neither made nor queued, each stage after those it reads."""

from __future__ import annotations

import datetime
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from posttrain.cluster.slurm.commands import check_partition, enqueue, marked, partitions, seen_jobs, would_take
from posttrain.cluster.slurm.config import SlurmConfig
from posttrain.cluster.slurm.freezing import Frozen
from posttrain.cluster.slurm.jobs import Job, Place, dependency, jobs_of, mirror_of, places_of, render, sbatch_words
from posttrain.cluster.slurm.journal import FOLDER, Entry, Journal
from posttrain.errors import ClusterError, DriftError, RecipeError
from posttrain.hub.mirror import place
from posttrain.pipeline import Graph, Wishes, plan_graph
from posttrain.pipeline.order import Order
from posttrain.pipeline.plan import Planned, planned_inputs
from posttrain.store import Artifact, Checkpoint, fingerprint
from posttrain.store.atomic import write_atomic
from posttrain.store.lock import locked
from posttrain.tracking import require

Say = Callable[[str], None]


@dataclass
class Submission:
    """By node: the number of the job that was queued now, or of one that was queued before; `done` are made."""

    queued: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)


def submit(
    graph: Graph, frozen: Frozen, run: Path, config: SlurmConfig, wishes: Wishes | None = None, *, say: Say = print
) -> Submission:
    """Queues the jobs of `graph` that are wanted, below `run`.

    ClusterError where SLURM is not here, does not answer or refuses, before anything is queued if it can be known;
    what was queued until then stays noted, and the same call goes on from there. DriftError as in a run.
    """
    wishes = wishes or Wishes()
    _check_before(graph, run, config, wishes)
    known = partitions()
    (run / FOLDER / "marks").mkdir(parents=True, exist_ok=True)
    with locked(run / FOLDER):
        journal = Journal.read(run)
        if any(entry.job is None for entry in journal.entries):
            journal = journal.found(marked())
        told = Submission()
        waiting = _queued(graph, run, journal)
        todo = _todo(graph, run, wishes, waiting, told)
        jobs = jobs_of(graph, config, todo)
        for name in sorted({job.config.partition or "" for job in jobs}):
            check_partition(name or None, known)
        frozen.write(run / FOLDER)
        entries = [_entry(job, graph, run, frozen) for job in jobs]
        for job, entry in zip(jobs, entries, strict=True):
            _write(run / FOLDER / f"{job.base}.sbatch", render(job, run, entry.mark, frozen.digest))
            would_take(run / FOLDER / f"{job.base}.sbatch")
        _enqueue_all(jobs, entries, run, journal, _standing(waiting), told, say)
    return told


def dry_run(graph: Graph, frozen: Frozen, run: Path, config: SlurmConfig, wishes: Wishes | None = None) -> str:
    """Every file that `submit` would write and the commands that it would give, SLURM or not."""
    wishes = wishes or Wishes()
    _check_before(graph, run, config, wishes)
    jobs = jobs_of(graph, config, _todo(graph, run, wishes, {}, Submission()))
    places: dict[str, Place] = {}
    files, commands = [], []
    for job in jobs:
        script = run / FOLDER / f"{job.base}.sbatch"
        files.append(f"### {script}\n{render(job, run, 'MARK', frozen.digest)}")
        name = f"job_{''.join(c if c.isalnum() else '_' for c in job.base)}"
        commands.append(f"{name}=$({' '.join(sbatch_words(script, dependency(job, places)))})")
        places |= places_of(job, f"${name}")
    listed = "\n".join(commands) or "nothing: all is made"
    return "\n".join(
        [*files, f"### {frozen.digest}.yaml: the recipe as it is now\n{frozen.text}", "### commands", listed]
    )


def _check_before(graph: Graph, run: Path, config: SlurmConfig, wishes: Wishes) -> None:
    """What can be refused without asking SLURM."""
    require(graph.recipe.tracking)
    if wishes.fresh:
        raise RecipeError(
            "--fresh is for `posttrain run`. Cancel what is queued and run it there, or use another name=."
        )
    for one in plan_graph(graph, run, wishes):
        if one.status == "drift" and one.node.name in wishes.wanted(graph):
            raise DriftError(_drifted(one, run))
    for node in graph.nodes.values():
        job = config.of(node.base)
        if job.offline:
            for source in node.sources():
                _check_mirrored(source, node.name, mirror_of(job))


def _drifted(one: Planned, run: Path) -> str:
    lines = "".join(f"\n    {line}" for line in one.changes)
    return (
        f"{run / one.node.name} was made from something else than what is asked for now:{lines}\n  Ways on: undo the "
        f"change; use another name=; or `posttrain run … --fresh {one.node.name}`."
    )


def _check_mirrored(source: str | Artifact, stage: str, mirror: Path | None) -> None:
    if not isinstance(source, Checkpoint) or source.path.is_dir():
        return
    ref = f"{source.path}@{source.revision}" if source.revision else str(source.path)
    revision = f" --revision {source.revision}" if source.revision else ""
    if mirror is None:
        raise RecipeError(
            f"stage '{stage}' reads {ref} from the hub, and its node is offline (slurm.offline) with no mirror. Make "
            f"one: posttrain fetch {source.path}{revision} --to FOLDER, and name it: slurm: {{mirror: FOLDER}}."
        )
    folders = [
        place(mirror, "model", str(source.path), source.revision),
        place(mirror, "model", str(source.path), None),
    ]
    if not any(folder.is_dir() for folder in folders):
        raise RecipeError(
            f"stage '{stage}' reads {ref} from the hub, its node is offline (slurm.offline), and {mirror} does not "
            f"hold it. On a machine with a network: posttrain fetch {source.path}{revision} --to {mirror}."
        )


def _queued(graph: Graph, run: Path, journal: Journal) -> dict[str, tuple[Entry, str]]:
    """By node: entry and index of its job that still waits or runs. ClusterError for one that makes something else."""
    last = {name: found for name, found in journal.last().items() if name in graph.nodes}
    if not last:
        return {}
    seen = seen_jobs()
    waiting = {}
    for name, (entry, index) in last.items():
        job = seen.get(entry.number(index))
        if job is None or job.over:
            continue
        if entry.own[name] != _own(graph, run, name):
            raise ClusterError(
                f"stage '{name}' is queued as job {entry.number(index)} from a recipe with other settings. Wait for "
                f"it, cancel it (scancel {entry.number(index)}), or use another name=."
            )
        waiting[name] = (entry, index)
    return waiting


def _todo(graph: Graph, run: Path, wishes: Wishes, waiting: Mapping[str, object], told: Submission) -> list[str]:
    """Names of the nodes to queue: wanted, not made, not queued. RecipeError where one reads what nobody makes."""
    wanted = wishes.wanted(graph)
    plan = {one.node.name: one for one in plan_graph(graph, run, wishes)}
    # "after" is finished, and will be looked at again when its inputs stand: a job then, for only a run can tell.
    told.done = [name for name in graph.nodes if plan[name].status == "reuse"]
    todo = [name for name in wanted if name not in told.done and name not in waiting]
    for name in todo:
        for need in graph.nodes[name].needs:
            if need not in todo and need not in waiting and need not in told.done:
                raise RecipeError(
                    f"stage '{need}' is neither made nor queued, and '{name}' reads it. Submit without --only or "
                    "--from."
                )
    return todo


def _own(graph: Graph, run: Path, name: str) -> str:
    """The fingerprint of what a node itself asks for, whatever its inputs will be."""
    node = graph.nodes[name]
    order = Order(node.spec, node.config, planned_inputs(node, graph, run), run / name, node.seed, name)
    return fingerprint(order.own_facts() | {"reads": [str(s) for s in node.sources()]})


def _entry(job: Job, graph: Graph, run: Path, frozen: Frozen) -> Entry:
    return Entry(
        mark=f"posttrain-{secrets.token_hex(8)}",
        base=job.base,
        nodes={str(index): node.name for index, node in job.nodes.items()},
        own={node.name: _own(graph, run, node.name) for node in job.nodes.values()},
        array=job.array,
        recipe=frozen.digest,
        submitted=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _standing(waiting: Mapping[str, tuple[Entry, str]]) -> dict[str, Place]:
    """The places of nodes that were queued before."""
    return {
        name: Place(str(entry.job), int(index) if entry.array else None, frozenset(int(i) for i in entry.nodes))
        for name, (entry, index) in waiting.items()
    }


def _enqueue_all(
    jobs: list[Job],
    entries: list[Entry],
    run: Path,
    journal: Journal,
    places: dict[str, Place],
    told: Submission,
    say: Say,
) -> None:
    told.before = {name: p.job if p.index is None else f"{p.job}_{p.index}" for name, p in places.items()}
    for job, entry in zip(jobs, entries, strict=True):
        _write(run / FOLDER / "marks" / entry.mark, f"{entry.submitted}\n")
        journal = journal.put(entry)
        after = dependency(job, places)
        number = enqueue(run / FOLDER / f"{job.base}.sbatch", after)
        journal = journal.put(replace(entry, job=number))
        places |= places_of(job, number)
        told.queued |= {node.name: number for node in job.nodes.values()}
        say(f"{job.base}: job {number}" + (f" after {after}" if after else ""))


def _write(path: Path, text: str) -> None:
    with write_atomic(path) as file:
        file.write(text.encode())
