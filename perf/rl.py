"""One step of reinforcement learning beside TRL's GRPOTrainer: ``python -m perf.rl [--quick] [--json FILE]``.

Same random weights, prompts, groups, lengths, precision, loss (token mean, clip 0.2, no KL) and reward on both sides. A
step is everything: sampling, reward, loss, gradient, optimizer. The reward is the share of even token ids, which both
can learn, so that the curves can be laid on top of one another.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from perf.engines import HALF_B, SMALL, build
from perf.harness import Results, Row, machine
from posttrain.data.synthetic import LEVELS
from posttrain.data.synthetic import texts as documents
from posttrain.engines import NativeEngine
from posttrain.models import load_model, load_tokenizer, save_model, train_tokenizer
from posttrain.prompts import get_template
from posttrain.records import Problem, Sample
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.rl.learner import Learner
from posttrain.rl.rollouts import Collector, batch_of
from posttrain.training.update import Updater

PEER = Path(__file__).with_name("trl_grpo.py")
PYTHON = Path(__file__).parents[1] / ".venv-perf" / "bin" / "python"


@dataclass(frozen=True)
class Case:
    """What both sides do in a step. stop: probability of the end at each token, or None for that of chance."""

    ratio: str
    shape: dict[str, int]
    prompts: int = 8
    group: int = 8
    prompt_tokens: int = 48
    max_tokens: int = 128
    dtype: str = "float32"
    stop: float | None = None
    lr: float = 1e-6


CASES = (
    Case("fp32_vs_trl", SMALL),
    Case("bf16_vs_trl", SMALL, dtype="bfloat16"),
    Case("longtail_vs_trl", SMALL, max_tokens=256, stop=1 / 60),
    Case("half_b_vs_trl", HALF_B, prompts=1, max_tokens=32),
)
TINY = {**SMALL, "hidden_size": 32, "layers": 2, "heads": 2, "kv_heads": 2, "intermediate_size": 64}


def prepare(case: Case, folder: Path) -> list[str]:
    """Writes the model and its tokenizer; returns the prompts as text, each of about `prompt_tokens` tokens."""
    tokenizer = train_tokenizer(corpus_text(), min(case.shape["vocab_size"], 2048))
    model = build(case.shape, torch.float32)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    if case.stop is not None:
        _end_with(model, int(tokenizer.eos_token_id), case.stop)
    save_model(model, tokenizer, folder)
    draw = random.Random(0)
    ids = [i for i in range(64, len(tokenizer)) if tokenizer.decode([i]).strip().isalpha()]
    return [
        " ".join(tokenizer.decode([draw.choice(ids)]).strip() for _ in range(case.prompt_tokens // 2))
        for _ in range(max(64, case.prompts))
    ]


def corpus_text() -> list[str]:
    return [p.question for p in documents(0, "train", 4000, list(LEVELS))]


def _end_with(model: Any, token: int, probability: float) -> None:
    """Gives `token` about that probability at every position, whatever came before.

    All embeddings get one direction in common, which then dominates every hidden state; along it the token stands out.
    """
    with torch.no_grad():
        table = model.get_input_embeddings().weight
        direction = torch.nn.functional.normalize(torch.ones(table.shape[1]), dim=0)
        table += direction
        strength = table.shape[1] ** 0.5  # of a hidden state along the direction, after the final norm
        table[token] += direction * (torch.tensor(probability * table.shape[0]).log() / strength)


class Ours:
    """posttrain's step, assembled from the parts that the stage `rl` uses."""

    def __init__(self, case: Case, folder: Path, texts: list[str], steps: int) -> None:
        self.config = RLConfig.model_validate(
            {
                "template": "plain",
                "grading": "gsm8k",
                "prompts": case.prompts,
                "group": case.group,
                "max_tokens": case.max_tokens,
                "dtype": case.dtype,
                "steps": steps,
                "optimizer": {"lr": case.lr, "schedule": "constant"},
                "reward": {"correct": 0.0},
                "max_batch": case.prompts * case.group,
            }
        )
        tokenizer, policy = load_tokenizer(folder), load_model(folder)
        problems = [Problem(str(i), text, "0") for i, text in enumerate(texts)]
        template = replace(get_template("plain"), end=lambda t: int(t.eos_token_id))
        self.pad = int(tokenizer.pad_token_id)
        narrow = torch.bfloat16 if case.dtype == "bfloat16" else None  # as the stage samples
        engine = NativeEngine(
            policy, pad_id=self.pad, max_batch=self.config.max_batch, tokenizer=tokenizer, dtype=narrow
        )
        drawer = Drawer(self.config, problems, 0)
        self.collector = EvenIds(self.config, engine, tokenizer, template, None, drawer, 0)
        updater = Updater.make(policy, self.config.optimizer, steps)
        self.learner = Learner(self.config, policy, None, updater, trust_sampler=case.dtype == "float32")
        self.done = 0

    def step(self) -> dict[str, float]:
        began = time.perf_counter()
        batch = batch_of(self.collector.collect(self.done + 1))
        trained = self.learner.learn(batch.rollouts, self.done, self.pad)
        self.done += 1
        return {
            "seconds": time.perf_counter() - began,
            "seconds_sampling": self.collector.seconds["sampling"],
            "seconds_grading": self.collector.seconds["grading"],
            "seconds_training": trained["seconds_training"],
            "reward": batch.metrics["reward"],
            "tokens": batch.metrics["sampled_tokens"],
            "effective_samples": batch.metrics["effective_samples"],
        }


