"""What a job asks SLURM for: a recipe's `slurm:` block, a profile file for a site, and flags."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from posttrain.config import Config, load_yaml, parse
from posttrain.errors import RecipeError, did_you_mean

WORD = r"^[\w.,:+=@/&|*()\[\]%-]+$"  # what stands in a #SBATCH line: no spaces, no quotes, no #
_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|API_?KEY", re.IGNORECASE)
_ROUND = re.compile(r"-\d+$")


class JobConfig(Config):
    """What one stage's job asks for. A key that is left out is the cluster's own default."""

    partition: str | None = Field(None, pattern=WORD)
    account: str | None = Field(None, pattern=WORD)
    qos: str | None = Field(None, pattern=WORD)
    constraint: str | None = Field(None, pattern=WORD)
    gpus: int | str = 0
    """On each node: 2, or with a type: a100:2."""
    cpus: int | None = Field(None, ge=1)
    """Of each process."""
    memory: str | None = Field(None, pattern=r"^\d+[KMGT]?$")
    """On each node: 32G."""
    time: str | None = None
    """The limit in SLURM's words: "90" (minutes), "4:00:00", "1-12:00:00". Quote it: YAML reads 4:00:00 as a number."""
    signal: int = Field(120, ge=5)
    """Seconds before the limit at which the stage is asked to stop, so that it goes on in the next attempt."""
    requeues: int = Field(50, ge=0)
    """How often a job may come back after its limit."""
    parallel: int | None = Field(None, ge=1)
    """Of the branches of a matrix, how many at once."""
    python: str | None = None
    """The interpreter that has posttrain [default: the one that submits]."""
    venv: str | None = None
    """A virtual environment's folder instead of `python`."""
    modules: tuple[str, ...] = ()
    """`module load` of each."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables that are set in the job. Keys of providers and hubs come from the shell that submits."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the stage."""
    extra: tuple[str, ...] = ()
    """Further options of sbatch, one each: --exclusive."""
    offline: bool = False
    """The nodes have no network: every name of the hub is looked up in the mirror."""
    mirror: str | None = None
    """The mirror's folder [default: $POSTTRAIN_DATA]."""
    storage_seconds: int = Field(30, ge=0)
    """How long a job waits to see what the submitting machine wrote, before it says that storage is not shared."""

    @field_validator("time", mode="before")
    @classmethod
    def _in_words(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError('write it in quotes, as "90" (minutes) or "4:00:00": YAML reads 4:00:00 as a number')
        if isinstance(value, str) and not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", value):
            raise ValueError('write minutes ("90"), hours:minutes:seconds, or days-hours:minutes:seconds')
        return value

    @field_validator("gpus")
    @classmethod
    def _a_count(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value >= 0:
            return value
        if isinstance(value, str) and re.fullmatch(r"[\w.-]+:\d+|\d+", value):
            return value
        raise ValueError("write a number, or type:number as in a100:2")

    @field_validator("environment", mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if not re.fullmatch(r"[A-Za-z_]\w*", str(name)):
                raise ValueError(f"{name!r} is no name of a variable")
            if _SECRET.search(str(name)):
                raise ValueError(
                    f"{name} looks like a secret, and job files are readable. Export it in the shell that submits: "
                    "SLURM hands the environment on"
                )
        return {name: str(inner) for name, inner in value.items()}

    @field_validator("modules", "setup", "extra")
    @classmethod
    def _lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if "\n" in line:
                raise ValueError(f"{line!r} is several lines; write one line each")
        return value

    @field_validator("extra")
    @classmethod
    def _options(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if not line.startswith("-"):
                raise ValueError(f"{line!r} is no option of sbatch; write it as in --exclusive")
        return value

    @model_validator(mode="after")
    def _one_interpreter(self) -> JobConfig:
        if self.python and self.venv:
            raise ValueError("python and venv name two interpreters. Give one of them")
        return self

    @model_validator(mode="after")
    def _time_to_work_in(self) -> JobConfig:
        limit = self.limit_seconds
        if limit is not None and limit < 2 * self.signal:
            raise ValueError(
                f"a stage asked to stop {self.signal} s before a limit of {limit} s spends its attempts on starting. "
                "Raise time, or lower signal to less than half of it"
            )
        return self

    @property
    def limit_seconds(self) -> int | None:
        """`time` in seconds, as SLURM reads it."""
        if self.time is None:
            return None
        days, _, clock = self.time.rpartition("-")
        numbers = [int(number) for number in clock.split(":")]
        if not days and len(numbers) < 3:  # without days, one or two numbers begin with minutes
            numbers.insert(0, 0)
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def gpu_count(self) -> int:
        """GPUs on each node."""
        return self.gpus if isinstance(self.gpus, int) else int(self.gpus.rpartition(":")[2])


class SlurmConfig(JobConfig):
    """The `slurm:` block: what every job asks for, and what single stages ask for instead."""

    stages: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By stage: {rl: {gpus: 4, time: "12:00:00"}}."""

    def of(self, stage: str) -> JobConfig:
        """What the job of `stage` asks for; the name of a repeated stage holds for all its rounds."""
        own = self.model_dump(exclude_unset=True, exclude={"stages"})
        name = stage if stage in self.stages else _ROUND.sub("", stage)
        return parse(JobConfig, laid_over(own, self.stages.get(name, {})), f"slurm.stages.{name}")


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of `above` win; `environment` and `stages` are merged by name."""
    merged = {**below, **above}
    for key in ("environment", "stages"):
        if isinstance(below.get(key), Mapping) and isinstance(above.get(key), Mapping):
            merged[key] = {**below[key], **above[key]}
    return merged


def slurm_config(
    block: Mapping[str, Any], profile: Path | None, flags: Mapping[str, Any], stages: list[str]
) -> SlurmConfig:
    """A profile, the recipe's block over it, and the flags over both. RecipeError for a stage that is not there.

    stages: names of the recipe's stages.
    """
    values = laid_over(load_yaml(profile) if profile is not None else {}, block)
    config = parse(SlurmConfig, laid_over(values, flags), "slurm")
    known = {*stages, *(_ROUND.sub("", name) for name in stages)}
    for name in block.get("stages", {}):
        if name not in known:
            raise RecipeError(f"slurm.stages: there is no stage '{name}'.{did_you_mean(name, known)}")
    for name in stages:
        config.of(name)  # refused here, not when half is queued
    return config
