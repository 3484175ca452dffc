"""What the judgements say of each model: rates and means with intervals over problems, never without what wasn't
read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from posttrain.judge.agreement import cohen_kappa
from posttrain.judge.asks import Judged
from posttrain.judge.bias import length_bias, position_bias
from posttrain.judge.config import JudgeConfig
from posttrain.judge.length_controlled import length_controlled
from posttrain.judge.length_files import read_length_files
from posttrain.stats import estimate_accuracy, t_interval

Entry = dict[str, Any]


def summarise(judged: Sequence[Judged], config: JudgeConfig) -> list[Entry]:
    """One entry per task, model, benchmark and opponent, in the order in which they were asked."""
    groups: dict[Hashable, list[Judged]] = {}
    for one in judged:
        groups.setdefault((one.ask.task, one.ask.model, one.ask.benchmark, one.ask.other), []).append(one)
    return [_entry(group, config) for group in groups.values()]


def _entry(group: Sequence[Judged], config: JudgeConfig) -> Entry:
    ask = group[0].ask
    entry: Entry = {"task": ask.task, "model": ask.model, "benchmark": ask.benchmark}
    entry |= {"step": ask.step} if ask.step is not None else {}
    entry |= {"other": ask.other} if ask.other is not None else {}
    entry |= {"n": len({one.ask.problem_id for one in group}), "judgements": len(group), **counts(group)}
    measure = {"quality": _quality, "preference": _preference, "win_rate": _win_rate}.get(ask.task, _verdicts)
    return entry | measure(group, config)


def counts(group: Sequence[Judged]) -> dict[str, int]:
    """Replies by what became of them: ok, unparsed, refused, failed; and how many were asked again."""
    found = {status: sum(one.status == status for one in group) for status in ("ok", "unparsed", "refused", "failed")}
    return {**found, "asked_again": sum(len(one.replies) > 1 for one in group)}


def _per_item(group: Sequence[Judged], value: Callable[[Judged], float | None]) -> dict[str, float]:
    """Problem → mean over its judgements that have a value."""
    values: dict[str, list[float]] = {}
    for one in group:
        found = value(one)
        if found is not None:
            values.setdefault(one.ask.problem_id, []).append(found)
    return {item: sum(v) / len(v) for item, v in values.items()}


def _rate(values: Iterable[float], k: int, confidence: float) -> Entry:
    """A share with its interval; null where there is nothing to take it of."""
    scores = list(values)
    if not scores:
        return {"rate": None, "interval": None, "confidence": confidence}
    estimate = estimate_accuracy(scores, k, confidence)
    return {"rate": estimate.value, "interval": [estimate.low, estimate.high], "confidence": confidence}


def _verdict(one: Judged) -> float | None:
    return None if one.opinion is None or one.opinion.verdict is None else float(one.opinion.verdict)


def _verdicts(group: Sequence[Judged], config: JudgeConfig) -> Entry:
    """rate: the share correct, or safe, of the judgements that could be read; bounds: were all others wrong, or
    right."""
    k = max(1, len(group) // len({one.ask.problem_id for one in group}))
    entry = _rate(_per_item(group, _verdict).values(), k, config.confidence)
    told = [v for one in group if (v := _verdict(one)) is not None]
    entry["bounds"] = [sum(told) / len(group), (sum(told) + len(group) - len(told)) / len(group)]
    pairs = [(bool(v), one.ask.verdict) for one in group if (v := _verdict(one)) is not None]
    graded = [(a, b) for a, b in pairs if b is not None]
    if group[0].ask.task == "correctness" and graded:
        entry["with_grader"] = agreement([b for _, b in graded], [a for a, _ in graded], config.confidence)
    return entry


def agreement(theirs: Sequence[bool], judge: Sequence[bool], confidence: float) -> Entry:
    """Kappa and the four counts: theirs by row, the judge's by column, False first."""
    kappa = cohen_kappa(theirs, judge, categories=(False, True), confidence=confidence)
    return {
        "n": kappa.n,
        "agreement": kappa.agreement,
        "kappa": kappa.kappa,
        "interval": [kappa.low, kappa.high] if kappa.kappa is not None else None,
        "table": [list(row) for row in kappa.table],
    }


