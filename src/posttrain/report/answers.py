"""The answers that stand under Results: all of evaluations, and the ends of sweeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.evals import Answers, distinct_names
from posttrain.evals.sweep.store import is_sweep
from posttrain.store import Samples, Scores


@dataclass(frozen=True)
class Given:
    """answers: in order of evaluations. walks: (first, last) checkpoint of each sweep, by the names in `answers`."""

    answers: list[Answers]
    walks: tuple[tuple[str, str], ...]


def read_given(of: Sequence[Scores], named: Collection[str]) -> Given:
    """Every model of evaluations, and of each sweep the first and the last checkpoint and those that are `named`.

    Checkpoints are called as in judge.json where several sweeps stand together (sweep-sft:step-000050). The ends of a
    sweep are no choice: a step that was chosen by its score would stand here flattered.
    """
    listed = [one.read().get("entries", []) for one in of]
    answers: list[Answers] = []
    walks: list[tuple[str, str]] = []
    for one, names, entries in zip(of, distinct_names(of), listed, strict=True):
        swept = is_sweep(one.path)
        called = names if swept else {name: name for name in names}
        wanted = set(called.values())
        if swept and entries:
            first, last = _ends(entries, called)
            walks.append((first, last))
            wanted = {first, last} | (set(named) & wanted)
        answers += [_read(one, entry, called[entry["model"]]) for entry in entries if called[entry["model"]] in wanted]
    return Given(answers, tuple(walks))


def _ends(entries: Sequence[dict[str, Any]], called: dict[str, str]) -> tuple[str, str]:
    in_order = sorted(entries, key=lambda entry: int(entry["step"]))
    return called[in_order[0]["model"]], called[in_order[-1]["model"]]


def _read(scores: Scores, entry: dict[str, Any], name: str) -> Answers:
    samples = list(Samples(scores.path / entry["folder"]).read())
    return Answers({**entry, "model": name}, samples)
