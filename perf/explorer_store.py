"""A run as the other rooms would have written it, made of dice: for the explorer's tests and measurements.

Problems with a difficulty, checkpoints with a growing ability; from one checkpoint to the next a trace keeps most of
its sentences, so that differences look like differences. Nothing is trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from posttrain.records import Problem, problems_to_table, sample_schema, verdict_schema
from posttrain.store import Manifest, write_json, write_table
from posttrain.tracking import Metrics

SENTENCES = 7  # of a trace
CHANGED = 0.16  # of them from one checkpoint to the next
PIECE = re.compile(r" ?\w+|\s+|[^\w\s]")
THINGS = ("marbles", "apples", "tickets", "pencils", "pages", "miles", "coins", "stamps", "bottles", "seeds")
PEOPLE = ("Mia", "Noah", "Ada", "Ravi", "Lena", "Omar", "Ines", "Tom")
SHAPES = (
    "{who} starts with {a} {what}.",
    "First, ${a} \\times {b} = {ab}$, so there are {ab} {what}.",
    "Adding {b} more gives ${a} + {b} = {sum}$.",
    "Wait, let me check that again: {a} and {b} make {sum}.",
    "Half of {ab} is \\(\\frac{{{ab}}}{{2}} = {half}\\).",
    "Actually, {who} gave {b} {what} away, so we subtract {b}.",
    "Each of the {b} friends gets {a} {what}.",
    "So far that is {sum} {what} in total.",
    "Alternatively, we can count the {what} one by one.",
    "The remaining {what} are ${ab} - {a} = {rest}$.",
)


@dataclass(frozen=True)
class Size:
    """How much of everything. rollouts: steps of them that are kept."""

    checkpoints: int = 20
    problems: int = 500
    samples: int = 4
    rollouts: int = 6
    seed: int = 0


class Pieces:
    """A vocabulary that grows with what is written: one id for every word with its blank."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        return [self.ids.setdefault(piece, len(self.ids)) for piece in PIECE.findall(text)]

    def write(self, path: Path) -> None:
        """A tokenizer.json of the byte-level kind, with the end of a turn as its last token."""
        signs = _signs()
        vocabulary = {"".join(signs[b] for b in piece.encode()): i for piece, i in self.ids.items()}
        end = {"id": len(vocabulary), "content": "<|im_end|>", "special": True}
        write_json(
            path,
            {
                "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
                "pre_tokenizer": {"type": "ByteLevel"},
                "decoder": {"type": "ByteLevel"},
                "added_tokens": [end],
            },
        )


def make_run(root: Path, size: Size) -> Path:
    """problems/, rl/ with curves, validation, rollouts and certificate, and sweep/ over its checkpoints."""
    rng = np.random.default_rng(size.seed)
    pool, pieces = _pool(rng), Pieces()
    answers = rng.integers(2, 400, size.problems)
    problems = [
        Problem(f"made/{i:06d}", _question(rng, i), str(int(answers[i])), level=1 + i % 3, split="test")
        for i in range(size.problems)
    ]
    _problems(root / "problems", problems)
    _training(root / "rl", problems, pool, pieces, rng, size)
    _sweep(root / "sweep", problems, answers, pool, rng, size)
    pieces.write(root / "rl" / "model" / "tokenizer.json")
    return root


def _pool(rng: np.random.Generator, count: int = 4_000) -> list[str]:
    made = []
    for _ in range(count):
        a, b = int(rng.integers(2, 40)), int(rng.integers(2, 12))
        made.append(
            SHAPES[int(rng.integers(len(SHAPES)))].format(
                who=PEOPLE[int(rng.integers(len(PEOPLE)))],
                what=THINGS[int(rng.integers(len(THINGS)))],
                a=a,
                b=b,
                ab=a * b,
                sum=a + b,
                half=a * b // 2,
                rest=a * b - a,
            )
        )
    return made


def _question(rng: np.random.Generator, i: int) -> str:
    who, what = PEOPLE[i % len(PEOPLE)], THINGS[int(rng.integers(len(THINGS)))]
    a, b = int(rng.integers(3, 90)), int(rng.integers(2, 12))
    return (
        f"{who} has {a} {what} and buys {b} boxes with ${b + 2}$ {what} in each. After giving a third of them to a "
        f"friend, how many {what} does {who} have?"
    )


def manifest(stage: str, kind: str, inputs: dict[str, Any] | None = None, **config: Any) -> Manifest:
    """Of an artifact that is not sealed yet."""
    return Manifest(
        stage=stage,
        kind=kind,
        status="running",
        fingerprint="f" * 64,
        facts={},
        config=config,
        inputs=inputs or {},
        seed=7,
        started="2026-01-05T09:00:00+00:00",
        code={"posttrain": "0.1.0"},
        versions={},
        hardware={"cores": 2},
    )


