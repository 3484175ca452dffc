"""Starts the ranks of a `launch:` block: this process is rank 0, the others are children that end when it does.

Rank 0 keeps the stage's workspace, so that metrics, progress and the summary are those of a stage in one process. The
others work in a scratch folder below `.work`, where nothing they write is part of the artifact.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain.config import parse
from posttrain.errors import PosttrainError, RecipeError, TrainingError
from posttrain.stage import Workspace
from posttrain.store import Artifact, write_json
from posttrain.store.artifacts import packed, unpacked
from posttrain.store.environment import hardware
from posttrain.training.config import LaunchConfig, TrainingConfig

if TYPE_CHECKING:
    from posttrain.training.distributed import Ranks

GRACE = 20.0  # seconds that ranks have to end by themselves when one of them has failed
TAIL = 15  # lines of a failed rank's log that are shown
JOB = "launch.json"
ATTEMPT = "POSTTRAIN_ATTEMPT"  # names this attempt, where whoever starts all machines can
JOINING = 600.0  # seconds that the first machine waits for the others


@contextlib.contextmanager
def launched(
    config: TrainingConfig, target: str, inputs: Mapping[str, Artifact | None], work: Workspace
) -> Iterator[Ranks]:
    """Yields this process's `Ranks` for the block; with `launch.processes` × `nodes` > 1 the others run beside it.

    target: "module:function", called in every other rank as function(config, **inputs, work=…, ranks=…): the same
    call that the block makes. With several nodes, `python -m posttrain.training.rank FOLDER/.work/launch.json NODE`
    must be started on each of the others, which see the same folder (`posttrain launch` does). RecipeError for more
    processes than GPUs; MissingExtraError without Accelerate or DeepSpeed; TrainingError, with the end of its log,
    when a rank dies, and for a machine that does not come.
    """
    from posttrain.training.distributed import Ranks, check_installed

    if config.launch.world == 1:
        yield Ranks()
        return
    check_installed(config.launch)
    device = _device(config, work.device)
    address, port = _address(config)
    job = {
        "target": target,
        "schema": f"{type(config).__module__}:{type(config).__qualname__}",
        "config": config.model_dump(mode="json", exclude_unset=True),  # what is set and what is default are told apart
        "inputs": {name: None if given is None else packed(given) for name, given in inputs.items()},
        "directory": str(work.dir.resolve()),
        "seed": work.seed,
        "device": device,
        "address": address,
        "port": port,
        "attempt": os.environ.get(ATTEMPT) or secrets.token_hex(8),
    }
    for rank in range(config.launch.world):
        (work.state / f"rank-{rank}.ready").unlink(missing_ok=True)
    write_json(work.state / JOB, job)
    if config.launch.nodes > 1:
        work.note(f"start on every other node k: python -m posttrain.training.rank {work.state / JOB} k")
    children = start_ranks(job, work.state, range(1, config.launch.processes), 0)
    try:
        with _supervised(children):
            _wait_until_ready(children, work.state, config, str(job["attempt"]))
            with joined(job, config, rank=0, local=0) as ranks:
                yield ranks
                ranks.wait()
    finally:
        # What other machines learn the end from: this process may live on, and its connections to them with it.
        (work.state / JOB).unlink(missing_ok=True)


def start_ranks(job: Mapping[str, Any], state: Path, local: range, node: int) -> dict[int, subprocess.Popen[bytes]]:
    """The processes of the ranks `local` of machine `node`, each with a log in `.work`."""
    processes = int(job["config"]["launch"].get("processes", 1))
    started = {}
    for index in local:
        rank = node * processes + index
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, hardware()["cores"] // processes)))
        with (state / f"rank-{rank}.log").open("wb") as log:
            # Its standard input stays open as long as this process lives, and no longer.
            started[rank] = subprocess.Popen(
                [sys.executable, "-m", "posttrain.training.rank", str(state / JOB), str(node), str(index)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
    return started


@contextlib.contextmanager
def joined(job: Mapping[str, Any], config: TrainingConfig, *, rank: int, local: int) -> Iterator[Ranks]:
    """This process as one of the ranks, with the environment and Accelerate's state put back in the end."""
    from posttrain.training.distributed import Ranks, check_installed, leave, make_accelerator, meet

    launch = config.launch
    check_installed(launch)
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    told = {
        "RANK": rank,
        "LOCAL_RANK": local,
        "WORLD_SIZE": launch.world,
        "LOCAL_WORLD_SIZE": launch.processes,
        "MASTER_ADDR": job["address"],
        "MASTER_PORT": job["port"],
    }
    if launch.strategy in ("zero2", "zero3"):
        told["ACCELERATE_USE_DEEPSPEED"] = "true"
        if job["device"] == "cpu":
            told["DS_ACCELERATOR"] = "cpu"
    before = {name: os.environ.get(name) for name in told}
    threads = torch.get_num_threads()
    os.environ.update({name: str(value) for name, value in told.items()})
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, hardware()["cores"] // launch.processes))
    try:
        meet(job, rank, launch.world)
        yield Ranks(launch, make_accelerator(config, job["device"]))
    finally:
        leave()
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
        PartialState._reset_state()
        torch.set_num_threads(threads)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _supervised(children: Mapping[int, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Ends the children with the block. A child that dies ends the block: with an error where it can be raised, and by
    ending the process where rank 0 hangs in a collective that nobody will ever answer."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            dead = [rank for rank, child in children.items() if child.poll() not in (None, 0)]
            if dead and not over.wait(GRACE):
                print(_obituary(dead[0], children[dead[0]]), file=sys.stderr, flush=True)
                os._exit(2)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
        for rank, child in children.items():
            with contextlib.suppress(subprocess.TimeoutExpired):  # its work is done; it is only slow to leave
                child.wait(timeout=GRACE)
            if child.returncode not in (0, None):
                raise TrainingError(_obituary(rank, child))
    except RuntimeError as error:
        if isinstance(error, PosttrainError):
            raise
        # A peer that is gone closes its connection, and the collective fails here before the child is reaped.
        failed = _first_dead(children)
        if failed is None:
            raise
        raise TrainingError(_obituary(failed, children[failed])) from error
    finally:
        over.set()
        for child in children.values():
            end_child(child)


def _wait_until_ready(
    children: Mapping[int, subprocess.Popen[bytes]], state: Path, config: TrainingConfig, attempt: str
) -> None:
    """Until every rank has read its job: one that can't, or a machine that never comes, leaves rank 0 waiting."""
    deadline = time.monotonic() + JOINING
    missing = set(range(1, config.launch.world))
    while missing := {rank for rank in missing if _said(state / f"rank-{rank}.ready") != attempt}:
        for rank, child in children.items():
            if child.poll() is not None:
                raise TrainingError(_obituary(rank, child))
        if time.monotonic() > deadline:
            machines = ", ".join(str(k) for k in sorted({rank // config.launch.processes for rank in missing}))
            raise TrainingError(
                f"machine {machines} of launch.nodes {config.launch.nodes} did not come within {JOINING:.0f} s. "
                f"Start it there, on the same folder: python -m posttrain.training.rank {state / JOB} {machines}."
            )
        time.sleep(0.05)


def _said(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _first_dead(children: Mapping[int, subprocess.Popen[bytes]]) -> int | None:
    deadline = time.monotonic() + 2.0
    while time.monotonic() < deadline:
        for rank, child in children.items():
            if child.poll() not in (None, 0):
                return rank
        time.sleep(0.05)
    return None


def end_child(child: subprocess.Popen[bytes]) -> None:
    """Ends a rank: by its standard input, by a signal, and at last by force."""
    if child.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(5.0)
        except subprocess.TimeoutExpired:
            child.kill()
    child.wait()


def _obituary(rank: int, child: subprocess.Popen[bytes]) -> str:
    log = Path(str(child.args[3]) if isinstance(child.args, list) else "").parent / f"rank-{rank}.log"
    told = log.read_text(errors="replace").splitlines()[-TAIL:] if log.is_file() else []
    end = f"signal {-child.returncode}" if (child.returncode or 0) < 0 else f"exit status {child.returncode}"
    return (
        f"rank {rank} ended with {end}, so training stopped; the last saved state stands, and the same command goes on "
        "from it. Its last words:\n  " + "\n  ".join(told or ["(none)"])
    )


def _device(config: TrainingConfig, wanted: str) -> str:
    from posttrain.models import pick_device

    device = pick_device(wanted).partition(":")[0]
    if device == "cuda":
        import torch

        if config.launch.processes > torch.cuda.device_count():
            raise RecipeError(
                f"launch.processes is {config.launch.processes} and this machine shows {torch.cuda.device_count()} "
                "GPUs. One process needs one GPU: lower it."
            )
    return device


def rendezvous(launch: LaunchConfig) -> tuple[str, int]:
    """Address and port of the first machine, on that machine: from the block, from torchrun's variables, or SLURM's.

    RecipeError where none of them says.
    """
    said = os.environ
    job = int(said.get("SLURM_JOB_ID", "0"))
    address = launch.address or said.get("MASTER_ADDR") or (said.get("SLURMD_NODENAME") if job else None)
    if not address:
        raise RecipeError(
            f"launch.nodes is {launch.nodes}, and neither launch.address nor MASTER_ADDR says where others find this "
            "machine. Set one to its name or address (launch.port or MASTER_PORT too, where 29500 is taken)."
        )
    return address, launch.port or int(said.get("MASTER_PORT", 0)) or (20000 + job % 20000 if job else 29500)


def _address(config: TrainingConfig) -> tuple[str, int]:
    if config.launch.nodes > 1:
        return rendezvous(config.launch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return "127.0.0.1", int(free.getsockname()[1])


def run_rank(job_file: Path, node: int, local: int) -> None:
    """What every rank but 0 does."""
    job = json.loads(job_file.read_text(encoding="utf-8"))
    module, _, name = job["schema"].partition(":")
    config = parse(getattr(importlib.import_module(module), name), job["config"], "launch")
    assert isinstance(config, TrainingConfig)
    rank = node * config.launch.processes + local
    scratch = job_file.parent / f"rank-{rank}"
    shutil.rmtree(scratch, ignore_errors=True)
    device = f"cuda:{local}" if job["device"] == "cuda" else job["device"]
    work = Workspace(scratch, seed=job["seed"], device=device, quiet=True)
    work.state = job_file.parent  # states of an interrupted attempt are read by all
    inputs = {key: None if given is None else unpacked(given) for key, given in job["inputs"].items()}
    module, _, name = job["target"].partition(":")
    function: Callable[..., None] = getattr(importlib.import_module(module), name)
    (job_file.parent / f"rank-{rank}.ready").write_text(job["attempt"], encoding="utf-8")
    with joined(job, config, rank=rank, local=local) as ranks:
        function(config, **inputs, work=work, ranks=ranks)
        ranks.wait()
