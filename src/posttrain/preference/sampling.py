"""`sample`: answers of a model, graded as they come, stored as Samples; an interrupted attempt goes on."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from posttrain.engines.base import Sampling
from posttrain.errors import DataError
from posttrain.evals.answering import answers
from posttrain.evals.engines import open_engine
from posttrain.preference.config import SampleConfig
from posttrain.prompts import get_template
from posttrain.records import Sample, Verdict, samples_to_tables

if TYPE_CHECKING:
    from posttrain.records import Problem
    from posttrain.stage import Workspace
    from posttrain.store import Checkpoint, Problems

BLOCK = 64  # problems whose answers are journaled together


def sample_answers(config: SampleConfig, model: Checkpoint, problems: Problems, work: Workspace) -> None:
    """Writes samples.parquet and verdicts.parquet. DataError where no answer is kept."""
    chosen = problems.read(config.split)
    random.Random(work.derive("order")).shuffle(chosen)
    chosen = chosen[: config.limit]
    engine, tokenizer = open_engine(model, device=work.device, batch=config.max_batch)
    template = get_template(config.template)
    sampling = Sampling(n=config.n, temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens)
    spec = config.grading or template.grading
    found: list[Sample] = []
    with work.progress(len(chosen), "sample", "problems") as bar:
        for start in range(0, len(chosen), BLOCK):
            block, journal = chosen[start : start + BLOCK], work.state / f"answers-{start:08d}.jsonl"
            if not journal.exists():
                made = list(
                    answers(engine, tokenizer, block, template, sampling, spec, seed=work.seed, source=model.label)
                )
                _write(journal, sorted(made, key=lambda s: s.key))
            found += _read(journal, {p.id: p for p in block}, model.label)
            bar.update(len(block))
    engine.close()
    kept = [s for s in found if config.keep == "all" or (s.verdict is not None and s.verdict.correct)]
    if not kept:
        raise DataError(
            f"of {len(found)} answers of {model.label} none is correct, so none is kept. Start from a better model, "
            "take easier problems, or sample more answers (n)."
        )
    generations, verdicts = samples_to_tables(kept)
    work.write_table("samples.parquet", generations)
    work.write_table("verdicts.parquet", verdicts)
    right = sum(s.verdict is not None and s.verdict.correct is True for s in found)
    work.summarise(answers=len(found), kept=len(kept), accuracy=right / len(found))


def _write(path: Path, samples: list[Sample]) -> None:
    """One line per answer, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for s in samples:
            v = s.verdict
            assert v is not None
            row = [s.problem_id, s.index, s.response, s.token_ids, s.logprobs, s.prompt_ids, s.finish_reason]
            file.write(json.dumps([*row, [v.correct, v.format_ok, v.extracted, v.reason, v.isolation]]) + "\n")
    temporary.rename(path)


def _read(path: Path, by_id: dict[str, Problem], source: str) -> list[Sample]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        problem_id, index, response, ids, logprobs, prompt, finish, verdict = json.loads(line)
        problem = by_id[problem_id]
        found.append(
            Sample(
                problem_id=problem_id,
                index=index,
                question=problem.question,
                response=response,
                source=source,
                gold=problem.answer,
                token_ids=tuple(ids),
                logprobs=tuple(logprobs),
                prompt_ids=tuple(prompt),
                finish_reason=finish,
                verdict=Verdict(*verdict),
                split=problem.split,
            )
        )
    return found