def finish(folder: Path, made: Manifest, **summary: Any) -> None:
    made.status, made.finished, made.seconds = "finished", "2026-01-05T09:10:00+00:00", 600.0
    made.summary = summary
    made.seal(folder)
    made.write(folder)


def _problems(folder: Path, problems: Sequence[Problem]) -> None:
    write_table(folder / "problems.parquet", problems_to_table(problems))
    finish(folder, manifest("data", "problems", dataset="synthetic"), problems=len(problems))


def _training(
    folder: Path, problems: Sequence[Problem], pool: list[str], pieces: Pieces, rng: np.random.Generator, size: Size
) -> None:
    steps = 10 * size.checkpoints
    folder.mkdir(parents=True)
    with Metrics(folder / "metrics.jsonl") as metrics:
        for step in range(1, steps + 1):
            wave = float(rng.normal(0, 0.02))
            done = step / steps
            metrics.log(
                step,
                loss=0.9 - 0.5 * done + wave,
                reward=0.2 + 0.5 * done + wave,
                accuracy=0.2 + 0.5 * done,
                entropy=0.6 - 0.4 * done,
                length_mean=80 + 40 * done,
                grad_norm=0.4 + wave,
                truncated=0.02,
            )
            if step % 10 == 0:
                metrics.log(step, val_accuracy=0.2 + 0.5 * done + wave, val_loss=0.8 - 0.3 * done)
    log = Metrics(folder / "validation.jsonl")
    for step in range(0, steps + 1, max(10, steps // 4)):
        log.log_many(step, [_validated(p, pool, rng, step / steps) for p in problems[:40]])
    write_json(
        folder / "certificate.json",
        {
            "log-probability parity": {"ok": True, "max": 2.1e-05, "tolerance": "max ≤ 0.0001 (float32)"},
            "the grader decides": {"ok": True, "undecided": 0.0, "n": 1000},
            "groups carry a signal": {"ok": False, "share": 0.04, "tolerance": 0.1},
        },
    )
    for number in range(size.rollouts):
        _rollouts(folder / "rollouts" / f"step-{10 * (number + 1):06d}", problems[:16], pool, pieces, rng, size, number)
    problems_in = {"name": "problems", "kind": "problems", "path": "../problems", "digest": "d" * 64}
    finish(folder, manifest("rl", "checkpoint", {"problems": problems_in}, steps=steps, group=4), steps=steps)


def _validated(problem: Problem, pool: list[str], rng: np.random.Generator, done: float) -> dict[str, Any]:
    right = bool(rng.random() < 0.2 + 0.6 * done)
    said = problem.answer if right else str(int(problem.answer or 0) + 1)
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "gold": problem.answer,
        "extracted": said,
        "response": f"{pool[int(rng.integers(len(pool)))]}\nThe answer is {said}.",
        "correct": right,
        "reason": "correct" if right else "wrong",
        "tokens": 20,
        "truncated": False,
    }


def _rollouts(
    folder: Path,
    problems: Sequence[Problem],
    pool: list[str],
    pieces: Pieces,
    rng: np.random.Generator,
    size: Size,
    number: int,
) -> None:
    rows, verdicts, tokens = [], [], []
    step = 10 * (number + 1)
    for problem in problems:
        for index in range(size.samples):
            right = bool(rng.random() < 0.3 + 0.1 * number)
            said = problem.answer if right else str(int(problem.answer or 0) + 3)
            picks = rng.integers(0, len(pool), SENTENCES)
            text = " ".join(pool[i] for i in picks) + f"\nThe answer is \\boxed{{{said}}}."
            ids = pieces.encode(text)
            surprise = rng.exponential(0.3, len(ids)) ** 2
            rows.append(
                {
                    "problem_id": problem.id,
                    "index": index,
                    "question": problem.question,
                    "response": text,
                    "source": "policy",
                    "gold": problem.answer,
                    "token_ids": ids,
                    "logprobs": list(-surprise),
                    "finish_reason": "stop",
                    "reward": float(right),
                    "advantage": 1.0 if right else -0.6,
                    "step": step,
                }
            )
            verdicts.append(
                {
                    "problem_id": problem.id,
                    "index": index,
                    "step": step,
                    "correct": right,
                    "format_ok": True,
                    "extracted": said,
                    "reason": "correct" if right else "wrong",
                }
            )
            tokens.append(
                {
                    "problem_id": problem.id,
                    "index": index,
                    "step": step,
                    "logprobs": list(-surprise),
                    "entropy": list(rng.exponential(0.4, len(ids))),
                }
            )
    write_table(folder / "samples.parquet", pa.Table.from_pylist(rows, schema=sample_schema()))
    write_table(folder / "verdicts.parquet", pa.Table.from_pylist(verdicts, schema=verdict_schema()))
    numbers = pa.list_(pa.float32())
    write_table(
        folder / "tokens.parquet",
        pa.Table.from_pylist(
            tokens,
            schema=pa.schema(
                [
                    ("problem_id", pa.string()),
                    ("index", pa.int32()),
                    ("step", pa.int64()),
                    ("logprobs", numbers),
                    ("entropy", numbers),
                ]
            ),
        ),
    )


def _sweep(
    folder: Path,
    problems: Sequence[Problem],
    answers: np.ndarray,
    pool: list[str],
    rng: np.random.Generator,
    size: Size,
) -> None:
    n, k = size.problems, size.samples
    difficulty = rng.random(n)
    picks = rng.integers(0, len(pool), (n, k, SENTENCES))
    entries = []
    for c in range(size.checkpoints):
        moved = rng.random(picks.shape) < CHANGED
        picks = np.where(moved, rng.integers(0, len(pool), picks.shape), picks)
        ability = 0.25 + 0.5 * c / max(1, size.checkpoints - 1)
        right = rng.random((n, k)) < (1 / (1 + np.exp(10 * (difficulty - ability))))[:, None]
        label = f"step-{50 * (c + 1):06d}"
        _checkpoint(folder / label / "made", problems, answers, pool, picks, right, rng)
        entries.append(_entry(label, 50 * (c + 1), right, n, k))
    write_json(folder / "scores.json", {"version": 1, "entries": entries})
    given = [{"name": "rl", "kind": "checkpoint", "path": "../rl", "digest": "e" * 64}]
    finish(folder, manifest("sweep", "scores", {"run": given}, benchmarks=["made"]), checkpoints=size.checkpoints)


def _checkpoint(
    folder: Path,
    problems: Sequence[Problem],
    answers: np.ndarray,
    pool: list[str],
    picks: np.ndarray,
    right: np.ndarray,
    rng: np.random.Generator,
) -> None:
    n, k = right.shape
    said = (answers[:, None] + np.where(right, 0, rng.integers(1, 9, (n, k)))).astype(int)
    texts = [
        " ".join([pool[i] for i in row]) + f"\nThe answer is \\boxed{{{answer}}}."
        for row, answer in zip(picks.reshape(n * k, -1).tolist(), said.ravel().tolist(), strict=True)
    ]
    ids = [p.id for p in problems for _ in range(k)]
    index = pa.array(np.tile(np.arange(k), n), pa.int32())
    tokens = pa.ListArray.from_arrays(
        pa.array(np.arange(n * k + 1) * 120, pa.int32()), pa.array(rng.integers(0, 2000, n * k * 120), pa.int32())
    )
    known = {
        "problem_id": ids,
        "index": index,
        "question": [p.question for p in problems for _ in range(k)],
        "response": texts,
        "source": ["rl"] * (n * k),
        "gold": [p.answer for p in problems for _ in range(k)],
        "token_ids": tokens,
        "finish_reason": ["stop"] * (n * k),
        "split": ["test"] * (n * k),
    }
    schema = sample_schema()
    columns = [
        pa.array(known[f.name], f.type)
        if isinstance(known.get(f.name), list)
        else known[f.name]
        if f.name in known
        else pa.nulls(n * k, f.type)
        for f in schema
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema=schema), folder / "samples.parquet", compression="zstd")
    flags = right.ravel()
    verdicts = {
        "problem_id": ids,
        "index": index,
        "step": pa.nulls(n * k, pa.int64()),
        "correct": pa.array(flags),
        "format_ok": pa.array(np.ones(n * k, bool)),
        "extracted": [str(a) for a in said.ravel()],
        "reason": ["correct" if r else "wrong" for r in flags.tolist()],
        "isolation": pa.nulls(n * k, pa.string()),
    }
    pq.write_table(pa.table(verdicts, schema=verdict_schema()), folder / "verdicts.parquet", compression="zstd")


def _entry(label: str, step: int, right: np.ndarray, n: int, k: int) -> dict[str, Any]:
    value = float(right.mean())
    half = 1.96 * float(right.mean(axis=1).std()) / n**0.5
    return {
        "model": label,
        "benchmark": "made",
        "fingerprint": "made-1",
        "n": n,
        "samples_per_item": k,
        "accuracy": value,
        "interval": [max(0.0, value - half), min(1.0, value + half)],
        "confidence": 0.95,
        "step": step,
        "truncation_rate": 0.0,
        "unparsed_rate": 0.0,
        "undecided_rate": 0.0,
        "folder": f"{label}/made",
        "settings": {"benchmark": "made", "grading": "math"},
    }


def _signs() -> dict[int, str]:
    """GPT-2's printable sign for every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + n) for n, b in enumerate(others)}
