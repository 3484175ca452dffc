"""The quickstart as a claim: ``python -m perf.quickstart [--seed N ...] [--json FILE]``.

Runs `recipes/quickstart.yaml` from nothing once per seed and writes what it says: seconds per stage and in all,
accuracies with their intervals, paired comparisons. There is no peer to run beside it; the bars are absolute.
``--quick`` runs the smoke form, which shows that the script works and nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from perf.harness import machine

COMMAND = [sys.executable, "-m", "posttrain", "run", "quickstart"]


def measure(seed: int, *, smoke: bool) -> dict[str, Any]:
    """One run in a folder of its own: total and per-stage seconds, and the report's models and comparisons."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        arguments = [f"seed={seed}", *(["--smoke"] if smoke else [])]
        subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, stdout=sys.stderr)
        first = time.perf_counter() - began
        began = time.perf_counter()
        subprocess.run([*COMMAND, *arguments], cwd=folder, check=True, stdout=sys.stderr)
        again = time.perf_counter() - began
        run = next(Path(folder, "runs").iterdir())
        stages = {p.parent.name: json.loads(p.read_text())["seconds"] for p in sorted(run.glob("*/manifest.json"))}
        report = json.loads((run / "report" / "report.json").read_text())
    keep_model = ("name", "n", "accuracy", "interval")
    keep_comparison = ("a", "b", "difference", "interval", "p", "verdict")
    return {
        "seed": seed,
        "seconds": round(first, 1),
        "seconds_when_all_is_reused": round(again, 2),
        "stages": {name: round(seconds, 1) for name, seconds in stages.items()},
        "models": [{k: m[k] for k in keep_model} for m in report["models"]],
        "comparisons": [{k: c[k] for k in keep_comparison} for c in report["comparisons"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--quick", action="store_true", help="the smoke form")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    facts, rows = machine(), []
    for seed in given.seed:
        rows.append(measure(seed, smoke=given.quick))
        show(rows[-1])
        if given.json:  # after each seed: an interrupted measurement keeps what it has
            result = {"title": "quickstart", "machine": facts, "rows": rows, "ratios": {}}
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show(row: dict[str, Any]) -> None:
    """One seed's numbers, a line for all models and one for each comparison."""
    models = "  ".join(f"{m['name']} {m['accuracy']:.1%}" for m in row["models"])
    sys.stdout.write(f"seed {row['seed']}: {row['seconds']} s, again {row['seconds_when_all_is_reused']} s  {models}\n")
    for c in row["comparisons"]:
        low, high = c["interval"]
        sys.stdout.write(
            f"  {c['a']} → {c['b']}: {100 * c['difference']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}], "
            f"p = {c['p']:.1e}: {c['verdict']}\n"
        )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
