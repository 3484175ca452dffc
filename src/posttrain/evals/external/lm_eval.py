"""lm-eval (EleutherAI's harness, 0.4.13): the exact command, and its results and sample logs read back.

Written against lm_eval 0.4.13: `_cli/run.py`, `loggers/evaluation_tracker.py`, `models/openai_completions.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posttrain.errors import DataError
from posttrain.evals.external.environment import program
from posttrain.evals.external.job import Job, Outcome, Scored, judged_by_suite, option
from posttrain.records import Sample

INVALID = "[invalid]"  # what its regex filters say of an answer that they find nothing in


def command(job: Job, out: Path, device: str) -> list[str]:
    """What is run. device: cpu, or cuda, of which the process is then shown one."""
    suite, args = job.suite, dict(job.suite.args)
    words = [str(program("lm_eval")), "run", *_model(job, args.pop("model_args", {})), "--tasks", job.task]
    if suite.server is None:
        words += ["--device", device]
    words += option("num_fewshot", suite.shots) + option("limit", suite.limit)
    words += ["--output_path", str(out), "--log_samples"]
    return words + [word for key, value in args.items() for word in option(key, value)]


def _model(job: Job, extra: dict[str, Any]) -> list[str]:
    if job.suite.server is None:
        where = {"pretrained": job.model.ref, "dtype": job.dtype}
        if job.model.revision:
            where["revision"] = job.model.revision
        return ["--model", "hf", *option("model_args", where | extra)]
    address = job.suite.server.rstrip("/")
    where = {
        "model": job.served or job.model.label,
        "base_url": address if address.endswith("/completions") else f"{address}/completions",
        "tokenizer": job.model.ref,
        "tokenizer_backend": "huggingface",
    }
    return ["--model", "local-completions", *option("model_args", where | extra)]


def read(out: Path, job: Job) -> Outcome:
    """What a finished run wrote below `out`. DataError where it is not what this version writes."""
    files = sorted(out.rglob("results_*.json"))
    if not files:
        raise DataError(f"{job.name}: lm-eval ended well and wrote no results below {out}. Is it another version?")
    results = json.loads(files[-1].read_text(encoding="utf-8"))
    by_metric: dict[str, list[tuple[Sample, str]]] = {}
    for path in sorted(out.rglob("samples_*.jsonl")):
        leaf = path.name.removeprefix("samples_").rsplit("_", 1)[0]
        with path.open(encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                for metric, sample in _samples(row, leaf, job):
                    by_metric.setdefault(metric, []).append((sample, _digest(row, leaf, job)))
    scored = tuple(Scored(metric, *_columns(rows)) for metric, rows in sorted(by_metric.items()))
    return Outcome(
        scored,
        _measures(results["results"], job.task),
        str(results.get("lm_eval_version", "unknown")),
        {"task_versions": results.get("versions", {}), "task_shots": results.get("n-shot", {})},
    )


def _digest(row: dict[str, Any], leaf: str, job: Job) -> str:
    """What was asked, and what counts as right. A model's own chat template is its own affair, and stands in no prompt
    that is compared."""
    templated = bool(job.suite.args.get("apply_chat_template"))
    prompt = "" if templated else str(row["prompt_hash"])
    return "/".join((leaf, str(row["doc_id"]), str(row["doc_hash"]), str(row["target_hash"]), prompt))


def _columns(rows: list[tuple[Sample, str]]) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    samples, digests = zip(*rows, strict=True)
    return samples, digests


def _samples(row: dict[str, Any], leaf: str, job: Job) -> Iterator[tuple[str, Sample]]:
    """(metric, Sample) for each of the row's metrics that is a number between 0 and 1."""
    asked = [row["arguments"][f"gen_args_{i}"] for i in range(len(row["arguments"]))]
    scores = _loglikelihoods(row["resps"])
    found = _first(row["filtered_resps"])
    for metric in row["metrics"]:
        value = row.get(metric)
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            continue
        if scores:
            response = _chosen(scores, [str(a.get("arg_1", "")).strip() for a in asked], metric)
            extracted: str | None = response
        else:
            response, extracted = _first(row["resps"]), None if found == INVALID else found
        name = metric if row["filter"] == "none" else f"{metric},{row['filter']}"
        yield (
            name,
            Sample(
                problem_id=f"{leaf}/{row['doc_id']}",
                index=0,
                question=str(asked[0].get("arg_0", "")),
                response=response,
                source=job.model.label,
                gold=str(row["target"]),
                verdict=judged_by_suite(float(value), extracted),
                reward=float(value),
                extra={"loglikelihoods": scores} if scores else {},
            ),
        )


def _chosen(scores: list[float], choices: list[str], metric: str) -> str:
    """The likeliest choice; by the character, in acc_norm."""
    lengths = [max(1, len(c)) if metric == "acc_norm" else 1 for c in choices]
    return max(zip(scores, lengths, choices, strict=True), key=lambda c: c[0] / c[1])[2]


def _loglikelihoods(replies: list[Any]) -> list[float]:
    """Of a multiple choice: [[[ll, greedy]], …] as strings; empty for generated answers."""
    try:
        return [float(reply[0][0]) for reply in replies if isinstance(reply[0], list)]
    except (ValueError, IndexError, TypeError):
        return []


def _first(value: Any) -> str:
    """The first string in nested lists."""
    while isinstance(value, list):
        if not value:
            return ""
        value = value[0]
    return str(value)


def _measures(results: dict[str, dict[str, Any]], task: str) -> dict[str, float]:
    """`metric,filter` → value and `metric_stderr,filter` → its error, of the task or group as a whole."""
    own = results.get(task, {})
    return {
        key: float(value)
        for key, value in own.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and "," in key
    }