def _quality(group: Sequence[Judged], config: JudgeConfig) -> Entry:
    """Means of 1 to 5 over problems, of each criterion and of all of them together."""
    found: Entry = {"scores": {}, "confidence": config.confidence}
    for name in config.criteria:
        found["scores"][name] = _mean(_per_item(group, partial(_score, name)), config)
    found["overall"] = _mean(_per_item(group, _overall), config)
    return found


def _score(name: str, one: Judged) -> float | None:
    return one.opinion.scores.get(name) if one.opinion is not None else None


def _overall(one: Judged) -> float | None:
    scores = list(one.opinion.scores.values()) if one.opinion is not None else []
    return sum(scores) / len(scores) if scores else None


def _mean(items: dict[str, float], config: JudgeConfig) -> Entry | None:
    if not items:
        return None
    low, high = t_interval(list(items.values()), config.confidence)
    return {"mean": float(np.mean(list(items.values()))), "interval": [low, high]}


def _preference_of(one: Judged) -> float | None:
    return one.opinion.preference if one.opinion is not None else None


def _preference(group: Sequence[Judged], config: JudgeConfig) -> Entry:
    """rate: mean preference over problems, ties a half. Where both orders were asked, a judge that contradicts itself
    makes a tie, and a pair of which one reply could not be read counts with the other."""
    orders = len({one.ask.order for one in group})
    items = _per_item(group, _preference_of)
    entry = _rate(items.values(), 2 if orders > 1 else 1, config.confidence)
    values = list(items.values())
    entry["wins"] = sum(v > 0.5 for v in values)
    entry["ties"] = sum(v == 0.5 for v in values)
    entry["losses"] = sum(v < 0.5 for v in values)
    entry["position_bias"] = position_bias(group, config.confidence)
    entry["length_bias"] = length_bias(group, config.confidence)
    return entry


def _win_rate(group: Sequence[Judged], config: JudgeConfig) -> Entry:
    """The same against a benchmark's reference answers, and length-controlled."""
    entry = _preference(group, config)
    first = {one.ask.problem_id: one for one in group}
    ids = list(first)
    items = _per_item(group, _preference_of)
    difficulty, gamed = read_length_files(config.length, ids)
    delta = [len(first[i].ask.other_response or "") - len(first[i].ask.response) for i in ids]
    if len(items) < 10 or len(set(delta)) == 1:
        entry["length_controlled"] = None
        return entry
    preferences = [items.get(i, float("nan")) for i in ids]
    entry["length_controlled"] = asdict(
        length_controlled(preferences, delta, difficulty, gamed, confidence=config.confidence)
    )
    return entry


def in_words(entry: Entry) -> str:
    """One line for the person who watches."""
    whose = f"{entry['task']}, {entry['model']} on {entry['benchmark']}"
    unread = entry["judgements"] - entry["ok"]
    lost = f", {unread} of {entry['judgements']} not read" if unread else ""
    if entry["task"] == "quality":
        overall = entry["overall"]
        return f"{whose}: {overall['mean']:.2f} of 5, n = {entry['n']:,}{lost}" if overall else f"{whose}: nothing read"
    if entry["rate"] is None:
        return f"{whose}: nothing read of {entry['judgements']}"
    low, high = entry["interval"]
    against = f" against {entry['other']}" if "other" in entry else ""
    controlled = entry.get("length_controlled")
    length = f"; length-controlled {100 * controlled['win_rate']:.1f} %" if controlled else ""
    rate = f"{100 * entry['rate']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{whose}{against}: {rate}, n = {entry['n']:,}{lost}{length}"
