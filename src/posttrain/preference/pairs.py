"""From graded Samples to pairs. A pair is two Samples with ``extra: {pair: number, chosen: true | false}``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from posttrain.errors import DataError
from posttrain.preference.config import PairsConfig
from posttrain.records import Sample


def make_pairs(samples: Iterable[Sample], config: PairsConfig) -> list[Sample]:
    """Chosen and rejected by turns. Undecided verdicts and missing rewards make no pair, nor do equal responses.

    DataError where nothing is left, with what was missing.
    """
    by_problem: dict[str, list[Sample]] = {}
    rows = 0
    for s in samples:
        rows += 1
        if config.split is None or s.split == config.split:
            by_problem.setdefault(s.problem_id, []).append(s)
    found = [pair for members in by_problem.values() for pair in _of_problem(members, config)]
    if not found:
        raise DataError(_nothing(by_problem, rows, config))
    return [
        dataclasses.replace(s, extra={**s.extra, "pair": number, "chosen": is_chosen})
        for number, pair in enumerate(found)
        for s, is_chosen in zip(pair, (True, False), strict=True)
    ]


def _of_problem(members: Sequence[Sample], config: PairsConfig) -> Iterator[tuple[Sample, Sample]]:
    scored = [(score, s) for s in members if (score := _score(s, config)) is not None]
    # Best against worst, then the next two: no answer is used twice. Equal scores keep the samples' order.
    best = sorted(scored, key=lambda pair: -pair[0])
    worst = sorted(scored, key=lambda pair: pair[0])
    made = 0
    for (high, chosen), (low, rejected) in zip(best, worst, strict=True):
        if high <= low or high - low < config.margin or made == config.per_problem:
            return
        if chosen.response.strip() != rejected.response.strip():
            made += 1
            yield chosen, rejected


def _score(sample: Sample, config: PairsConfig) -> float | None:
    if config.by != "verdict":  # a judge's word stands where a reward does
        return sample.reward
    return None if sample.verdict is None or sample.verdict.correct is None else float(sample.verdict.correct)


def _nothing(by_problem: dict[str, list[Sample]], rows: int, config: PairsConfig) -> str:
    if not by_problem:
        return f"none of the {rows} samples is of split {config.split!r}. Check split:."
    scored = sum(_score(s, config) is not None for members in by_problem.values() for s in members)
    if not scored:
        return {
            "verdict": f"none of the {rows} samples has a verdict. Grade them first (stage sample or regrade).",
            "reward": f"none of the {rows} samples has a reward. Give them rewards, or by: verdict.",
            "judge": f"the judge said nothing of any of the {rows} answers. Judge this evaluation.",
        }[config.by]
    return (
        f"of {len(by_problem)} problems none has a better and a worse answer: each was answered once, or all its "
        "answers scored the same. Sample more answers per problem (n; a judge looks at as many as its `samples` says), "
        "or other problems."
    )


def read_pairs(samples: Iterable[Sample]) -> list[tuple[Sample, Sample]]:
    """(chosen, rejected) by pair number. DataError for samples that are no pairs."""
    found: dict[int, dict[bool, Sample]] = {}
    for s in samples:
        number, chosen = s.extra.get("pair"), s.extra.get("chosen")
        if not isinstance(number, int) or not isinstance(chosen, bool):
            raise DataError(
                f"sample {s.index} of problem {s.problem_id!r} belongs to no pair. Make pairs of graded samples first: "
                "{stage: pairs, samples: …}."
            )
        found.setdefault(number, {})[chosen] = s
    torn = [number for number, pair in found.items() if len(pair) != 2]
    if torn:
        raise DataError(f"pair {torn[0]} has only one side. Make the pairs again.")
    return [(found[number][True], found[number][False]) for number in sorted(found)]
