"""Which algorithms learn? ``python -m perf.rl_learning --folder DIR [--json FILE] [--figure FILE] [--smoke]``.

From one SFT checkpoint of a tiny model that solves 30 to 50 % of the synthetic task's held-out problems, each algorithm
trains with several seeds; so do two that must not learn: a reward thrown by a coin, and a learning rate of 0. Every end
is compared with the start, paired, on the same test problems. An interrupted run goes on where it was: what stands in
the folder is reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perf.harness import machine
from posttrain.evals import Answers, compare, read_answers
from posttrain.pipeline import run_stage
from posttrain.store import Artifact, Scores

LEARN = ("reinforce_baseline", "grpo", "dr_grpo", "dapo", "rloo")
IDLE = ("random reward", "learning rate 0")
FURTHER = ("reinforce", "gspo", "cispo", "reinforce++")  # with --only: nothing is claimed of them
COIN = '''"""A reward that knows nothing: a coin, tossed by the text itself, so that a resumed run tosses the same."""

import zlib


def coin(completions, **columns):
    return [float(zlib.crc32(f"{i} {text}".encode()) & 1) for i, text in enumerate(completions)]
'''


@dataclass(frozen=True)
class Amounts:
    """How much of everything. `steps`: updates of RL."""

    train: int = 20000
    test: int = 1000
    hidden: int = 96
    layers: int = 4
    pretrain: int = 1300
    traces: int = 400
    sft: int = 500
    steps: int = 200
    prompts: int = 24
    rate: float = 3e-4
    validate: int = 20


SMOKE = Amounts(train=300, test=40, hidden=32, layers=2, pretrain=4, sft=4, steps=3, prompts=4, validate=2)


def stage(name: str, folder: Path, config: Mapping[str, Any], seed: int = 0, **inputs: Any) -> Artifact:
    """A finished stage is reused; the same config makes the same artifact."""
    return run_stage(name, dict(config), inputs, folder, seed=seed, device="cpu", quiet=True)


def start(folder: Path, a: Amounts) -> tuple[Artifact, Artifact]:
    """(problems, the SFT checkpoint that everything begins with)."""
    levels = {"levels": [1, 2]}
    texts = {"dataset": "synthetic-text", "train": 2 * a.train, "validation": 0, "test": 0, **levels}
    corpus = stage("data", folder / "corpus", texts)
    amounts = {"dataset": "synthetic", "train": a.train, "validation": 256, "test": a.test, **levels}
    problems = stage("data", folder / "problems", amounts)
    traces = stage("traces", folder / "traces", {"limit": a.traces}, problems=problems)
    model = {"hidden": a.hidden, "layers": a.layers, "heads": a.hidden // 16, "vocabulary": 1024, "context": 256}
    amounts = {"model": model, "steps": a.pretrain, "batch_size": 8, "block": 128}
    base = stage("pretrain", folder / "base", {**amounts, "optimizer": {"lr": 4e-3, "warmup": 0.05}}, corpus=corpus)
    slow = {"lr": 2e-3, "warmup": 0.05, "schedule": "linear", "final": 0.3}
    config = {"steps": a.sft, "batch_size": 16, "optimizer": slow}
    return problems, stage("sft", folder / "sft", config, model=base, traces=traces)


def arm(name: str, folder: Path, a: Amounts) -> dict[str, Any]:
    """The config of one algorithm's training."""
    config: dict[str, Any] = {
        "algorithm": "grpo" if name in IDLE else name,
        "steps": a.steps,
        "prompts": a.prompts,
        "group": 8,
        "max_tokens": 64,
        "keep_rollouts": 0,
        "optimizer": {"lr": a.rate, "warmup": 0.1, "schedule": "linear", "final": 0.25},
        "validation": {"every": a.validate, "problems": 256, "max_tokens": 64},
    }
    if name == "random reward":
        (folder / "coin.py").write_text(COIN, encoding="utf-8")
        config["reward"] = {"correct": 0, "function": f"{folder / 'coin.py'}:coin"}
    if name == "learning rate 0":
        config["optimizer"] = {"lr": 0.0}
        config["steps"] = min(a.steps, 20)  # nothing moves: no need to wait for it
    return config


