"""Submissions and runs for boards, made without any model: numeric problems graded by `gsm8k`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.unit.report.fake_run import shares

from posttrain.benchmarks.benchmark import problems_digest
from posttrain.records import Problem, Sample, problems_to_table, samples_to_tables
from posttrain.store import Manifest, fingerprint, write_json, write_table

N = 60
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> \"'& \u202eevil\u202c {{7*7}}"


def problems(n: int = N) -> list[Problem]:
    return [Problem(f"p{i}", f"What is {i} + 4?", str(i + 4), split="test") for i in range(n)]


def write_problems(folder: Path, n: int = N) -> Path:
    write_table(folder / "problems.parquet", problems_to_table(problems(n)))
    Manifest("data", "problems", "finished", "", {}, {}, {}, 0, "", digest="0" * 64).write(folder)
    return folder


def settings(n: int = N, k: int = 1, **changed: Any) -> dict[str, Any]:
    return {
        "benchmark": "sums/test",
        "version": 1,
        "problems": problems_digest(problems(n)),
        "n_problems": n,
        "template": "chat",
        "n_shots": 0,
        "sampling": {"n": k, "temperature": 0.0, "max_tokens": 64},
        "grading": "gsm8k",
        **changed,
    }


def right(i: int, name: str, accuracy: float) -> bool:
    """Problems keep a difficulty that all models share."""
    return 0.8 * shares(i, "difficulty") + 0.2 * shares(i, name) < accuracy


def answers(name: str, accuracy: float, n: int = N, k: int = 1) -> list[Sample]:
    return [
        Sample(
            problem_id=f"p{i}",
            index=j,
            question=f"What is {i} + 4?",
            response=f"#### {i + 4 if right(i, f'{name}/{j}', accuracy) else i + 5}",
            source=name,
            gold=str(i + 4),
            token_ids=(1, 2, 3),
            finish_reason="stop",
        )
        for i in range(n)
        for j in range(k)
    ]


def accuracy_of(samples: Sequence[Sample]) -> float:
    return sum(s.response == f"#### {s.gold}" for s in samples) / len(samples)


def submit(folder: Path, name: str, accuracy: float, *, n: int = N, k: int = 1, **changed: Any) -> Path:
    """A submission folder. changed: keys of submission.json; `samples`, `settings`, `claimed` of its one result."""
    samples = changed.pop("samples", None) or answers(name, accuracy, n, k)
    asked = changed.pop("settings", None) or settings(n, k)
    claimed = changed.pop("claimed", None)
    result = {
        "benchmark": asked["benchmark"],
        "fingerprint": fingerprint(asked),
        "settings": asked,
        "accuracy": accuracy_of(samples) if claimed is None else claimed,
        "n": n,
        "samples": "samples.parquet",
        **changed.pop("result", {}),
    }
    write_table(folder / "samples.parquet", samples_to_tables(samples)[0])
    write_json(folder / "submission.json", {"version": 1, "name": name, "results": [result], **changed})
    return folder
