"""Our samples in the format of lm-eval's sample logs, for tools that read those.

As loggers/evaluation_tracker.py of lm_eval 0.4.13 writes them: one `samples_<task>_<date>.jsonl` per benchmark and a
`results_<date>.json`, below a folder named after the model. What was shown before a question is not in our samples: the
prompt here is the question.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from posttrain.benchmarks import slug
from posttrain.evals.comparison import Answers
from posttrain.evals.likelihood import CHOICE, NORMALISED_CHOICE
from posttrain.evals.metrics import group_by_item, verdict_of
from posttrain.evals.store import read_answers
from posttrain.grading.choice import LETTERS
from posttrain.records import Sample
from posttrain.store import Scores, write_atomic, write_json

Row = dict[str, Any]


def export_lm_eval(scores: Scores, out: Path) -> list[Path]:
    """Writes every model's samples below `out`; the files, results last. The date is that of the scores."""
    made: list[Path] = []
    changed = datetime.fromtimestamp((scores.path / "scores.json").stat().st_mtime, UTC)
    date = changed.strftime("%Y-%m-%dT%H-%M-%S.%f")
    results: dict[str, Row] = {}
    for answers in read_answers([scores]):
        folder = out / slug(answers.model)
        path = folder / f"samples_{slug(answers.benchmark)}_{date}.jsonl"
        rows = rows_of(answers)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        with write_atomic(path) as file:
            file.write(lines.encode("utf-8", errors="surrogatepass"))
        made.append(path)
        results.setdefault(answers.model, {})[slug(answers.benchmark)] = _result(answers, rows)
    for model, tasks in results.items():
        path = out / slug(model) / f"results_{date}.json"
        write_json(path, {"results": tasks, "model_name": model, "date": changed.timestamp()})
        made.append(path)
    return made


def rows_of(answers: Answers) -> list[Row]:
    """One row per problem, in order."""
    return [_row(number, group) for number, group in enumerate(group_by_item(answers.samples).values())]


def _row(number: int, group: Sequence[Sample]) -> Row:
    first = group[0]
    choices = first.extra.get("choices")
    doc = {"id": first.problem_id, "question": first.question, "answer": first.gold} | (
        {"choices": choices} if choices else {}
    )
    target = first.gold or ""
    scored = first.extra.get("loglikelihoods") if CHOICE in first.extra else None
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        **(_scored(first, scored) if scored else _generated(group)),
        "filter": "none",
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(first.question),
        "target_hash": _hash(target),
    }


def _generated(group: Sequence[Sample]) -> Row:
    verdicts = [verdict_of(s) for s in group]
    found = [v.extracted if v.extracted is not None else "[invalid]" for v in verdicts]
    return {
        "arguments": {"gen_args_0": {"arg_0": group[0].question, "arg_1": {}}},
        "resps": [[s.response for s in group]],
        "filtered_resps": found if len(found) == 1 else [found],
        "metrics": ["exact_match"],
        "exact_match": sum(v.correct is True for v in verdicts) / len(verdicts),
    }


def _scored(sample: Sample, loglikelihoods: Sequence[float]) -> Row:
    replies = [[str(value), "False"] for value in loglikelihoods]
    return {
        "arguments": {
            f"gen_args_{i}": {"arg_0": sample.question, "arg_1": f" {LETTERS[i]}"} for i in range(len(replies))
        },
        "resps": [[reply] for reply in replies],
        "filtered_resps": replies,
        "metrics": ["acc", "acc_norm"],
        "acc": float(sample.extra[CHOICE] == sample.gold),
        "acc_norm": float(sample.extra[NORMALISED_CHOICE] == sample.gold),
    }


def _result(answers: Answers, rows: Sequence[Row]) -> Row:
    names = rows[0]["metrics"]
    means = {f"{name},none": sum(row[name] for row in rows) / len(rows) for name in names}
    return {**means, "alias": answers.benchmark, "sample_len": len(rows)}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
