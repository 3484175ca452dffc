"""The `eval` stage: every model answers every benchmark; generations, verdicts and scores, resumable per sample.

Imports no torch: engines are opened inside the function.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain.benchmarks import Benchmark, from_problems, get_benchmark, slug
from posttrain.engines.base import Sampling
from posttrain.errors import RecipeError
from posttrain.evals.answering import answers
from posttrain.evals.comparison import MAX_UNDECIDED
from posttrain.evals.config import EvalConfig
from posttrain.evals.forecast import forecast
from posttrain.evals.journal import Journal
from posttrain.evals.metrics import measure
from posttrain.prompts import get_template
from posttrain.records import Sample, samples_to_tables
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Problems, Scores, digest_files, fingerprint, sha256_file
from posttrain.store.manifest import data_files

if TYPE_CHECKING:
    from posttrain.engines.base import Engine

SCORES_VERSION = 1


def evaluate(config: EvalConfig, models: list[Checkpoint], work: Workspace, problems: Problems | None = None) -> Scores:
    """Answers and scores of every model on every benchmark.

    Writes scores.json, <model>/<benchmark>/samples.parquet and verdicts.parquet, and timing.json (which no digest
    covers). An interrupted evaluation keeps each finished sample and ends with the same bytes as an uninterrupted one.
    """
    benchmarks = chosen_benchmarks(config, problems)
    _check_names([m.label for m in models], "models")
    _check_names([b.name for b in benchmarks], "benchmarks")
    entries: list[dict[str, Any]] = []
    timing: list[dict[str, Any]] = []
    for model in models:
        run = _ModelRun(config, model, work, weights_digest(model))
        with closing(run):
            for benchmark in benchmarks:
                samples = run.answer(benchmark)
                entry = _entry(config, model, benchmark, samples, run.digest)
                entries.append(entry)
                _write_samples(work, entry["folder"], samples)
                work.note(_line(entry))
        timing.extend(run.timing)
    undecided = max(e["undecided_rate"] for e in entries)
    work.certify("the grader decides", undecided <= MAX_UNDECIDED, undecided=undecided, tolerance=MAX_UNDECIDED)
    work.write_json("timing.json", timing)
    work.write_json("scores.json", {"version": SCORES_VERSION, "entries": entries})
    work.summarise(**{f"{e['model']} on {e['benchmark']}": round(e["accuracy"], 4) for e in entries})
    return Scores(work.dir)


evaluate.forecast = forecast  # type: ignore[attr-defined]


def chosen_benchmarks(config: EvalConfig, problems: Problems | None) -> list[Benchmark]:
    """The benchmarks a config asks for, with its template, sampling and grading in place of their own where given."""
    chosen: list[Benchmark] = []
    if problems is not None:
        chosen.append(
            from_problems(
                problems,
                config.split,
                template=config.template or "chat",
                grading=config.grading,
                system=config.system,
                shots=config.shots,
                limit=config.limit,
            )
        )
    chosen += [
        get_benchmark(
            name,
            template=config.template,
            grading=config.grading,
            system=config.system,
            shots=config.shots or None,
            limit=config.limit,
        )
        for name in config.benchmarks
    ]
    if not chosen:
        raise RecipeError("eval has nothing to evaluate on. Add problems: …, or benchmarks: [gsm8k].")
    return [dataclasses.replace(b, sampling=_sampling(config, b.sampling)) for b in chosen]


def _sampling(config: EvalConfig, default: Sampling) -> Sampling:
    names = ("n", "temperature", "top_p", "top_k", "min_p", "max_tokens")
    return dataclasses.replace(default, **{k: v for k in names if (v := getattr(config, k)) is not None})


def _check_names(names: Sequence[str], what: str) -> None:
    """Folders are named after these, so two of one name would overwrite each other."""
    slugs = [slug(n) for n in names]
    twice = sorted({n for n, s in zip(names, slugs, strict=True) if slugs.count(s) > 1})
    if twice:
        raise RecipeError(f"two {what} of this evaluation are called {twice[0]!r}. Give each its own name.")


def weights_digest(checkpoint: Checkpoint) -> str:
    """What answers: a digest of the model's files, or of its hub name and revision."""
    if not checkpoint.model_dir.is_dir():
        return fingerprint({"hub": str(checkpoint.path), "revision": checkpoint.revision})
    folder = checkpoint.model_dir
    return digest_files({name: sha256_file(folder / name) for name in data_files(folder)})


