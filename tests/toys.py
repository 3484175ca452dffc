"""Small torch-free stages for tests of store, pipeline and command line: ``stage: "tests.toys:numbers"``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator, Iterable, Mapping
from typing import Any

from pydantic import Field

from posttrain.config import Config
from posttrain.errors import TrainingError
from posttrain.forecast import Expected
from posttrain.records import Problem, problems_to_table
from posttrain.stage import Parts, Workspace
from posttrain.store import Checkpoint, Problems, Report, Samples, Scores, write_json


class NumbersConfig(Config):
    n: int = 3
    word: str = "x"
    source: str | None = Field(None, json_schema_extra={"file": True})
    log_every: int = Field(1, json_schema_extra={"fingerprint": False})


class TeacherConfig(Config):
    teacher: str = "reference"


class Optimizer(Config):
    lr: float = 1e-3


class StudentConfig(Config):
    steps: int = Field(4, ge=1)
    optimizer: Optimizer = Optimizer()
    seconds: float = Field(0.0, json_schema_extra={"fingerprint": False})  # per step
    fail_at: int | None = Field(None, json_schema_extra={"fingerprint": False})


class ScoresConfig(Config):
    benchmarks: tuple[str, ...] = ()


class ReportConfig(Config):
    title: str = "report"


def numbers(config: NumbersConfig, work: Workspace) -> Problems:
    """Problems, as many as asked for."""
    problems = [
        Problem(id=f"p{i}", question=f"{config.word} {work.derive('n', i) % 97}?", answer="1") for i in range(config.n)
    ]
    work.write_table("problems.parquet", problems_to_table(problems))
    work.summarise(n=config.n)
    return Problems(work.dir)


def told(config: TeacherConfig, problems: Problems, work: Workspace) -> Samples:
    """What a teacher said."""
    work.write_json("said.json", [config.teacher, [p.question for p in problems.read()]])
    return Samples(work.dir)


def student(
    config: StudentConfig,
    work: Workspace,
    model: Checkpoint | None = None,
    traces: Samples | None = None,
    problems: Problems | None = None,
) -> Checkpoint:
    """A slow walk that resumes: its state after step k depends on every step before it."""
    state_file = work.state / "state.json"
    state: dict[str, Any] = json.loads(state_file.read_text()) if state_file.exists() else {"step": 0, "value": 1}
    work.metrics.rewind(state["step"])
    for step in range(state["step"] + 1, config.steps + 1):
        if config.fail_at == step:
            raise TrainingError(f"the loss is NaN at step {step}. Lower the learning rate.")
        state = {"step": step, "value": (state["value"] * 31 + work.derive("noise", step)) % (2**61 - 1)}
        time.sleep(config.seconds)
        work.metrics.log(step, value=state["value"])
        if step % 10 == 0:
            (work.dir / "checkpoints").mkdir(exist_ok=True)
            write_json(work.dir / "checkpoints" / f"step-{step:06d}.json", state)
        write_json(state_file, state)  # last: a step counts once all that it writes stands
    read = [a.path.name for a in (model, traces, problems) if a is not None]
    work.write_json("config.json", {"value": state["value"], "lr": config.optimizer.lr, "read": read})
    work.summarise(steps=config.steps, value=state["value"] / 2**61)
    return Checkpoint(work.dir)


def student_forecast(config: StudentConfig, inputs: dict[str, Expected | list[Expected]]) -> dict[str, float | None]:
    return {"seconds": config.steps * 2.0, "memory_bytes": 3e9, "disk_bytes": None, "dollars": 0.0}


student.forecast = student_forecast  # type: ignore[attr-defined]


def scores(config: ScoresConfig, models: list[Checkpoint], work: Workspace, problems: Problems | None = None) -> Scores:
    """Whom it saw, in order."""
    work.write_json("scores.json", {"models": [m.label for m in models], "benchmarks": list(config.benchmarks)})
    return Scores(work.dir)


def report(config: ReportConfig, of: list[Scores], work: Workspace) -> Report:
    """A page."""
    (work.dir / "report.html").write_text(f"<h1>{config.title}</h1>{[s.read() for s in of]}")
    return Report(work.dir)


def where(config: TeacherConfig, work: Workspace, after: Problems | None = None) -> Problems:
    """Notes the device it was given, and takes long enough to be seen beside another."""
    started = time.time()
    time.sleep(3 if config.teacher == "slow" else 0.3)
    work.write_json(
        "where.json",
        {
            "device": work.device,
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "pid": os.getpid(),
            "started": started,
            "ended": time.time(),
            "after": after.path.name if after else None,
        },
    )
    if config.teacher == "fails":
        raise TrainingError("the loss is NaN. Lower the learning rate.")
    return Problems(work.dir)


class PartedConfig(Config):
    n: int = 6
    gate: str | None = Field(
        None, json_schema_extra={"fingerprint": False}
    )  # parts from the third on wait for this file
    breaks: int | None = Field(None, json_schema_extra={"fingerprint": False})  # this part can't be made
    journal: str | None = Field(None, json_schema_extra={"fingerprint": False})  # who made which part, a line each


def _part_names(config: PartedConfig, inputs: Mapping[str, Any]) -> list[str]:
    return [f"parts/{k}.json" for k in range(config.n)]


def _make_part(config: PartedConfig, work: Workspace, name: str) -> None:
    number = int(name.removeprefix("parts/").removesuffix(".json"))
    print(f"making {number}", flush=True)
    if number == config.breaks:
        raise TrainingError("part has a hole. Mend it.")
    while config.gate is not None and number >= 2 and not os.path.exists(config.gate):
        time.sleep(0.02)
    if (work.state / name).exists():
        return  # whole, by a process that was ended before it could say so
    write_json(work.state / name, {"number": number, "noise": work.derive("noise", number)})
    if config.journal is not None:
        with open(config.journal, "a") as file:
            file.write(f"{number} {os.getpid()}\n")


def _make_parts(
    config: PartedConfig, inputs: Mapping[str, Any], work: Workspace, names: Iterable[str]
) -> Generator[str, None, None]:
    for name in names:
        _make_part(config, work, name)
        yield name


def parted(config: PartedConfig, work: Workspace) -> Problems:
    """A stage whose work can be parted: the parts in one file."""
    names = _part_names(config, {})
    for name in names:
        if not (work.state / name).exists():
            _make_part(config, work, name)
    work.write_json("all.json", [json.loads((work.state / name).read_text()) for name in names])
    return Problems(work.dir)


parted.parts = Parts(_part_names, _make_parts)  # type: ignore[attr-defined]


def _die(
    config: PartedConfig, inputs: Mapping[str, Any], work: Workspace, names: Iterable[str]
) -> Generator[str, None, None]:
    for name in names:
        if name == "parts/0.json":
            print("out of memory, says the driver", file=sys.stderr, flush=True)
            os._exit(9)
        time.sleep(60)
        yield name


def dying(config: PartedConfig, work: Workspace) -> Problems:
    """Dies in its first part."""
    return Problems(work.dir)


dying.parts = Parts(_part_names, _die)  # type: ignore[attr-defined]


def fills_the_disk(config: TeacherConfig, work: Workspace) -> Problems:
    """Writes with plain `open`, as a library that knows nothing of us does; the limit is that of a full disk."""
    import resource

    work.write_json("small.json", [1])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))
    try:
        (work.dir / "big.bin").write_bytes(b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    return Problems(work.dir)


def crashes(config: TeacherConfig, work: Workspace) -> Problems:
    """Has a bug."""
    return Problems(work.dir / str(1 // len(config.teacher[:0])))


def no_stage(config: int) -> int:
    return config
