"""Evaluations named on the command line: ``FOLDER`` or ``FOLDER:MODEL``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from posttrain.errors import RecipeError, did_you_mean
from posttrain.evals.comparison import Answers
from posttrain.evals.store import read_answers
from posttrain.store import Scores


def select_answers(names: Sequence[str]) -> list[Answers]:
    """The answers that these names choose, in their order. Models of one name get their folder's name in front.

    RecipeError for a folder that is no evaluation, a model that it doesn't hold, or fewer than two models in all.
    """
    chosen = [(folder, answers) for name in names for folder, answers in _of(name)]
    folders: dict[tuple[str, str], set[Path]] = {}
    for folder, answers in chosen:
        folders.setdefault((answers.model, answers.benchmark), set()).add(folder)
    named = [
        _renamed(answers, f"{folder.resolve().name}:{answers.model}")
        if len(folders[answers.model, answers.benchmark]) > 1
        else answers
        for folder, answers in chosen
    ]
    if len({a.model for a in named}) < 2:
        raise RecipeError("a comparison needs two models. Give another evaluation, or one that holds several models.")
    return named


def _of(name: str) -> list[tuple[Path, Answers]]:
    folder, _, model = (name, "", "") if Path(name).is_dir() else name.rpartition(":")
    path = Path(folder or name)
    if not (path / "scores.json").exists():
        raise RecipeError(f"{name} is no evaluation: there is no {path}/scores.json. Give a folder that eval made.")
    answers = list(read_answers([Scores(path)]))
    known = list(dict.fromkeys(a.model for a in answers))
    if model and model not in known:
        raise RecipeError(f"{path} has no model {model!r}.{did_you_mean(model, known)} It has: {', '.join(known)}.")
    return [(path, a) for a in answers if not model or a.model == model]


def _renamed(answers: Answers, model: str) -> Answers:
    return dataclasses.replace(answers, entry={**answers.entry, "model": model})
