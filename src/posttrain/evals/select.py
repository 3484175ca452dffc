"""Evaluations named on the command line: ``FOLDER`` or ``FOLDER:MODEL``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from posttrain.errors import RecipeError, did_you_mean
from posttrain.evals.comparison import Answers
from posttrain.evals.seeds import Method
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


def select_methods(names: Sequence[str]) -> dict[str, list[Method]]:
    """benchmark → the methods that these names choose: ``A1+A2+A3`` is one way of training with three seeds.

    RecipeError for a part that names several models, or methods without a benchmark in common.
    """
    methods = {name: [_one_model(part) for part in name.split("+")] for name in names}
    if len(methods) < 2:
        raise RecipeError("a comparison needs two ways of training. Give another, e.g. A1+A2 B1+B2.")
    found: dict[str, list[Method]] = {}
    common = set.intersection(*({a.benchmark for a in part} for parts in methods.values() for part in parts))
    if not common:
        raise RecipeError(f"{', '.join(methods)} were evaluated on no benchmark in common. Evaluate them on one.")
    for benchmark in sorted(common):
        for name, parts in methods.items():
            chosen = tuple(next(a for a in part if a.benchmark == benchmark) for part in parts)
            found.setdefault(benchmark, []).append(Method(name, chosen))
    return found


def _one_model(name: str) -> list[Answers]:
    answers = [a for _, a in _of(name)]
    models = list(dict.fromkeys(a.model for a in answers))
    if len(models) != 1:
        raise RecipeError(f"{name} holds several models: {', '.join(models)}. Say which: {name}:{models[-1]}.")
    return answers


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