def answers(folder: Path, problems: Artifact, *models: Artifact) -> dict[str, Answers]:
    """Greedy answers to the test problems, by model."""
    name = "scores-" + models[-1].path.name
    config = {"temperature": 0, "max_tokens": 64}
    scores = stage("eval", folder / name, config, models=list(models), problems=problems)
    assert isinstance(scores, Scores)
    return {found.model: found for found in read_answers([scores])}


def curve(model: Artifact) -> list[tuple[int, float]]:
    """(step, validation accuracy)."""
    rows = [json.loads(line) for line in (model.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(row["step"], row["val_accuracy"]) for row in rows if "val_accuracy" in row]


def learn(name: str, seed: int, folder: Path, a: Amounts, problems: Artifact, sft: Artifact) -> dict[str, Any]:
    """One training and its paired comparison with the start."""
    where = folder / f"{name.replace(' ', '-')}-{seed}"
    trained = stage("rl", where, arm(name, folder, a), seed=seed, model=sft, problems=problems)
    found = answers(folder, problems, sft, trained)
    return outcome(name, seed, found[sft.path.name], found[trained.path.name], curve(trained))


def outcome(name: str, seed: int, before: Answers, after: Answers, line: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A row of the results: the paired comparison of a training's end with its start, and its curve."""
    paired = compare(before, after).paired
    return {
        "algorithm": name,
        "seed": seed,
        "before": before.entry["accuracy"],
        "after": after.entry["accuracy"],
        "difference": paired.difference,
        "p": paired.p,
        "curve": list(line),
    }


def passed(row: Mapping[str, Any]) -> bool:
    """Whether this training did what its algorithm must: learn, or not."""
    better = bool(row["difference"] > 0 and row["p"] < 0.01)
    return row["algorithm"] in FURTHER or better == (row["algorithm"] not in IDLE)


def figure(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Validation accuracy over updates: the mean of the seeds, and the band from the least to the greatest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure_, axes = plt.subplots(figsize=(8, 4.5))
    for name in dict.fromkeys(row["algorithm"] for row in rows):
        curves = [row["curve"] for row in rows if row["algorithm"] == name]
        steps = [step for step, _ in curves[0]]
        values = np.array([[value for _, value in one] for one in curves]) * 100
        style = "--" if name in IDLE else "-"
        (line,) = axes.plot(steps, values.mean(0), style, label=name)
        axes.fill_between(steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel("updates")
    axes.set_ylabel("validation accuracy, %")
    axes.legend(fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure_.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure_.savefig(path, dpi=150)
    plt.close(figure_)


def run(folder: Path, a: Amounts, seeds: Sequence[int], names: Sequence[str] = (*LEARN, *IDLE)) -> list[dict[str, Any]]:
    """Every algorithm with every seed, in an order that gives each its first seed before any its second."""
    folder.mkdir(parents=True, exist_ok=True)
    problems, sft = start(folder, a)
    rows = []
    for seed in seeds:
        for name in names:
            row = learn(name, seed, folder, a, problems, sft)
            rows.append(row)
            sys.stdout.write(
                f"{name:<20} seed {seed}: {row['before']:.1%} → {row['after']:.1%}, p = {row['p']:.1e}"
                f"{'' if passed(row) else '   NOT as it must be'}\n"
            )
            sys.stdout.flush()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is made, and reused")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[*LEARN, *IDLE, *FURTHER])
    parser.add_argument("--rate", type=float, default=Amounts.rate)
    parser.add_argument("--prompts", type=int, default=Amounts.prompts)
    parser.add_argument("--steps", type=int, default=Amounts.steps)
    parser.add_argument("--smoke", action="store_true", help="a few steps of a tiny model: checks the script")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    a = SMOKE if given.smoke else Amounts(rate=given.rate, prompts=given.prompts, steps=given.steps)
    facts = machine()
    rows = run(given.folder.resolve(), a, given.seeds, given.only or (*LEARN, *IDLE))
    if given.figure:
        figure(rows, given.figure)
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "title": "which algorithms learn",
            "machine": facts,
            "amounts": dataclasses.asdict(a),
            "rows": rows,
            "ratios": {},
        }
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