@dataclass
class _ModelRun:
    """One model on its benchmarks: the engine is opened for the first sample that is missing, not before."""

    config: EvalConfig
    model: Checkpoint
    work: Workspace
    digest: str
    engine: Engine | None = None
    tokenizer: Any = None

    def __post_init__(self) -> None:
        self.timing: list[dict[str, Any]] = []

    def answer(self, benchmark: Benchmark) -> list[Sample]:
        """All samples of the benchmark in the order of its problems, then index."""
        seed = self.config.seed if self.config.seed is not None else self.work.derive("eval", benchmark.name)
        facts = {"weights": self.digest, "benchmark": benchmark.fingerprint, "seed": seed}
        key = fingerprint({**facts, "engine": self.config.engine, "dtype": self.config.dtype})
        path = self.work.state / slug(self.model.label) / f"{benchmark.slug}.jsonl"
        n, total = benchmark.sampling.n, len(benchmark.problems) * benchmark.sampling.n
        began, tokens = time.monotonic(), 0
        with (
            Journal(path, key) as journal,
            self.work.progress(total, f"{self.model.label} on {benchmark.name}", "samples") as bar,
        ):
            before = len(journal.samples)
            correct = sum(_is_correct(s) for s in journal.samples.values())
            bar.update(before)
            for start in range(0, len(benchmark.problems), self.config.block):
                block = benchmark.problems[start : start + self.config.block]
                if all((p.id, i) in journal.samples for p in block for i in range(n)):
                    continue
                for sample in self._generate(dataclasses.replace(benchmark, problems=block), seed):
                    if sample.key in journal.samples:
                        continue
                    journal.add(sample)
                    tokens += len(sample.token_ids or ())
                    correct += _is_correct(sample)
                    bar.update(1, accuracy=correct / len(journal.samples))
            samples = [journal.samples[p.id, i] for p in benchmark.problems for i in range(n)]
        seconds = time.monotonic() - began
        self.timing.append(
            {
                "model": self.model.label,
                "benchmark": benchmark.name,
                "seconds": round(seconds, 3),
                "tokens": tokens,
                "tokens_per_second": round(tokens / seconds, 1) if tokens else None,
                "samples_from_an_earlier_attempt": before,
            }
        )
        return samples

    def _generate(self, benchmark: Benchmark, seed: int) -> Any:
        if self.engine is None:
            from posttrain.evals.engines import open_engine

            self.engine, self.tokenizer = open_engine(
                self.model,
                self.config.engine,
                dtype=self.config.dtype,
                device=self.work.device,
                batch=self.config.batch,
                vllm=self.config.vllm,
                logs=self.work.state / "vllm" / slug(self.model.label),
            )
        template = get_template(benchmark.template, shots=benchmark.shots, system=benchmark.system)
        for sample in answers(
            self.engine,
            self.tokenizer,
            benchmark.problems,
            template,
            benchmark.sampling,
            benchmark.grading,
            seed=seed,
            source=self.model.label,
        ):
            # Log-probabilities differ in their last bits with the batch they were computed in; ids don't.
            yield dataclasses.replace(sample, logprobs=None)

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()


def _is_correct(sample: Sample) -> bool:
    return sample.verdict is not None and sample.verdict.correct is True


def _entry(
    config: EvalConfig, model: Checkpoint, benchmark: Benchmark, samples: Sequence[Sample], digest: str
) -> dict[str, Any]:
    """One entry of scores.json."""
    return {
        "model": model.label,
        "benchmark": benchmark.name,
        "fingerprint": benchmark.fingerprint,
        **measure(samples),
        "weights": digest,
        "folder": f"{slug(model.label)}/{benchmark.slug}",
        "engine": {"name": config.engine, "dtype": config.dtype},
        "settings": benchmark.settings(),
    }


def _write_samples(work: Workspace, folder: str, samples: Sequence[Sample]) -> None:
    generations, verdicts = samples_to_tables(samples)
    work.write_table(f"{folder}/samples.parquet", generations)
    work.write_table(f"{folder}/verdicts.parquet", verdicts)


def _line(entry: dict[str, Any]) -> str:
    low, high = entry["interval"]
    return (
        f"{entry['model']} on {entry['benchmark']}: {100 * entry['accuracy']:.1f} % "
        f"[{100 * low:.1f}, {100 * high:.1f}], n = {entry['n']:,}, truncated {100 * entry['truncation_rate']:.1f} %, "
        f"unparsed {100 * entry['unparsed_rate']:.1f} %"
    )
