"""One checkpoint of a sweep: its answers to every problem set, written as they stand, and what is kept of them for the
end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from posttrain import __version__
from posttrain.benchmarks import Benchmark, slug
from posttrain.evals.analytics import profile
from posttrain.evals.metrics import judged
from posttrain.evals.model_run import ModelRun
from posttrain.evals.stages import entry_of, line_of, write_samples
from posttrain.evals.sweep.config import SweepConfig
from posttrain.evals.sweep.points import Point
from posttrain.records import Sample
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, fingerprint, write_atomic, write_json

if TYPE_CHECKING:
    from posttrain.engines.base import Engine

Serve = Callable[[Checkpoint], "tuple[Engine, Any]"]
Digest = dict[str, Any]


def answer_point(
    config: SweepConfig, benchmarks: Sequence[Benchmark], point: Point, work: Workspace, serve: Serve
) -> Digest:
    """Answers, verdicts and traces of one checkpoint below its label; returns what the end of the sweep needs of them.

    {"entries": those of scores.json, "items": benchmark → {"ids", "scores", "undecided"}, "profiles": benchmark →
    measures, "timing": …}. A checkpoint that an earlier attempt finished is not opened again.
    """
    key = _key(config, benchmarks, point, work)
    kept = read_point(work, point)
    if kept is not None and kept["key"] == key:
        return kept
    digest: Digest = {"key": key, "entries": [], "items": {}, "profiles": {}}
    checkpoint = point.open()
    run = ModelRun(config, checkpoint, work, point.weights, serve=serve, version=point.step)
    with closing(run):
        for benchmark in benchmarks:
            samples = run.answer(benchmark)
            entry = entry_of(config, checkpoint, benchmark, samples, point.weights, point.step)
            write_samples(work, entry["folder"], samples)
            if config.traces:
                _write_traces(work.dir / entry["folder"] / "traces.jsonl", samples, point.step)
            digest["entries"].append(entry)
            digest["profiles"][benchmark.name] = {name: list(m) for name, m in profile(samples).items()}
            if benchmark.graded:
                table = judged(samples)
                digest["items"][benchmark.name] = {
                    "ids": list(table.items),
                    "scores": table.scores.tolist(),
                    "undecided": table.undecided_rate,
                }
            work.note(line_of(entry))
    digest["timing"] = run.timing
    write_json(_place(work, point), digest)
    return digest


def read_point(work: Workspace, point: Point) -> Digest | None:
    """What an attempt kept of a checkpoint that it finished; None for one that it didn't."""
    path = _place(work, point)
    if not path.is_file():
        return None
    digest: Digest = json.loads(path.read_text(encoding="utf-8"))
    return digest


def _place(work: Workspace, point: Point) -> Path:
    return work.state / slug(point.label) / "finished.json"


def _key(config: SweepConfig, benchmarks: Sequence[Benchmark], point: Point, work: Workspace) -> str:
    asked = {b.name: b.fingerprint for b in benchmarks}
    facts = {"weights": point.weights, "asked": asked, "seed": config.seed, "stage": work.seed, "traces": config.traces}
    return fingerprint({**facts, "engine": config.engine, "dtype": config.dtype, "code": __version__})


def _write_traces(path: Path, samples: Sequence[Sample], step: int) -> None:
    with write_atomic(path) as file:
        for sample in samples:
            file.write((json.dumps(_row(sample, step), ensure_ascii=False) + "\n").encode("utf-8", errors="replace"))


def _row(sample: Sample, step: int) -> dict[str, Any]:
    """One answer as people and other tools read it."""
    verdict = sample.verdict
    return {
        "step": step,
        "problem_id": sample.problem_id,
        "index": sample.index,
        "question": sample.question,
        "response": sample.response,
        "gold": sample.gold,
        "correct": verdict.correct if verdict else None,
        "extracted": verdict.extracted if verdict else None,
        "reason": verdict.reason if verdict else None,
        "truncated": sample.truncated,
        "tokens": len(sample.token_ids) if sample.token_ids is not None else None,
    }
