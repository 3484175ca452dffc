"""The real stages, killed: an undisturbed run of recipes/kill.yaml, then each stage alone until it died often enough.

Used by tests/invariant/test_kill_stages.py (a few kills per stage) and tests/evidence/test_kills.py (many).
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kill import data_digests, ended_within, finish, killpg, survive
from tests.warm import Warm

from posttrain.store import Manifest

RECIPES = Path(__file__).parent / "recipes"
STAGES = ("problems", "traces", "raw", "base", "kept", "tokens", "sft", "sft-tokens", "rl", "scores", "report")


@dataclass
class Landed:
    """Where the kills of one stage hit: `wrote` counts what they left half-written."""

    stage: str
    seed: int
    seconds: float  # of the undisturbed stage
    kills: int = 0
    finished: int = 0  # times it came to its end, and was compared
    attempts: int = 0  # most that one artifact took
    wrote: Counter[str] = field(default_factory=Counter)
    aimed: int = 0  # further kills, sent on purpose into the write of a state or model


@dataclass(frozen=True)
class Lab:
    """A folder with the recipe in it, the finished run in runs/kill, and a way to start commands."""

    folder: Path
    start: Warm

    @property
    def calm(self) -> Path:
        return self.folder / "runs" / "kill"

    def run(self, runs: str, *arguments: str) -> Path:
        """Runs the recipe to its end below `runs`; returns the run's folder."""
        command = ["run", "kill.yaml", "--quiet", "--runs", runs, *arguments]
        finish(command, cwd=self.folder, env=os.environ, start=self.start)
        return self.folder / runs / "kill"

    def copy(self, runs: str, *without: str) -> Path:
        """The finished run again below `runs`, but for these stages."""
        target = self.folder / runs / "kill"
        shutil.rmtree(target, ignore_errors=True)
        for stage in STAGES:
            if stage not in without:
                shutil.copytree(self.calm / stage, target / stage)
        return target

    def kill(self, stage: str, kills: int, seed: int) -> Landed:
        """Kills `stage` so often, and compares each of its ends with the undisturbed one."""
        run = self.copy(f"rough-{stage}", stage)
        rough, calm = run / stage, self.calm / stage
        expected = results(calm)
        command = ["run", "kill.yaml", "--quiet", "--runs", f"rough-{stage}", "--only", stage]
        finish(command, cwd=self.folder, env=os.environ, start=self.start)  # undisturbed, for the time alone
        assert results(rough) == expected
        seconds = min(seconds_of(calm), seconds_of(rough))
        shutil.rmtree(rough)
        landed = Landed(stage, seed, seconds)

        def same() -> None:
            ended = Manifest.read(rough)
            assert ended is not None
            landed.finished += 1
            landed.attempts = max(landed.attempts, ended.attempts)
            assert results(rough) == expected
            assert leftovers(rough) == []

        def killed() -> None:
            landed.kills += 1
            landed.wrote.update({half_written(p) for p in rough.rglob(".*.tmp")} or {"nothing"})

        survive(
            command,
            rough,
            cwd=self.folder,
            env=os.environ,
            kills=kills,
            horizon=seconds,
            seed=seed,
            clock=rough / "manifest.json",
            check=same,
            killed=killed,
            start=self.start,
        )
        print(f"kill: {stage}: half-written {dict(landed.wrote)}; {landed.finished} ends compared")
        shutil.rmtree(run)
        return landed

    def kill_inside(self, stage: str, where: str, tries: int = 50) -> None:
        """Kills `stage` the moment a temporary that matches the glob `where` is seen, runs it on, and compares.

        Tries again when the write was over before the signal came.
        """
        runs = f"inside-{stage}"
        run = self.copy(runs, stage)
        command = ["run", "kill.yaml", "--quiet", "--runs", runs, "--only", stage]
        for _ in range(tries):
            process = self.start(command, self.folder, os.environ)
            while not (ended := ended_within(process, 0.0)) and not any((run / stage).glob(where)):
                pass
            if not ended:
                killpg(process)
            process.wait()
            process.said()
            if any((run / stage).glob(where)):
                break
            if ended:
                shutil.rmtree(run / stage)
        else:
            raise AssertionError(f"no kill of {tries} hit a write of {where}")
        finish(command, cwd=self.folder, env=os.environ, start=self.start)
        assert results(run / stage) == results(self.calm / stage)
        assert leftovers(run / stage) == []
        shutil.rmtree(run)


@contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """The undisturbed run, made."""
    for name in ("kill.yaml", "reward.py"):
        shutil.copy(RECIPES / name, folder)
    with Warm(os.environ) as start:
        made = Lab(folder, start)
        made.run("runs")
        yield made


def leftovers(stage: Path) -> list[Path]:
    """What a finished stage must not hold: resume state, temporaries."""
    return [p for p in stage.rglob("*") if p.name == ".work" or p.suffix == ".tmp"]


def seconds_of(stage: Path) -> float:
    manifest = Manifest.read(stage)
    assert manifest is not None
    assert manifest.seconds is not None
    return manifest.seconds


def half_written(path: Path) -> str:
    """What a temporary was going to be."""
    name = path.name.lstrip(".")
    if name.startswith("resume-"):
        return "resume state"
    return "checkpoint" if path.is_dir() else name.rsplit(".", 2)[0]


def results(stage: Path) -> dict[str, Any]:
    """What must not differ: data files byte for byte, metrics and summary but for times.

    A report draws its curves over seconds and lists how long things took; what it found stands in report.json.
    """
    manifest = Manifest.read(stage)
    assert manifest is not None
    digests = data_digests(stage)
    if manifest.kind == "report":
        digests = {n: d if n == "report.json" else "there" for n, d in digests.items()}
    return {"files": digests, "metrics": metrics(stage), "summary": timeless(manifest.summary)}


def metrics(stage: Path) -> list[dict[str, Any]]:
    path = stage / "metrics.jsonl"
    return [timeless(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if not (k.startswith("seconds") or k.endswith(("_per_s", "memory_gb")))}
