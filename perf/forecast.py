"""What `posttrain plan` forecasts beside what then happens: time and peak memory of training at three sizes.

    python -m perf.forecast                    three sizes, one after another, each a process of its own
    python -m perf.forecast --quick            the same with few steps (the code runs; its numbers mean little)
    python -m perf.forecast --out perf/results

A size is a `pretrain` of a tiny model: its tokens are known exactly, so the errors are those of the cost model and not
of a guess at the data. Time is the process's own (user and system) on one thread, from its start to its end, so that a
busy machine stretches it little; memory is the largest resident set that the kernel saw. Errors are forecast / measured
- 1; the claim is that they are within 25 %.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.harness import machine

WITHIN = 0.25


@dataclass(frozen=True, slots=True)
class Size:
    """A model and a training of it."""

    name: str
    hidden: int
    layers: int
    vocabulary: int
    batch: int
    block: int
    steps: int

    def config(self, quick: bool) -> dict[str, Any]:
        shape = {"hidden": self.hidden, "layers": self.layers, "vocabulary": self.vocabulary}
        return {
            "model": {**shape, "heads": self.hidden // 32, "context": 512},
            "steps": 2 if quick else self.steps,
            "batch_size": self.batch,
            "block": self.block,
            "token_budget": 4096,
        }


SIZES = (
    Size("small", 128, 4, 512, batch=32, block=128, steps=60),
    Size("middle", 256, 6, 1024, batch=16, block=256, steps=30),
    Size("large", 512, 8, 2048, batch=16, block=256, steps=12),
)


def forecast(size: Size, quick: bool) -> dict[str, float]:
    """What the plan says, for one core."""
    from posttrain.sft.config import PretrainConfig
    from posttrain.sft.forecast import pretrain_forecast

    told = pretrain_forecast(PretrainConfig.model_validate(size.config(quick)), {})
    return {"seconds": float(told["seconds"]), "memory": float(told["memory_bytes"])}


def measure(size: Size, quick: bool, corpus: Path, folder: Path) -> dict[str, float]:
    """What it takes, in a process of its own."""
    code = (
        "import json, sys; from posttrain.pipeline import run_stage; from posttrain.store import Problems; "
        "from pathlib import Path; "
        "corpus = Problems(Path(sys.argv[2])); "
        "run_stage('pretrain', json.loads(sys.argv[1]), {'corpus': corpus}, sys.argv[3], quiet=True)"
    )
    arguments = [sys.executable, "-c", code, json.dumps(size.config(quick)), str(corpus), str(folder / size.name)]
    process = subprocess.Popen(arguments, env=dict(os.environ))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"the measurement of {size.name} failed")
    return {"seconds": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * 1024.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two steps of each size")
    parser.add_argument("--out", type=Path, help="a folder for forecast.json")
    options = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # children measure one core
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # … and forecasts are told of one

    from posttrain.pipeline import run_stage

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        corpus = run_stage(
            "data",
            {"dataset": "synthetic", "train": 6000, "validation": 8, "test": 8},
            {},
            folder / "corpus",
            quiet=True,
        ).path
        print(f"{'size':<8}{'what':<10}{'forecast':>12}{'measured':>12}{'error':>9}")
        for size in SIZES:
            told, found = forecast(size, options.quick), measure(size, options.quick, corpus, folder)
            row: dict[str, Any] = {"size": size.name}
            for what, unit in (("seconds", 1.0), ("memory", 2.0**30)):
                error = told[what] / found[what] - 1
                row[what] = {"forecast": told[what], "measured": found[what], "error": round(error, 4)}
                print(f"{size.name:<8}{what:<10}{told[what] / unit:>12.2f}{found[what] / unit:>12.2f}{error:>+8.0%}")
            rows.append(row)
    errors = [abs(row[what]["error"]) for row in rows for what in ("seconds", "memory")]
    print(f"largest error {max(errors):.0%}, claimed {WITHIN:.0%}")
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "claim": WITHIN,
            "largest_error": max(errors),
            "quick": options.quick,
            "rows": rows,
            "machine": machine(),
        }
        (options.out / "forecast.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
