"""The `judge` stage: what a judge says of stored answers, and what the judge is worth. Generates no answers.

Imports no torch and no client: the judge is opened inside the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

from posttrain.errors import DataError
from posttrain.judge.asks import Judged, judgements_table
from posttrain.judge.bias import length_bias, position_bias
from posttrain.judge.config import JudgeConfig
from posttrain.judge.forecast import forecast
from posttrain.judge.judging import judge_all
from posttrain.judge.labels import with_people
from posttrain.judge.plan import asks_of, collect
from posttrain.judge.prompts import load_words
from posttrain.judge.store import JUDGE_VERSION, SUMMARY, TABLE
from posttrain.judge.summary import agreement, counts, in_words, summarise
from posttrain.stage import Workspace
from posttrain.store import Checkpoint, Judgements, Scores

MAX_UNREAD = 0.05  # of the replies: above it the certificate's line is red


def judge(config: JudgeConfig, of: list[Scores], work: Workspace, model: Checkpoint | None = None) -> Judgements:
    """Asks a judge about the answers of evaluations: correctness, quality, preference, safety, win rates.

    of: evaluations or sweeps. model: the judge itself, where it is one on this machine (judge: model).

    Every reply is kept; one that can't be read is asked for once more and counted. Agreement with the verifiable grader
    and with people's labels, and the judge's liking for a place or for length, stand beside what it says.
    """
    from posttrain.judge.judges import open_judge

    words = load_words(config.prompts)
    answers = collect(config, of)
    asks = asks_of(config, answers)
    if not asks:
        raise DataError(
            "there is nothing to judge: no model but the one compared with was evaluated. Evaluate another."
        )
    with closing(open_judge(config, work, model)) as one, work.progress(len(asks), f"judged by {one.name}") as bar:
        judged = judge_all(one, asks, config, words, bar)
        name = one.name
    entries = summarise(judged, config)
    known = [reply.cost for each in judged for reply in each.replies]
    told = [cost for cost in known if cost is not None]
    work.write_table(TABLE, judgements_table(judged))
    summary: dict[str, Any] = {
        "version": JUDGE_VERSION,
        "judge": name,
        "asked": len(asks),
        **counts(judged),
        "dollars": sum(told) if len(told) == len(known) else None,
        "entries": entries,
        "with_grader": _with_grader(judged, config),
        "with_people": with_people(judged, config.labels, config.confidence) if config.labels is not None else [],
        "position_bias": position_bias(judged, config.confidence),
        "length_bias": length_bias([j for j in judged if j.ask.other is not None], config.confidence),
    }
    work.write_json(SUMMARY, summary)
    for entry in entries:
        work.note(in_words(entry))
    unread = 1 - summary["ok"] / len(asks)
    work.certify("the judge's replies can be read", unread <= MAX_UNREAD, unread=unread, tolerance=MAX_UNREAD)
    work.summarise(asked=len(asks), unread=len(asks) - summary["ok"], dollars=summary["dollars"])
    return Judgements(work.dir)


judge.forecast = forecast  # type: ignore[attr-defined]


def _with_grader(judged: Sequence[Judged], config: JudgeConfig) -> dict[str, Any] | None:
    """Over all models and benchmarks of which a verifiable grader decided; None where there are none."""
    both = [
        (each.ask.verdict, each.opinion.verdict) for each in judged if each.ask.task == "correctness" and each.opinion
    ]
    pairs = [(a, b) for a, b in both if a is not None and b is not None]
    return agreement([a for a, _ in pairs], [b for _, b in pairs], config.confidence) if pairs else None
