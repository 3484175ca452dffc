"""Our grader beside math-verify: ``python -m perf.grading [--quick] [--cases FOLDER] [--json FILE]``.

One core, distinct pairs, caches emptied before every round. Speed alone is cheap, so agreement with the labels of the
cases is printed beside it: of all, and how many of the negatives were accepted, with Wilson's 95 % interval.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from math_verify import parse, verify

from perf.harness import Results, machine
from posttrain.grading import grade, mathematics, parser
from posttrain.grading.api import CACHE
from posttrain.grading.pool import close_shared_pool
from posttrain.records import Problem
from posttrain.stats import wilson

BESIDE = Path(__file__).resolve().parents[2] / "shared" / "grading"
Case = tuple[str, str, bool]  # gold, response, label


def read_cases(folder: Path) -> list[Case]:
    """The labelled cases of mode default; bare predictions in a box."""
    found = []
    with (folder / "cases.jsonl").open() as lines:
        for row in map(json.loads, lines):
            prediction, gold = row["prediction"], row["gold"]
            if row["mode"] == "default" and isinstance(gold, str) and prediction is not None:
                response = f"\\boxed{{{prediction}}}" if row["bare"] else prediction
                found.append((gold, response, row["expected"]))
    return found


def numeric_cases(count: int) -> list[Case]:
    """Word-problem answers as models write them, every pair another."""
    draw = random.Random(0)
    found = []
    for _ in range(count):
        gold, right = draw.randrange(10**6), draw.random() < 0.5
        said = gold if right else draw.randrange(10**6)
        found.append((str(gold), f"First we add. Then we have it.\n\nThe answer is \\boxed{{{said:,}}}.", said == gold))
    return found


def forget() -> None:
    CACHE.clear()
    parser.parse_spelled.cache_clear()
    mathematics.gold_text.cache_clear()


def ours(cases: Sequence[Case], spec: str, verdicts: list[bool | None]) -> Callable[[], int]:
    def run() -> int:
        forget()
        verdicts[:] = [grade(Problem("", "", gold), response, spec).correct for gold, response, _ in cases]
        return len(cases)

    return run


def math_verify(cases: Sequence[Case], verdicts: list[bool | None]) -> Callable[[], int]:
    def one(gold: str, response: str) -> bool:
        return bool(verify(parse(gold if "$" in gold or "boxed" in gold else f"${gold}$"), parse(response)))

    def run() -> int:
        verdicts[:] = [one(gold, response) for gold, response, _ in cases]
        return len(cases)

    return run


def agreement(cases: Sequence[Case], verdicts: Sequence[bool | None]) -> str:
    right = sum(v is label for v, (_, _, label) in zip(verdicts, cases, strict=True))
    negatives = [v for v, (_, _, label) in zip(verdicts, cases, strict=True) if not label]
    accepted = sum(v is True for v in negatives)
    low, high = wilson(accepted, len(negatives))
    return (
        f"agreement {right}/{len(cases)} ({right / len(cases):.1%}), accepted negatives {accepted}/{len(negatives)}"
        f" (95 %: {low:.1%} to {high:.1%})"
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cases", type=Path, default=Path(os.environ.get("POSTTRAIN_GRADING", BESIDE)))
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--quick", action="store_true", help="one round")
    arguments.add_argument("--json", type=Path)
    given = arguments.parse_args()
    repeats = 1 if given.quick else given.repeats
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results = Results("Grading, one core", machine())
    lines = []
    for name, spec, cases in (
        ("numeric", "gsm8k", numeric_cases(1000)),
        ("mixed", "math", read_cases(given.cases)),
    ):
        mine: list[bool | None] = []
        theirs: list[bool | None] = []
        runs = {"posttrain": ours(cases, spec, mine), "math-verify": math_verify(cases, theirs)}
        results.compare(name, runs, ratio=f"{name}_vs_math_verify", repeats=repeats, unit="verdicts")
        lines += [f"{name}, {who}: {agreement(cases, v)}" for who, v in (("posttrain", mine), ("math-verify", theirs))]
    close_shared_pool()
    results.show()
    sys.stdout.write("\n".join(["", *lines]) + "\n")
    if given.json:
        results.write(given.json)


if __name__ == "__main__":
    main()
