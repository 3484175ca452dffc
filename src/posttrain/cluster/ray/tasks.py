"""What runs on a node: a whole stage, or some parts of one.

Every task works in a folder that only this attempt has, and what it makes appears by one rename or one small object, so
a task may be started twice, or die at any moment, and nothing is there twice or half.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from posttrain.cluster.storage import Storage
from posttrain.errors import ClusterError, PosttrainError
from posttrain.pipeline.jobs import order_of
from posttrain.pipeline.make import make
from posttrain.pipeline.parts import SHARDS, make_parts, take_over

Job = dict[str, Any]
LOG_BYTES = 50_000  # of a log that travel back; Ray keeps answers below 100 kB with whoever asked
MADE = "made.json"  # the object that makes an attempt the result


def make_stage(job: Job) -> dict[str, Any]:
    """Makes an artifact: in the run's folder where that is shared, else here and then into the storage."""
    with _attempt(job) as (scratch, answer):
        if job["storage"] is None:
            made = make(order_of(job), device=job["device"])
        else:
            storage = Storage(**job["storage"])
            folder = scratch / Path(job["directory"]).name
            made = make(order_of({**_fetched(job, storage), "directory": str(folder)}), device=job["device"])
            attempt = f"{job['prefix']}/attempts/{uuid.uuid4().hex}"
            storage.put_folder(attempt, folder)
            storage.put_bytes(f"{job['prefix']}/{MADE}", json.dumps({"attempt": attempt}).encode())
        answer |= {"outcome": made.outcome, "summary": dict(made.summary)}
    return answer


def make_shard(job: Job) -> dict[str, Any]:
    """Makes the parts `names` of a stage; each is left where the stage looks for it as soon as it is whole."""
    with _attempt(job) as (scratch, answer):
        storage = Storage(**job["storage"]) if job["storage"] is not None else None
        order = order_of(_fetched(job, storage) if storage is not None else job)
        for name, made in make_parts(order, job["names"], scratch, device=job["device"]):
            if storage is None:
                take_over(made, Path(job["state"]) / name)
            else:
                storage.put_file(f"{job['prefix']}/{name}", made)
                made.unlink()
        answer["parts"] = len(job["names"])
    return answer


@contextlib.contextmanager
def _attempt(job: Job) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder of this attempt's own, and the answer to fill. An error for the user becomes the answer; a bug is raised
    on the driver's side by Ray. What is printed goes to the log."""
    began = time.monotonic()
    answer: dict[str, Any] = {"node": socket.gethostname()}
    if job["cwd"] is not None and Path(job["cwd"]).is_dir():
        os.chdir(job["cwd"])  # relative paths of a recipe mean the same where the file system is shared
    shards = Path(job["state"]) / SHARDS if "state" in job else None
    if shards is not None:
        shards.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="attempt-", dir=shards))
    log = Path(job["log"]) if job["log"] is not None else scratch / "task.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            log.open("a", encoding="utf-8") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            try:
                yield scratch, answer
            except PosttrainError as error:
                print(f"{type(error).__name__}: {error}")
                answer |= {"error": type(error).__name__, "message": str(error)}
        if job["log"] is None:
            answer["log"] = log.read_text(encoding="utf-8", errors="replace")[-LOG_BYTES:]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    answer["seconds"] = time.monotonic() - began


def _fetched(job: Job, storage: Storage) -> Job:
    """The job with its inputs on this machine. What stood in the storage is kept beside other tasks' temporaries, by
    content, so that the next task finds it."""
    cache = _cache()

    def here(given: Mapping[str, Any]) -> dict[str, Any]:
        if "stored" not in given:
            return dict(given)
        folder = cache / str(given["stored"]).rpartition("/")[2]
        if not folder.exists():
            beside = cache / f".{folder.name}.{uuid.uuid4().hex}.tmp"
            storage.get_folder(given["stored"], beside)
            try:
                os.rename(beside, folder)
            except OSError:
                shutil.rmtree(beside)  # another task of this node was faster
                if not folder.exists():
                    raise
        return {**given, "path": str(folder)}

    inputs = {
        name: [here(one) for one in given] if isinstance(given, list) else here(given)
        for name, given in job["inputs"].items()
    }
    return {**job, "inputs": inputs}


def _cache() -> Path:
    """A folder of ours alone: in a shared temporary folder somebody else might have made it before us."""
    folder = Path(tempfile.gettempdir()) / f"posttrain-inputs-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if folder.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o077:
        raise ClusterError(f"{folder} on {socket.gethostname()} is not this user's alone. Remove it, or set TMPDIR.")
    return folder
