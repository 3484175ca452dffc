"""SLURM's own commands, and what they say when they refuse."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posttrain.cluster.slurm.jobs import sbatch_words
from posttrain.errors import ClusterError, did_you_mean

PATIENCE = 60.0  # seconds for one command: a controller under load takes its time
UNREACHABLE = ("Unable to contact slurm controller", "Connection refused", "Zero Bytes were transmitted", "timed out")
# What squeue is asked for, with the width of each column: its words may hold spaces.
COLUMNS = {
    "JobArrayID": 40,
    "State": 20,
    "Reason": 60,
    "exit_code": 12,
    "RestartCnt": 12,
    "TimeUsed": 20,
    "NodeList": 60,
}
OVER = (
    "COMPLETED",
    "FAILED",
    "TIMEOUT",
    "CANCELLED",
    "NODE_FAIL",
    "BOOT_FAIL",
    "DEADLINE",
    "OUT_OF_MEMORY",
    "PREEMPTED",
)


@dataclass(frozen=True)
class Seen:
    """A job as SLURM tells of it. number: 12 or 12_3. code: its exit code, None while it runs."""

    number: str
    state: str
    reason: str = ""
    code: int | None = None
    restarts: int = 0
    elapsed: str = ""
    where: str = ""

    @property
    def over(self) -> bool:
        """Whether it will do no more."""
        return self.state in OVER


def slurm(*words: str) -> str:
    """What a command prints. ClusterError where it is not here, the controller does not answer, or it refuses."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except FileNotFoundError:
        raise ClusterError(
            f"there is no {words[0]} on this machine, so it is no login node of a SLURM cluster. Submit from one, or "
            "look at the files with --dry-run."
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"{words[0]} has not answered for {PATIENCE:.0f} s. Ask `scontrol ping` how the controller is, and try "
            "again."
        ) from None
    if done.returncode != 0:
        said = "; ".join(line.partition("error: ")[2] or line for line in done.stderr.splitlines() if line.strip())
        if any(sign in said for sign in UNREACHABLE):
            raise ClusterError(
                f"SLURM's controller can't be reached ({said}). Ask `scontrol ping` how it is, and try again."
            )
        raise ClusterError(f"{words[0]} refuses: {said or f'exit status {done.returncode}'}.")
    return done.stdout


def partitions() -> dict[str, bool]:
    """The partitions of the cluster, and whether each is the default one."""
    names = [line.strip() for line in slurm("sinfo", "--noheader", "--format=%P").splitlines() if line.strip()]
    return {name.rstrip("*"): name.endswith("*") for name in names}


def accounts() -> list[str]:
    """The accounts that this user may charge; empty where the cluster keeps no accounts or does not say."""
    try:
        told = slurm(
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "associations",
            f"user={os.environ.get('USER') or os.getuid()}",
            "format=account",
        )
    except ClusterError:
        return []
    return sorted({line.strip() for line in told.splitlines() if line.strip()})


def check_partition(name: str | None, known: dict[str, bool]) -> None:
    """ClusterError for a partition that is not there, or none where the cluster has no default."""
    listed = ", ".join(known) or "none"
    if name is None:
        if not any(known.values()):
            raise ClusterError(
                f"no partition was named, and this cluster has no default one. It has: {listed}. Name one: "
                "--partition, or slurm: {partition: …}."
            )
        return
    for one in name.split(","):
        if one not in known:
            raise ClusterError(
                f"this cluster has no partition {one!r}.{did_you_mean(one, known)} It has: {listed}. "
                "`sinfo` tells more."
            )


def would_take(script: Path) -> None:
    """ClusterError, with sbatch's words and a way on, where it would refuse this file; nothing is queued."""
    try:
        slurm("sbatch", "--test-only", str(script))
    except ClusterError as error:
        raise ClusterError(f"{script.name}: {error}{remedy(str(error))}") from None


def remedy(said: str) -> str:
    """What to change when sbatch has said this; "" where its words are all there is."""
    lower = said.lower()
    if "account" in lower:
        mine = accounts()
        which = f" Yours are: {', '.join(mine)}." if mine else " `sacctmgr show associations user=$USER` lists yours."
        return f"{which} Name one: --account, or slurm: {{account: …}}."
    if "partition" in lower:
        return f" Partitions here: {', '.join(partitions())}. Name one: --partition, or slurm: {{partition: …}}."
    if "time limit" in lower:
        return " `sinfo --format='%P %l'` tells the limits. Set a shorter one: --time, or slurm: {time: …}."
    if "node configuration" in lower or "gres" in lower or "memory" in lower or "cpu" in lower:
        return " `sinfo --format='%P %c %m %G'` tells what nodes have. Ask for less: --gpus, --cpus, --memory."
    return ""


def enqueue(script: Path, after: str) -> str:
    """Queues a job's file; returns its number."""
    try:
        told = slurm(*sbatch_words(script, after))
    except ClusterError as error:
        raise ClusterError(f"{script.name}: {error}{remedy(str(error))}") from None
    return told.strip().splitlines()[-1].partition(";")[0]


def marked() -> dict[str, str]:
    """By comment: the numbers of this user's jobs that SLURM still knows."""
    lines = slurm("squeue", f"--user={os.getuid()}", "--states=all", "--noheader", "--format=%F|%k").splitlines()
    pairs = (line.strip().partition("|") for line in lines)
    return {mark: number for number, _, mark in pairs if mark}


def seen_jobs() -> dict[str, Seen]:
    """This user's jobs that the controller still knows, by number; the elements of arrays one by one."""
    wanted = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
    told = slurm("squeue", f"--user={os.getuid()}", "--states=all", "--array", "--noheader", f"--Format={wanted}")
    found = {}
    for line in told.splitlines():
        cells, start = [], 0
        for width in COLUMNS.values():
            cells.append(line[start : start + width].strip())
            start += width
        number, state, reason, code, restarts, elapsed, where = cells
        ended = _code(code) if state in OVER else None
        reason = "" if reason == "None" else reason
        found[number] = Seen(number, state, reason, ended, int(restarts or 0), elapsed, where)
    return found


def _code(text: str) -> int | None:
    """An exit code as squeue (a wait status, as 20224 is 79 × 256) or sacct (79:0) writes it."""
    head, colon, _ = text.partition(":")
    if not head.isdigit():
        return None
    return int(head) if colon else int(head) >> 8


def accounted(numbers: Sequence[str]) -> dict[str, Seen]:
    """What the accounting remembers of jobs that the controller has forgotten; nothing where there is no accounting."""
    if not numbers:
        return {}
    try:
        told = slurm(
            "sacct",
            "--noheader",
            "--parsable2",
            "--allocations",
            f"--jobs={','.join(numbers)}",
            "--format=JobID,State,ExitCode,Elapsed,NodeList",
        )
    except ClusterError:
        return {}
    found = {}
    for line in told.splitlines():
        number, state, code, elapsed, where = line.split("|")
        found[number] = Seen(number, state.split()[0], "", _code(code), 0, elapsed, where)
    return found
