"""What a judge said of an evaluation's answers, as one number per answer: pairs are made by it.

Reads the tables that the stages `eval` and `judge` leave, and neither room.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from posttrain.errors import DataError
from posttrain.evals import read_answers, read_ungraded
from posttrain.records import Sample
from posttrain.store import Judgements, Samples, Scores

TABLE = "judgements.parquet"
COLUMNS = ("task", "model", "benchmark", "problem_id", "index", "other", "verdict", "preference", "scores")

Key = tuple[str, str, str, int]  # model, benchmark, problem, sample


def judged_answers(answers: Sequence[Samples | Scores], judged: Sequence[Judgements]) -> Iterator[Sample]:
    """Every answer of the evaluations, with what the judge said of it as its reward; None where it said nothing.

    DataError for answers that no judge can have seen, and for judgements of several tasks.
    """
    found = opinions(judged)
    for one in answers:
        if not isinstance(one, Scores):
            raise DataError(
                f"{one.label} holds samples, and a judge looks at evaluations. Give pairs the evaluation that was "
                "judged: samples: NAME of a stage eval."
            )
        for part in (*read_answers([one]), *read_ungraded([one])):
            # The latter where two evaluations have a model of one name.
            names = (part.model, f"{one.label}:{part.model}")
            for s in part.samples:
                keys = [(name, part.benchmark, s.problem_id, s.index) for name in names]
                yield dataclasses.replace(s, reward=next((found[key] for key in keys if key in found), None))


def opinions(judged: Sequence[Judgements]) -> dict[Key, float]:
    """The mean over what was said of an answer: 1 for correct or safe, the mean of its criteria, or the share of
    comparisons that it won; the answer that others were compared with has ½."""
    rows = [row for one in judged for row in _rows(one)]
    tasks = sorted({row["task"] for row in rows})
    if len(tasks) > 1:
        raise DataError(
            f"the judgements are of several tasks ({', '.join(tasks)}), whose numbers can't be compared. Judge with "
            "one of them for pairs."
        )
    said: dict[Key, list[float]] = {}
    for row in rows:
        value = _value(row)
        if value is None:
            continue
        said.setdefault((row["model"], row["benchmark"], row["problem_id"], row["index"]), []).append(value)
        if row["other"] is not None:
            said[row["other"], row["benchmark"], row["problem_id"], 0] = [0.5]
    return {key: sum(values) / len(values) for key, values in said.items()}


def _value(row: Mapping[str, Any]) -> float | None:
    """None for a reply that couldn't be read."""
    if row["preference"] is not None:
        return float(row["preference"])
    if row["scores"]:
        values = [float(v) for v in json.loads(row["scores"]).values()]
        return sum(values) / len(values) if values else None
    return None if row["verdict"] is None else float(row["verdict"])


def _rows(judged: Judgements) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(judged.path / TABLE, columns=list(COLUMNS)).to_pylist()
    return rows
