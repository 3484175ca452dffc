"""Does any selector beat random? ``python -m perf.selection [--seeds N] [--folder DIR] [--json FILE]``.

Runs `recipes/selection-offline.yaml` with N repetitions (8) and writes what `contest` and `noise` say, how many of the
planted defects the filters found and how much else they dropped, and what each selector noted of itself. There is no
peer. An interrupted run goes on in the same --folder. ``--quick`` runs the smoke form, which shows that it works.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from perf.harness import machine

COMMAND = [sys.executable, "-m", "posttrain", "run", "selection-offline"]
DUPLICATES = ("exact_duplicates", "near_duplicates")
KEPT = ("silhouette", "near_zero", "steps", "steps_cut", "tokens_before", "tokens_after", "restored", "plan", "fit")


def truth(pool: Path, raw: Path) -> dict[str, dict[str, float | int | None]]:
    """Recall and precision of the filters of a curation against what `plant` and the flawed teacher wrote.

    pool: the folder of the curation; raw: of the planted traces. A row counts for the filters that it reached. Of rows
    that say the same one has to stay: of n that reach the filters, n - 1 have to go, whichever.
    """
    extras = [json.loads(text) if text else {} for text in pq.read_table(raw / "samples.parquet")["extra"].to_pylist()]
    ledger = pq.read_table(pool / "ledger.parquet")
    steps = [name.removesuffix(".keep") for name in ledger.column_names if name.endswith(".keep")]
    ids, numbers = ledger["id"].to_pylist(), ledger["row"].to_pylist()
    dropped = [None if by is None else str(by).partition("-")[2] for by in ledger["dropped_by"].to_pylist()]
    planted = [extras[number].get("planted") for number in numbers]
    seen = {step.partition("-")[2]: _seen(ledger, step) for step in steps}
    found: dict[str, dict[str, float | int | None]] = {}
    for name, defect in (("correct", [bool(extras[n].get("flawed")) for n in numbers]),):
        if name in seen:
            found["wrong answers"] = _rates(defect, [by == name for by in dropped], seen[name])
    if "decontaminate" in seen:
        leaked = [what == "contaminated" for what in planted]
        found["contamination"] = _rates(leaked, [by == "decontaminate" for by in dropped], seen["decontaminate"])
    first = next((name for name in DUPLICATES if name in seen), None)
    if first is not None:
        original = [
            i.rpartition("/")[0] if what in ("copy", "near_copy") else i for i, what in zip(ids, planted, strict=True)
        ]
        groups = Counter(group for group, here in zip(original, seen[first], strict=True) if here)
        gone = Counter(group for group, by in zip(original, dropped, strict=True) if by in DUPLICATES)
        wanted = sum(size - 1 for size in groups.values())
        right = sum(min(gone[group], size - 1) for group, size in groups.items())
        found["duplicates"] = _rate(right, wanted, sum(gone.values()))
    return found


def _seen(ledger: Any, step: str) -> list[bool]:
    return [value is not None for value in ledger[f"{step}.keep"].to_pylist()]


def _rates(defect: list[bool], dropped: list[bool], seen: list[bool]) -> dict[str, float | int | None]:
    right = sum(d and gone for d, gone in zip(defect, dropped, strict=True))
    return _rate(right, sum(d and here for d, here in zip(defect, seen, strict=True)), sum(dropped))


def _rate(right: int, wanted: int, dropped: int) -> dict[str, float | int | None]:
    return {
        "planted": wanted,
        "dropped": dropped,
        "found": right,
        "recall": right / wanted if wanted else None,
        "precision": right / dropped if dropped else None,
    }


def notes(run: Path) -> dict[str, dict[str, Any]]:
    """What the last step of each selection noted of itself, of the first repetition."""
    found = {}
    for path in sorted(run.glob("chosen--*--0/curation.json")):
        said = json.loads(path.read_text(encoding="utf-8"))["steps"][-1].get("notes", {})
        found[path.parent.name.split("--")[1]] = {key: said[key] for key in KEPT if key in said}
    return found


def measure(folder: Path, seeds: int, *, smoke: bool) -> dict[str, Any]:
    """One run, resumed where it was interrupted: seconds of its stages, contests, truth, notes."""
    repeats = [f"matrix.repeat=[{', '.join(map(str, range(seeds)))}]"]
    arguments = ["--smoke"] if smoke else repeats
    subprocess.run([*COMMAND, *arguments, "--runs", str(folder)], check=True, stdout=sys.stderr)
    (run,) = folder.iterdir()
    keep = ("answers", "notes", "ways", "comparisons")
    reports = {
        name: json.loads((run / name / "report.json").read_text(encoding="utf-8")) for name in ("contest", "noise")
    }
    stages = Counter[str]()
    for path in run.glob("*/manifest.json"):
        stages[path.parent.name.partition("--")[0]] += json.loads(path.read_text(encoding="utf-8"))["seconds"]
    return {
        "seeds": max(len(way["each"]) for way in reports["contest"]["ways"]),
        "seconds": round(stages.total(), 1),
        "stages": {name: round(total, 1) for name, total in stages.items()},
        "truth": truth(run / "pool", run / "raw"),
        "selectors": notes(run),
        **{name: {k: report[k] for k in keep} for name, report in reports.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--folder", type=Path, help="where the run is; it goes on there")
    parser.add_argument("--quick", action="store_true", help="the smoke form")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    facts = machine()
    with tempfile.TemporaryDirectory() as scratch:
        found = measure(given.folder or Path(scratch), given.seeds, smoke=given.quick)
    show(found)
    if given.json:
        result = {"title": "selection", "machine": facts, "rows": [found], "ratios": {}}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def show(found: dict[str, Any]) -> None:
    """The answers, and what the filters found."""
    out = [f"{found['seeds']} seeds, {found['seconds']} s"]
    for name in ("contest", "noise"):
        out += [f"  {line}" for line in (*found[name]["answers"], *found[name]["notes"])]
    for name, rate in found["truth"].items():
        recall, precision = (
            f"{100 * rate[k]:.1f} %" if rate[k] is not None else "n/a" for k in ("recall", "precision")
        )
        out.append(
            f"  {name}: {rate['found']} of {rate['planted']} planted found, recall {recall}, precision {precision}"
        )
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
