"""What do SFT and preference losses bring? ``python -m perf.offline_learning --folder DIR --only sft [--json FILE]``.

The start is that of `perf.rl_learning`: a tiny model on the synthetic task. `sft` learns from the problems' own
solutions, from the base model on; `dpo`, `ipo` and `dpo_norm` learn from pairs of the SFT model's own right and wrong
answers. Every end is compared with its start, paired, on the same test problems. What stands in the folder is reused.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from perf.harness import machine
from perf.rl_learning import Amounts, answers, curve, stage, start
from posttrain.evals import compare
from posttrain.store import Artifact, Checkpoint, Samples, Scores

PREFERENCE: dict[str, dict[str, Any]] = {
    "dpo": {"loss": "dpo", "beta": 0.1},
    "ipo": {"loss": "ipo", "beta": 0.1},
    "dpo_norm": {"loss": "dpo_norm", "beta": 5.0},
}
SFT = (
    "From a tiny base model (hidden {hidden}, {layers} layers) that has read stories and never a question: {sft} steps "
    "of 16 of {traces} worked solutions."
)
PAIRS = (
    "From one SFT checkpoint of a tiny model (hidden {hidden}, {layers} layers): 8 answers of its own to each of "
    "{sampled} problems, a right one against a wrong one where it gave both; {steps} steps of 16 pairs at a rate of "
    "{rate:g}."
)


@dataclasses.dataclass(frozen=True)
class Offline:
    """How much of preference learning, beside the amounts of the start."""

    sampled: int = 600
    steps: int = 120
    rate: float = 1e-4
    every: int = 20


def sft(where: Path, seed: int, folder: Path, a: Amounts, problems: Artifact) -> Artifact:
    """The start's own SFT with another seed, and validation on the way."""
    slow = {"lr": 2e-3, "warmup": 0.05, "schedule": "linear", "final": 0.3}
    validation = {"every": max(1, a.sft // 10), "problems": 256, "max_tokens": 64}
    config = {"steps": a.sft, "batch_size": 16, "optimizer": slow, "validation": validation}
    base, traces = Checkpoint(folder / "base", "base"), Samples(folder / "traces", "traces")
    return stage("sft", where, config, seed=seed, model=base, traces=traces, problems=problems)


def preferred(
    name: str, where: Path, seed: int, folder: Path, o: Offline, problems: Artifact, model: Artifact
) -> Artifact:
    """Samples of the model's own, pairs of them, and a training on these; another seed is another draw of all."""
    asked = {"limit": o.sampled, "n": 8, "max_tokens": 64}
    sampled = stage("sample", folder / f"sampled-{seed}", asked, seed=seed, model=model, problems=problems)
    pairs = stage("pairs", folder / f"pairs-{seed}", {}, seed=seed, samples=sampled)
    config = {
        **PREFERENCE[name],
        "steps": o.steps,
        "optimizer": {"lr": o.rate, "warmup": 0.1, "schedule": "linear", "final": 0.25},
        "checkpoints": {"every": o.every},
    }
    return stage("dpo", where, config, seed=seed, model=model, pairs=pairs)


def on_the_way(folder: Path, problems: Artifact, model: Artifact, trained: Artifact) -> list[tuple[int, float]]:
    """(step, validation accuracy) of the start and of every checkpoint that was kept."""
    asked = {"checkpoints": "all", "split": "validation", "limit": 256, "temperature": 0, "max_tokens": 64}
    scores = stage("eval", folder / f"way-{trained.path.name}", asked, models=[model, trained], problems=problems)
    assert isinstance(scores, Scores)
    entries = scores.read()["entries"]
    first = [(0, e["accuracy"]) for e in entries if e["model"] == model.path.name]
    return [*first, *sorted((e["step"], e["accuracy"]) for e in entries if e["model"] != model.path.name)]


def learn(name: str, seed: int, folder: Path, a: Amounts, o: Offline) -> dict[str, Any]:
    """One training, its accuracy on the way, and its paired comparison with what it began from."""
    problems, begun = start(folder, a)
    where = folder / f"{name}-seed-{seed}"
    if name == "sft":
        before: Artifact = Checkpoint(folder / "base", "base")
        trained = sft(where, seed, folder, a, problems)
        line = curve(trained)
    else:
        before = begun
        trained = preferred(name, where, seed, folder, o, problems, begun)
        line = on_the_way(folder, problems, begun, trained)
    found = answers(folder, problems, before, trained)
    first, last = found[before.path.name], found[trained.path.name]
    paired = compare(first, last).paired
    return {
        "algorithm": name,
        "seed": seed,
        "before": first.entry["accuracy"],
        "after": last.entry["accuracy"],
        "difference": paired.difference,
        "p": paired.p,
        "curve": line,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where everything is made, and reused")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=["sft", *PREFERENCE], default=list(PREFERENCE))
    parser.add_argument("--rate", type=float, default=Offline.rate)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    a, o = Amounts(), Offline(rate=given.rate)
    facts = machine()
    rows = []
    for seed in given.seeds:
        for name in given.only:
            row = learn(name, seed, given.folder.resolve(), a, o)
            rows.append(row)
            sys.stdout.write(f"{name:<10} seed {seed}: {row['before']:.1%} → {row['after']:.1%}, p = {row['p']:.1e}\n")
            sys.stdout.flush()
    if given.json:
        amounts = {**dataclasses.asdict(a), **({} if given.only == ["sft"] else dataclasses.asdict(o))}
        how = (SFT if given.only == ["sft"] else PAIRS).format(**amounts)
        result = {"title": "what offline losses bring", "how": how, "machine": facts, "amounts": amounts, "rows": rows}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({**result, "ratios": {}}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
