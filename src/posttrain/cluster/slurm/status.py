"""What became of a run's stages: the store says what is made, SLURM what waits and runs, a job's own words why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from posttrain.cluster.slurm.commands import Seen, accounted, seen_jobs
from posttrain.cluster.slurm.jobs import ENVIRONMENT, NOT_SHARED, STOPPED
from posttrain.cluster.slurm.journal import FOLDER, Entry, Journal
from posttrain.errors import ClusterError
from posttrain.store import Manifest
from posttrain.store.lock import working

State = Literal["finished", "running", "waiting", "failed", "stopped", "lost"]
# SLURM's reasons for waiting, in words.
REASONS = {
    "Dependency": "for the stages that it reads",
    "Resources": "for machines to be free",
    "Priority": "behind other jobs",
    "BeginTime": "until it may start again",
    "JobHeldUser": "held: scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "QOSMaxJobsPerUserLimit": "for your other jobs to end",
    "AssocGrpGRES": "for your account's GPUs",
}


@dataclass(frozen=True)
class NodeStatus:
    """state: finished, running, waiting; failed (see `detail`), stopped (goes on when submitted or run again), lost
    (its job is gone, and nobody says why)."""

    name: str
    state: State
    detail: str = ""
    job: str | None = None
    log: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-able values."""
        return {**asdict(self), "log": str(self.log) if self.log else None}


def status_of(run: Path) -> tuple[list[NodeStatus], str]:
    """A run's stages that were started or queued, in order; and why SLURM could not be asked ("" where it could)."""
    journal = Journal.read(run)
    last = journal.last()
    seen, trouble = _ask(last)
    folders = [path for path in run.iterdir() if "@" not in path.name and (path / "manifest.json").exists()]
    manifests = {path.name: manifest for path in folders if (manifest := Manifest.read(path)) is not None}
    began = {name: manifest.started for name, manifest in manifests.items()}
    order = {name: i for i, name in enumerate(last)}
    names = sorted({*manifests, *last}, key=lambda name: (began.get(name, "~"), order.get(name, -1), name))
    return [_one(name, run, manifests.get(name), last.get(name), seen, trouble) for name in names], trouble


def _ask(last: Mapping[str, tuple[Entry, str]]) -> tuple[dict[str, Seen], str]:
    numbers = [entry.number(index) for entry, index in last.values()]
    if not numbers:
        return {}, ""
    try:
        seen = seen_jobs()
    except ClusterError as error:
        return {}, str(error)
    return accounted([n for n in numbers if n not in seen]) | {n: seen[n] for n in numbers if n in seen}, ""


def _one(
    name: str,
    run: Path,
    manifest: Manifest | None,
    queued: tuple[Entry, str] | None,
    seen: Mapping[str, Seen],
    trouble: str,
) -> NodeStatus:
    number = queued[0].number(queued[1]) if queued else None
    log = run / FOLDER / "logs" / f"{name}.log"
    where = log if log.exists() else None
    if manifest is not None and manifest.status == "finished":
        seconds = f"{manifest.seconds:.1f} s" if manifest.seconds is not None else ""
        again = f", {manifest.attempts} attempts" if manifest.attempts > 1 else ""
        return NodeStatus(name, "finished", f"{seconds}{again}", number, where)
    job = seen.get(number) if number else None
    if job is not None and not job.over:
        return NodeStatus(name, *_alive(job, manifest), number, where)
    holder = working(run / name) if manifest is not None else None
    if holder is not None:
        return NodeStatus(name, "running", holder, number, where)
    why = log.with_suffix(".why")
    if why.exists():
        said = why.read_text(encoding="utf-8", errors="replace").strip()
        return NodeStatus(name, "stopped" if job is not None and job.code == STOPPED else "failed", said, number, where)
    if job is not None:
        return NodeStatus(name, *_over(job), number, where)
    if manifest is not None:
        return NodeStatus(name, "stopped", "run or submit again to go on", number, where)
    if trouble:
        return NodeStatus(name, "lost", "queued, and SLURM could not be asked", number, where)
    return NodeStatus(name, "lost", "its job is gone from SLURM and left no word; submit again", number, where)


def _alive(job: Seen, manifest: Manifest | None) -> tuple[State, str]:
    attempt = f", attempt {job.restarts + 1}" if job.restarts else ""
    if job.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"):
        begun = ", begun" if manifest is not None else ""
        return "waiting", f"{REASONS.get(job.reason, job.reason)}{begun}{attempt}"
    return "running", f"on {job.where}, {job.elapsed}{attempt}" if job.where else job.state.lower()


def _over(job: Seen) -> tuple[State, str]:
    """What a job's end means that left no word of its own."""
    if job.code == NOT_SHARED:
        return "failed", (
            f"{job.where or 'its node'} does not see the run's folder: storage is not shared. Put runs on a file "
            "system that all nodes mount (--runs), and submit again"
        )
    if job.code == ENVIRONMENT:
        return "failed", f"{job.where or 'its node'} has no posttrain: set slurm.venv, slurm.python or slurm.modules"
    if job.state == "CANCELLED" and not job.where:
        return "failed", "never started: a stage that it reads failed, or it was cancelled. Submit again"
    if job.state == "TIMEOUT":
        return "stopped", "killed by its time limit before it could stop (slurm.signal). Submit again to go on"
    if job.state == "CANCELLED" or job.code == STOPPED:
        return "stopped", "cancelled. Submit again to go on"
    words = {
        "OUT_OF_MEMORY": "out of memory: ask for more (slurm.memory)",
        "NODE_FAIL": "its node failed; submit again",
    }
    return "failed", words.get(job.state, f"{job.state.lower()}, exit code {job.code}; its log tells more")


def describe(statuses: list[NodeStatus], run: Path, trouble: str) -> str:
    """A line per stage, for people."""
    rows = [(one.name, one.state, f"job {one.job}" if one.job else "", one.detail) for one in statuses]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [
        "  ".join([*(cell.ljust(w) for cell, w in zip(row[:3], widths, strict=True)), row[3]]).rstrip() for row in rows
    ]
    failed = [f"log of {one.name}: {one.log}" for one in statuses if one.state == "failed" and one.log]
    return "\n".join([str(run), *lines, *failed, *([f"SLURM was not asked: {trouble}"] if trouble else [])])
