"""How far the judge agrees with people: their labels from a file, kappa per task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from posttrain.data.rows import Row, read_rows
from posttrain.errors import DataError, did_you_mean
from posttrain.judge.agreement import cohen_kappa
from posttrain.judge.asks import Judged

# What people may write, by task, and what a judgement of the same kind is.
_WORDS: dict[str, dict[str, Hashable]] = {
    "correctness": {"correct": True, "incorrect": False, "true": True, "false": False, "1": True, "0": False},
    "safety": {"safe": True, "unsafe": False, "true": True, "false": False, "1": True, "0": False},
    "preference": {"win": 1.0, "loss": 0.0, "tie": 0.5, "1": 1.0, "0": 0.0, "0.5": 0.5},
    "win_rate": {"win": 1.0, "loss": 0.0, "tie": 0.5, "1": 1.0, "0": 0.0, "0.5": 0.5},
}
_ORDER: dict[str, tuple[Hashable, ...]] = {"preference": (0.0, 0.5, 1.0), "win_rate": (0.0, 0.5, 1.0)}
_OPTIONAL = ("benchmark", "model", "index")


def with_people(judged: Sequence[Judged], path: Path, confidence: float) -> list[dict[str, Any]]:
    """One entry per task that people labelled: n, agreement, kappa with its interval, the table of counts.

    For quality a label is a whole number from 1 to 5, the judge's mean over its criteria is rounded to one, and kappa
    is weighted quadratically; for pairs, where the judge saw both orders, its two opinions are averaged. DataError for
    a row that isn't a label, one that fits no judgement, and one that fits several with different questions.
    """
    rows = read_rows(path.expanduser())
    opinions = _opinions(judged)
    found: dict[str, list[tuple[Hashable, Hashable]]] = {}
    for row in rows:
        task, label = _label(row)
        theirs = _find(row, task, opinions)
        if theirs is not None:
            found.setdefault(task, []).append((label, theirs))
    return [_entry(task, pairs, confidence) for task, pairs in found.items()]


Place = tuple[str, str, str, str, int]  # task, benchmark, model, problem, index


def _opinions(judged: Sequence[Judged]) -> dict[Place, Hashable | None]:
    """What the judge says of each answer, as a category; None where nothing could be read."""
    several: dict[Place, list[float]] = {}
    found: dict[Place, Hashable | None] = {}
    for one in judged:
        ask, opinion = one.ask, one.opinion
        place = (ask.task, ask.benchmark, ask.model, ask.problem_id, ask.index)
        found.setdefault(place, None)
        if opinion is None:
            continue
        if opinion.verdict is not None:
            found[place] = opinion.verdict
        elif opinion.preference is not None:
            several.setdefault(place, []).append(opinion.preference)
            mean = sum(several[place]) / len(several[place])
            found[place] = 1.0 if mean > 0.5 else 0.0 if mean < 0.5 else 0.5
        elif opinion.scores:
            found[place] = int(sum(opinion.scores.values()) / len(opinion.scores) + 0.5)
    return found


def _label(row: Row) -> tuple[str, Hashable]:
    task, value = row.values.get("task"), row.values.get("label")
    known = [*_WORDS, "quality"]
    if task not in known:
        raise DataError(
            f"{row.where}: task is {task!r}.{did_you_mean(str(task), known)} Write one of {', '.join(known)}."
        )
    if task == "quality":
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5:
            return str(task), value
        raise DataError(f"{row.where}: the label is {value!r}. For quality write a whole number from 1 to 5.")
    word = str(value).strip().lower().removesuffix(".0")
    if word not in _WORDS[task]:
        raise DataError(
            f"{row.where}: the label is {value!r}. For {task} write one of {', '.join(list(_WORDS[task])[:3])}."
        )
    return str(task), _WORDS[task][word]


def _find(row: Row, task: str, opinions: dict[Place, Hashable | None]) -> Hashable | None:
    """The judge's opinion of the labelled answer."""
    problem = row.values.get("problem_id")
    if not isinstance(problem, str):
        raise DataError(f"{row.where}: there is no problem_id. Say which answer the label is of.")
    given = {name: row.values[name] for name in _OPTIONAL if row.values.get(name) is not None}
    fitting = {
        place: opinion
        for place, opinion in opinions.items()
        if (place[0], place[3]) == (task, problem)
        and all(
            given[name] == place[at] for name, at in (("benchmark", 1), ("model", 2), ("index", 4)) if name in given
        )
    }
    if len(fitting) != 1:
        what = "no judgement" if not fitting else f"{len(fitting)} judgements"
        raise DataError(
            f"{row.where}: the label fits {what} of {problem!r} ({task}). Give {', '.join(_OPTIONAL)} as they were "
            "judged."
        )
    return next(iter(fitting.values()))


def _entry(task: str, pairs: Sequence[tuple[Hashable, Hashable]], confidence: float) -> dict[str, Any]:
    people, judge = [a for a, _ in pairs], [b for _, b in pairs]
    order = (1, 2, 3, 4, 5) if task == "quality" else _ORDER.get(task, (False, True))
    kappa = cohen_kappa(
        people,
        judge,
        categories=order,
        weights="quadratic" if task == "quality" else None,
        confidence=confidence,
    )
    return {
        "task": task,
        "n": kappa.n,
        "agreement": kappa.agreement,
        "kappa": kappa.kappa,
        "interval": [kappa.low, kappa.high] if kappa.kappa is not None else None,
        "weights": "quadratic" if task == "quality" else None,
        "categories": list(order),
        "table": [list(row) for row in kappa.table],
    }
