"""What do SFT and preference losses bring? ``python -m perf.offline_learning --run runs/quickstart --folder DIR``.

The start is a finished run of the quickstart. `sft` learns from its worked solutions, from its base model on; `dpo`,
`ipo` and `dpo_norm` learn from pairs of its SFT model's own right and wrong answers. Every end is compared with its
start, paired, on the same test problems. What stands in the folder is reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perf.harness import machine
from perf.rl_learning import answers, curve, outcome, stage
from posttrain.store import Artifact, Checkpoint, Problems, Samples, Scores

PREFERENCE: dict[str, dict[str, Any]] = {
    "dpo": {"loss": "dpo", "beta": 0.1},
    "ipo": {"loss": "ipo", "beta": 0.1},
    "dpo_norm": {"loss": "dpo_norm", "beta": 5.0},
}
SFT = (
    "From the quickstart's base model, which has read stories and never a question: {sft_steps} steps of 16 of its 400 "
    "worked solutions."
)
PAIRS = (
    "From the quickstart's SFT model: 8 answers of its own to each of {sampled} problems, a right one against a wrong "
    "one where it gave both; {steps} steps of 16 pairs at a rate of {rate:g}."
)


@dataclass(frozen=True)
class Amounts:
    """How much of everything; the SFT is the quickstart's own with another seed."""

    sft_steps: int = 500
    sampled: int = 600
    steps: int = 120
    rate: float = 3e-5
    every: int = 20
    test: int = 1000


@dataclass(frozen=True)
class Start:
    """What a finished run of the quickstart has."""

    problems: Problems
    base: Checkpoint
    traces: Samples
    sft: Checkpoint

    @classmethod
    def of(cls, run: Path) -> Start:
        return cls(
            Problems(run / "problems", "problems"),
            Checkpoint(run / "base", "base"),
            Samples(run / "traces", "traces"),
            Checkpoint(run / "sft", "sft"),
        )


def supervised(where: Path, seed: int, a: Amounts, start: Start) -> Artifact:
    """The quickstart's SFT, with validation on the way."""
    config = {
        "steps": a.sft_steps,
        "batch_size": 16,
        "optimizer": {"lr": 2e-3, "warmup": 0.05, "schedule": "linear", "final": 0.3},
        "validation": {"every": a.sft_steps // 10, "problems": 256, "max_tokens": 64},
    }
    return stage("sft", where, config, seed=seed, model=start.base, traces=start.traces, problems=start.problems)


def preferred(name: str, where: Path, seed: int, a: Amounts, start: Start) -> Artifact:
    """Samples of the model's own, pairs of them, and a training on these; another seed is another draw of all."""
    asked = {"limit": a.sampled, "n": 8, "max_tokens": 64}
    folder = where.parent
    sampled = stage("sample", folder / f"sampled-{seed}", asked, seed=seed, model=start.sft, problems=start.problems)
    pairs = stage("pairs", folder / f"pairs-{seed}", {}, seed=seed, samples=sampled)
    config = {
        **PREFERENCE[name],
        "steps": a.steps,
        "optimizer": {"lr": a.rate, "warmup": 0.1, "schedule": "linear", "final": 0.25},
        "checkpoints": {"every": a.every},
    }
    return stage("dpo", where, config, seed=seed, model=start.sft, pairs=pairs)


def on_the_way(folder: Path, start: Start, trained: Artifact, last: int) -> list[tuple[int, float]]:
    """(step, validation accuracy) of the start, of the checkpoints that were kept, and of the end: step `last`."""
    asked = {"checkpoints": "all", "split": "validation", "limit": 256, "temperature": 0, "max_tokens": 64}
    models = [start.sft, trained]
    scores = stage("eval", folder / f"way-{trained.path.name}", asked, models=models, problems=start.problems)
    assert isinstance(scores, Scores)
    entries = scores.read()["entries"]
    first = [(0, e["accuracy"]) for e in entries if e["model"] == start.sft.label]
    return [*first, *sorted((e.get("step", last), e["accuracy"]) for e in entries if e["model"] != start.sft.label)]


def learn(name: str, seed: int, folder: Path, a: Amounts, start: Start) -> dict[str, Any]:
    """One training, its accuracy on the way, and its paired comparison with what it began from."""
    where = folder / f"{name}-seed-{seed}"
    if name == "sft":
        before, trained = start.base, supervised(where, seed, a, start)
        line = curve(trained)
    else:
        before, trained = start.sft, preferred(name, where, seed, a, start)
        line = on_the_way(folder, start, trained, a.steps)
    found = answers(folder, start.problems, before, trained)
    return outcome(name, seed, found[before.label], found[trained.path.name], line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the quickstart")
    parser.add_argument("--folder", type=Path, required=True, help="where everything is made, and reused")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=["sft", *PREFERENCE], default=list(PREFERENCE))
    parser.add_argument("--rate", type=float, default=Amounts.rate)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    a, start = Amounts(rate=given.rate), Start.of(given.run.resolve())
    given.folder.mkdir(parents=True, exist_ok=True)
    facts = machine()
    rows = []
    for seed in given.seeds:
        for name in given.only:
            row = learn(name, seed, given.folder.resolve(), a, start)
            rows.append(row)
            told = f"{row['before']:.1%} → {row['after']:.1%}, p = {row['p']:.1e}"
            sys.stdout.write(f"{name:<10} seed {seed}: {told}\n")
            sys.stdout.flush()
    if given.json:
        amounts = dataclasses.asdict(a)
        how = (SFT if given.only == ["sft"] else PAIRS).format(**amounts)
        result = {"title": "what offline losses bring", "how": how, "machine": facts, "amounts": amounts, "rows": rows}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({**result, "ratios": {}}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
