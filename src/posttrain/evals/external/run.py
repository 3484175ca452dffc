"""Runs the suites' jobs, one process per free device, and makes entries of scores.json of what they wrote.

A finished job is kept in the stage's state folder: an interrupted evaluation repeats only the tasks that had not ended.
"""

from __future__ import annotations

import hashlib
import json
import queue
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from posttrain.benchmarks import slug
from posttrain.errors import EngineError, RecipeError
from posttrain.evals.external import lighteval, lm_eval
from posttrain.evals.external.config import FILES, SuiteConfig
from posttrain.evals.external.devices import devices
from posttrain.evals.external.environment import program, variables
from posttrain.evals.external.job import Job, Outcome, Scored
from posttrain.evals.external.server import served_model
from posttrain.evals.metrics import measure
from posttrain.models.base import is_adapter
from posttrain.records import Sample
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, fingerprint, write_json

ADAPTERS = {"lm_eval": lm_eval, "lighteval": lighteval}
# Options that decide no score by themselves, or (the user's task files) stand in the digest of what was asked.
ELSEWHERE = ("batch_size", "max_batch_size", "model_args", "use_cache", *FILES)
SHOWN = 15  # lines of a failed suite's output that the error quotes


def run_suites(
    suites: Sequence[SuiteConfig], models: Sequence[Checkpoint], digests: Sequence[str], dtype: str, work: Workspace
) -> tuple[list[dict[str, Any]], list[tuple[str, Sequence[Sample]]], list[dict[str, Any]]]:
    """(entries, (folder, samples) of each, measures) of every task on every model.

    digests: of the models' weights, in their order. MissingExtraError without the suite's environment; EngineError,
    with the end of its output, for a task that failed: the others are run first and kept.
    """
    jobs = _jobs(suites, models, dtype)
    keys = dict(zip((m.label for m in models), digests, strict=True))
    outcomes = _all(jobs, [_key(job, keys[job.model.label]) for job in jobs], work)
    entries: list[dict[str, Any]] = []
    answers: list[tuple[str, Sequence[Sample]]] = []
    measures: list[dict[str, Any]] = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        for scored in outcome.scored:
            entry = _entry(job, outcome, scored, keys[job.model.label])
            entries.append(entry)
            answers.append((entry["folder"], scored.samples))
        measures += [
            {"model": job.model.label, "benchmark": job.name, "metric": metric, "value": value}
            for metric, value in outcome.measures.items()
        ]
    return entries, answers, measures


def _jobs(suites: Sequence[SuiteConfig], models: Sequence[Checkpoint], dtype: str) -> list[Job]:
    jobs: list[Job] = []
    for suite in suites:
        program(suite.suite)  # before anything is spent
        served = None
        if suite.server is not None:
            if len(models) > 1:
                raise RecipeError(
                    f"suites: a server answers as one model, and this evaluation has {len(models)}: "
                    f"{', '.join(m.label for m in models)}. Give each server's model an evaluation of its own."
                )
            served = served_model(suite.server)
        else:
            _refuse_adapters(models)
        jobs += [Job(suite, task, model, dtype, served) for model in models for task in suite.tasks]
    names = [(job.model.label, job.name) for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RecipeError(f"suites: {twice[0][1]} is asked for twice. Name a task once, or make two evaluations.")
    return jobs


def _refuse_adapters(models: Sequence[Checkpoint]) -> None:
    for model in models:
        if is_adapter(model.model_dir):
            raise RecipeError(
                f"suites: {model.label} is an adapter, and other suites load whole models. Train it with "
                "lora.merge: true, or serve it and name the server."
            )


def _key(job: Job, weights: str) -> str:
    files = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in job.suite.files().items()}
    asked = job.suite.model_dump(mode="json", exclude={"tasks"})
    return fingerprint({"suite": asked, "task": job.task, "weights": weights, "dtype": job.dtype, "files": files})


def _all(jobs: Sequence[Job], keys: Sequence[str], work: Workspace) -> list[Outcome]:
    """The jobs' outcomes, in their order: each free device takes the next job."""
    free: queue.Queue[tuple[str, str | None]] = queue.Queue()
    for device in devices(work.device):
        free.put(device)
    running: set[subprocess.Popen[bytes]] = set()
    with ThreadPoolExecutor(free.qsize()) as threads, work.progress(len(jobs), "suites", "tasks") as bar:

        def one(job: Job, key: str) -> Path | EngineError:
            device = free.get()
            try:
                return _made(job, key, work.state / "suites" / slug(job.model.label) / slug(job.name), device, running)
            except EngineError as error:
                return error
            finally:
                free.put(device)
                bar.update(1)

        try:
            ended = list(threads.map(one, jobs, keys))
        except BaseException:
            for process in list(running):
                process.kill()
            raise
    failed = [error for error in ended if isinstance(error, EngineError)]
    if failed:
        raise failed[0]
    return [ADAPTERS[job.suite.suite].read(Path(str(out)), job) for job, out in zip(jobs, ended, strict=True)]


def _made(
    job: Job, key: str, folder: Path, device: tuple[str, str | None], running: set[subprocess.Popen[bytes]]
) -> Path:
    """The folder that the job's suite wrote, of an earlier attempt where that ended well."""
    done = folder / "done.json"
    if done.exists():
        kept = json.loads(done.read_text())
        if kept["key"] == key:
            return folder / str(kept["out"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # A new name each time: a suite whose parent was killed may still be writing into the old one.
    out = Path(tempfile.mkdtemp(prefix="out-", dir=folder))
    kind, visible = device
    words = ADAPTERS[job.suite.suite].command(job, out, kind)
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(words, env=variables(visible), stdout=output, stderr=subprocess.STDOUT)
        running.add(process)
        try:
            code = process.wait()
        finally:
            running.discard(process)
    if code != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN:]
        raise EngineError(
            f"{job.name} on {job.model.label} failed with exit code {code}. Its last words:\n  "
            + "\n  ".join(tail)
            + f"\nCorrect what they name and run again: finished tasks are kept. The command: {' '.join(words)}"
        )
    write_json(done, {"key": key, "out": out.name})
    return out


def _entry(job: Job, outcome: Outcome, scored: Scored, weights: str) -> dict[str, Any]:
    """One entry of scores.json, as the evaluation's own; what a suite doesn't tell is None."""
    suite = job.suite
    benchmark = f"{job.name}:{scored.metric}"
    settings = {
        "benchmark": benchmark,
        "suite": suite.suite,
        "suite_version": outcome.version,
        "shots": suite.shots,
        "limit": suite.limit,
        "args": {k: v for k, v in suite.args.items() if k.replace("-", "_") not in ELSEWHERE},
        **outcome.settings,
        "problems": hashlib.sha256("\n".join(sorted(scored.digests)).encode()).hexdigest(),
        "n_problems": len(scored.samples),
        "grading": job.name.partition("/")[0],
    }
    return {
        "model": job.model.label,
        "benchmark": benchmark,
        "fingerprint": fingerprint(settings),
        **measure(scored.samples),
        "truncation_rate": None,
        "format_rate": None,
        "weights": weights,
        "folder": f"{slug(job.model.label)}/{slug(benchmark)}",
        "engine": {"name": suite.server or suite.suite, "dtype": job.dtype},
        "settings": settings,
    }
