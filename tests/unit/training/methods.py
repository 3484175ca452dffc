"""A tiny base model, traces and a short SFT over them, for tests of training methods."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from posttrain.models import TinyConfig, save_model, tiny_model, train_tokenizer
from posttrain.pipeline import run_stage
from posttrain.records import Problem, Sample, problems_to_table, samples_to_tables
from posttrain.store import write_table

SHAPE = TinyConfig(hidden=32, layers=2, heads=4, vocabulary=300, context=128)
WORDS = ("pens", "kites", "drums", "shoes", "trees")


def make_base(folder: Path, *, seed: int = 0) -> Path:
    """An untrained model folder."""
    tokenizer = train_tokenizer(["Tom has 3 pens and 40 kites.", "Ann sold 12 of 55 drums."] * 20, SHAPE.vocabulary)
    save_model(tiny_model(tokenizer, SHAPE, seed=seed), tokenizer, folder)
    return folder


def make_data(folder: Path) -> tuple[Path, Path]:
    """(traces, problems) as stages of `tests.toys` would leave them: 24 questions with answers, 6 for validation."""
    draw = random.Random(5)
    samples, problems = [], []
    for i in range(24):
        a, b, word = draw.randint(1, 60), draw.randint(1, 9), draw.choice(WORDS)
        question, answer = f"Tom has {a} {word} and finds {b}.", f"He has {a + b} {word}. The answer is {a + b}."
        samples.append(Sample(problem_id=f"p{i}", index=0, question=question, response=answer, source="test"))
        problems.append(
            Problem(id=f"p{i}", question=question, answer=str(a + b), split="validation" if i < 6 else "train")
        )
    write_table(folder / "traces" / "samples.parquet", samples_to_tables(samples)[0])
    write_table(folder / "problems" / "problems.parquet", problems_to_table(problems))
    return folder / "traces", folder / "problems"


class Room:
    """A base, traces and problems in one folder, and `sft` over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = make_base(folder / "base")
        traces, problems = make_data(folder)
        from posttrain.store import Problems, Samples

        self.traces, self.problems = Samples(traces), Problems(problems)

    def sft(self, name: str, *, base: Path | None = None, validated: bool = False, **config: Any) -> Path:
        """Trains into `name`; batch of 6, micro-batches of at most 128 tokens."""
        inputs = {"model": base or self.base, "traces": self.traces}
        if validated:
            inputs["problems"] = self.problems
        settings = {"steps": 4, "batch_size": 6, "token_budget": 128, "optimizer": {"lr": 5e-3}, **config}
        run_stage("sft", settings, inputs, self.folder / name, quiet=True)  # type: ignore[arg-type]
        return self.folder / name


def column(stage: Path, key: str) -> list[float]:
    """One metric over the steps."""
    rows = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    return [row[key] for row in rows if key in row]


def summary(stage: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((stage / "manifest.json").read_text())["summary"]
    return told
