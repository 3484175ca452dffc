"""One model on its benchmarks: the missing samples are made, the others read from the journal."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from posttrain import __version__
from posttrain.benchmarks import Benchmark, slug
from posttrain.evals.answering import answers
from posttrain.evals.config import AskingConfig
from posttrain.evals.journal import Journal, read_journal
from posttrain.evals.likelihood import likelihood_answers
from posttrain.evals.metrics import MEAN_LOGPROB
from posttrain.prompts import get_template
from posttrain.records import Sample
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, fingerprint

if TYPE_CHECKING:
    from posttrain.engines.base import Engine


@dataclass
class ModelRun:
    """One model on its benchmarks: the engine is opened for the first sample that is missing, not before."""

    config: AskingConfig
    model: Checkpoint
    work: Workspace
    digest: str
    engine: Engine | None = None
    tokenizer: Any = None
    serve: Callable[[Checkpoint], tuple[Engine, Any]] | None = None
    """Who has an engine with the model's weights, and closes it. None: this run opens and closes one of its own."""
    version: int | None = None
    """What samples say of the version of their weights; None = what the engine says."""

    def __post_init__(self) -> None:
        self.timing: list[dict[str, Any]] = []

    def answer(self, benchmark: Benchmark) -> list[Sample]:
        """All samples of the benchmark in the order of its problems, then index."""
        seed, key = self._noise_and_key(benchmark)
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
                part = read_journal(self.work.state / part_of(self.model, benchmark, start), key)
                for sample in [s for s in part if s.key not in journal.samples]:
                    journal.add(sample)
                    correct += _is_correct(sample)
                    bar.update(1, accuracy=correct / len(journal.samples))
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

    def answer_part(self, benchmark: Benchmark, start: int) -> None:
        """The block of problems that begins at `start`, into the journal of its part; what stands there is kept.

        The block is answered in the same company as by `answer`, so it comes out the same wherever it is made.
        """
        seed, key = self._noise_and_key(benchmark)
        block = dataclasses.replace(benchmark, problems=benchmark.problems[start : start + self.config.block])
        with Journal(self.work.state / part_of(self.model, benchmark, start), key) as journal:
            if len(journal.samples) < len(block.problems) * benchmark.sampling.n:
                for sample in self._generate(block, seed):
                    journal.add(sample)

    def _noise_and_key(self, benchmark: Benchmark) -> tuple[int, str]:
        """The seed of the answers, and what they are made from."""
        seed = self.config.seed if self.config.seed is not None else self.work.derive("eval", benchmark.name)
        facts = {"weights": self.digest, "benchmark": benchmark.fingerprint, "seed": seed}
        key = fingerprint({**facts, "engine": self.config.engine, "dtype": self.config.dtype, "code": __version__})
        return seed, key

    def _generate(self, benchmark: Benchmark, seed: int) -> Iterator[Sample]:
        if self.engine is None and self.serve is not None:
            self.engine, self.tokenizer = self.serve(self.model)
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
                server=self.config.server,
                prefill_chunk=self.config.prefill_chunk,
            )
        if benchmark.likelihood is not None:
            yield from likelihood_answers(
                self.engine, self.tokenizer, benchmark, benchmark.problems, source=self.model.label
            )
            return
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
            yield _kept(sample if self.version is None else dataclasses.replace(sample, weights_version=self.version))

    def close(self) -> None:
        if self.engine is not None and self.serve is None:
            self.engine.close()


def part_of(model: Checkpoint, benchmark: Benchmark, start: int) -> str:
    """The file below `.work` with the answers to the block of problems that begins at `start`."""
    return f"parts/{slug(model.label)}/{benchmark.slug}/{start:08d}.jsonl"


def _kept(sample: Sample) -> Sample:
    """What is stored: ids, but only the mean of their log-probabilities, rounded, because the last bits differ with the
    batch that they were computed in."""
    if not sample.logprobs:
        return dataclasses.replace(sample, logprobs=None)
    mean = round(sum(sample.logprobs) / len(sample.logprobs), 3)
    return dataclasses.replace(sample, logprobs=None, extra={**sample.extra, MEAN_LOGPROB: mean})


def _is_correct(sample: Sample) -> bool:
    return sample.verdict is not None and sample.verdict.correct is True