class EvenIds(Collector):
    """Rewards the share of even token ids, as the peer does."""

    def rewarded(self, samples: list[Sample], step: int, problems: Mapping[str, Problem]) -> list[Sample]:
        self.distance = lambda given: [-_even(s.token_ids or ()) for s in given]
        self.config = self.config.model_copy(update={"kl": 1.0})  # the distance's weight
        return super().rewarded(samples, step, problems)


def _even(ids: Sequence[int]) -> float:
    return sum(i % 2 == 0 for i in ids) / len(ids)


@contextlib.contextmanager
def trl(case: Case, folder: Path, texts: list[str], steps: int, threads: int) -> Iterator[Any]:
    """A function that lets TRL take a step and returns what it said of it."""
    task = {
        "folder": str(folder),
        "texts": texts,
        "threads": threads,
        "device": "cpu",
        "steps": steps,
        **{name: getattr(case, name) for name in ("prompts", "group", "max_tokens", "dtype", "lr")},
    }
    process = subprocess.Popen(
        [PYTHON, PEER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": "", "TOKENIZERS_PARALLELISM": "false"},
        stderr=None if os.environ.get("PERF_LOUD") else subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(task) + "\n")
    process.stdin.flush()

    def said() -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit("TRL ended early; PERF_LOUD=1 shows why")
        return line

    assert said() == "ready\n"

    def step() -> dict[str, float]:
        assert process.stdin is not None
        process.stdin.write("step\n")
        process.stdin.flush()
        found: dict[str, float] = json.loads(said())
        return found

    try:
        yield step
    finally:
        process.stdin.close()
        process.kill()
        process.wait()


def measure(results: Results, case: Case, rounds: int, threads: int) -> dict[str, list[dict[str, float]]]:
    """Steps by turns after one of warm-up each; the ratio of a round is TRL's seconds per token over ours."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = prepare(case, folder)
        ours = Ours(case, folder, texts, rounds + 1)
        rows: dict[str, list[dict[str, float]]] = {"posttrain": [], "trl": []}
        with trl(case, folder, texts, rounds + 1, threads) as step:
            ours.step()
            step()
            for _ in range(rounds):
                rows["posttrain"].append(ours.step())
                rows["trl"].append(step())
    samples = case.prompts * case.group
    for who, taken in rows.items():
        results.rows.append(Row(case.ratio, who, samples, "samples", [row["seconds"] for row in taken]))
    each = [
        (theirs["seconds"] / theirs["tokens"]) / (mine["seconds"] / mine["tokens"])
        for mine, theirs in zip(rows["posttrain"], rows["trl"], strict=True)
    ]
    results.ratios[case.ratio], results.spread[case.ratio] = statistics.median(each), (min(each), max(each))
    return rows


def phases(rows: list[dict[str, float]]) -> dict[str, float]:
    """Median seconds of our step by phase, and samples with a signal per second."""
    names = ("seconds", "seconds_sampling", "seconds_grading", "seconds_training")
    found = {name: round(statistics.median(row[name] for row in rows), 4) for name in names}
    rates = [row["effective_samples"] / row["seconds"] for row in rows]
    return {**found, "effective_samples_per_s": round(statistics.median(rates), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds, without the 0.5B shape and the curves")
    parser.add_argument("--tiny", action="store_true", help="few weights: checks the script, measures nothing")
    parser.add_argument("--only", help="one ratio")
    parser.add_argument("--curves", type=int, default=40, help="steps of the reward curves")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("no .venv-perf: `make perf-env` builds it")
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    results = Results("one step of reinforcement learning, beside TRL's GRPOTrainer", machine())
    found: dict[str, Any] = {}
    curves: dict[str, list[float]] = {}
    for case in CASES:
        if options.only not in (None, case.ratio) or (options.quick and case.shape is HALF_B):
            continue
        small = replace(case, shape=TINY, max_tokens=16) if options.tiny else case
        rounds = 3 if options.quick or case.shape is HALF_B else 7
        found[case.ratio] = phases(measure(results, small, rounds, options.threads)["posttrain"])
        write(options.json, results, found, curves)
    if not options.quick and options.only is None:
        case = replace(CASES[0], lr=1e-3, shape=TINY if options.tiny else SMALL, max_tokens=32)
        taken = measure(Results("curves", {}), case, options.curves, options.threads)
        curves |= {who: [round(row["reward"], 4) for row in rows] for who, rows in taken.items()}
        write(options.json, results, found, curves)
    results.show()
    for name, said in found.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value}" for key, value in said.items()) + "\n")
    for who, rewards in curves.items():
        sys.stdout.write(f"reward, {who}: {rewards[0]:.3f} → {rewards[-1]:.3f} in {len(rewards)} steps\n")


def write(path: Path | None, results: Results, found: Mapping[str, Any], curves: Mapping[str, Any]) -> None:
    """All that is known so far: an interrupted run keeps it."""
    if path is None:
        return
    results.write(path)
    told = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**told, "phases": found, "reward_curves": curves}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
