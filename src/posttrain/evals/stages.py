"""The `eval` stage: every model answers every benchmark; generations, verdicts and scores, resumable per sample.

Imports no torch: engines are opened inside the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from posttrain.benchmarks import Benchmark, slug
from posttrain.evals.chosen import check_names, chosen_benchmarks, weights_digest
from posttrain.evals.comparison import MAX_UNDECIDED
from posttrain.evals.config import AskingConfig, EvalConfig
from posttrain.evals.external import run_suites
from posttrain.evals.forecast import forecast
from posttrain.evals.likelihood import CHOICE, NORMALISED_CHOICE
from posttrain.evals.metrics import lengths, measure, share
from posttrain.evals.model_run import ModelRun
from posttrain.evals.sharding import make_parts, part_names
from posttrain.evals.sweep import step_of, with_checkpoints
from posttrain.evals.table import percent
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Parts, Workspace
from posttrain.stats import estimate_accuracy
from posttrain.store import Checkpoint, Problems, Scores

SCORES_VERSION = 1


def evaluate(config: EvalConfig, models: list[Checkpoint], work: Workspace, problems: Problems | None = None) -> Scores:
    """Answers and scores of every model on every benchmark.

    Writes scores.json, <model>/<benchmark>/samples.parquet and verdicts.parquet, and timing.json (which no digest
    covers). An interrupted evaluation keeps each finished sample and ends with the same bytes as an uninterrupted one;
    of other suites it keeps each finished task.
    """
    benchmarks = chosen_benchmarks(config, problems, may_be_none=bool(config.suites))
    models = with_checkpoints(models, config.checkpoints)
    check_names([m.label for m in models], "models")
    found: dict[str, list[dict[str, Any]]] = {"entries": [], "ungraded": []}
    timing: list[dict[str, Any]] = []
    digests = [weights_digest(model) for model in models]
    for model, digest in zip(models, digests, strict=True):
        run = ModelRun(config, model, work, digest)
        with closing(run):
            for benchmark in benchmarks:
                samples = run.answer(benchmark)
                entry = entry_of(config, model, benchmark, samples, digest, step_of(model))
                found["entries" if benchmark.graded else "ungraded"].append(entry)
                write_samples(work, entry["folder"], samples)
                work.note(line_of(entry))
        timing.extend(run.timing)
        if config.results:
            work.write_json("evaluation_results.json", found["entries"])
    measures = _add_suites(config, models, digests, work, found["entries"])
    entries = found["entries"]
    undecided = max((e["undecided_rate"] for e in entries), default=0.0)
    work.certify("the grader decides", undecided <= MAX_UNDECIDED, undecided=undecided, tolerance=MAX_UNDECIDED)
    work.write_json("timing.json", timing)
    rest = {key: rows for key, rows in (("ungraded", found["ungraded"]), ("measures", measures)) if rows}
    work.write_json("scores.json", {"version": SCORES_VERSION, "entries": entries, **rest})
    work.summarise(**{f"{e['model']} on {e['benchmark']}": round(e["accuracy"], 4) for e in entries})
    return Scores(work.dir)


def _add_suites(
    config: EvalConfig,
    models: Sequence[Checkpoint],
    digests: Sequence[str],
    work: Workspace,
    entries: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Runs the other suites; their entries join ours, and their measures are returned."""
    if not config.suites:
        return []
    theirs, answers, measures = run_suites(config.suites, models, digests, config.dtype, work)
    for entry, (folder, samples) in zip(theirs, answers, strict=True):
        write_samples(work, folder, samples)
        work.note(line_of(entry))
    entries += theirs
    return measures


evaluate.forecast = forecast  # type: ignore[attr-defined]
evaluate.parts = Parts(part_names, make_parts)  # type: ignore[attr-defined]


def entry_of(
    config: AskingConfig,
    model: Checkpoint,
    benchmark: Benchmark,
    samples: Sequence[Sample],
    digest: str,
    step: int | None,
) -> dict[str, Any]:
    """One entry of scores.json. Answers without verdicts have their number, lengths and truncation."""
    entry = {
        "model": model.label,
        "benchmark": benchmark.name,
        "fingerprint": benchmark.fingerprint,
        **(measure(samples) if benchmark.graded else _ungraded(samples)),
        **({"step": step} if step is not None else {}),
        "weights": digest,
        "folder": f"{slug(model.label)}/{benchmark.slug}",
        "engine": {"name": config.engine, "dtype": config.dtype},
        "settings": benchmark.settings(),
    }
    if benchmark.likelihood is not None:
        entry |= _choices(samples)
    if entry["mean_logprob"] is not None and benchmark.sampling.temperature > 0:
        # The mean of −log q over draws from q: an unbiased estimate of the entropy of the next token, in nats.
        entry["entropy"] = -entry["mean_logprob"]
    return entry


def _ungraded(samples: Sequence[Sample]) -> dict[str, Any]:
    problems = len({s.problem_id for s in samples})
    return {
        "n": problems,
        "samples_per_item": len(samples) // problems,
        "truncation_rate": share(s.truncated for s in samples),
        **lengths(samples),
    }


def _choices(samples: Sequence[Sample]) -> dict[str, Any]:
    """acc and acc_norm as lm-eval defines them, with intervals; and how many prompts lost their beginning."""
    found: dict[str, Any] = {}
    for name, key in (("acc", CHOICE), ("acc_norm", NORMALISED_CHOICE)):
        estimate = estimate_accuracy([float(s.extra[key] == s.gold) for s in samples])
        found |= {name: estimate.value, f"{name}_interval": [estimate.low, estimate.high]}
    return found | {"prompts_cut": sum("prompt_tokens_cut" in s.extra for s in samples)}


def write_samples(work: Workspace, folder: str, samples: Sequence[Sample]) -> None:
    """`samples.parquet` and `verdicts.parquet` in a folder of the artifact."""
    generations, verdicts = samples_to_tables(samples)
    work.write_table(f"{folder}/samples.parquet", generations)
    work.write_table(f"{folder}/verdicts.parquet", verdicts)


def line_of(entry: dict[str, Any]) -> str:
    """An entry in one line, for the person who watches."""
    whose = f"{entry['model']} on {entry['benchmark']}"
    if "accuracy" not in entry:
        return f"{whose}: {entry['n']:,} answers kept for a judge, truncated {percent(entry['truncation_rate'])}"
    low, high = entry["interval"]
    return (
        f"{whose}: {100 * entry['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}], n = {entry['n']:,}, "
        f"truncated {percent(entry['truncation_rate'])}, unparsed {percent(entry['unparsed_rate'])}"
    )
