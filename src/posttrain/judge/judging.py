"""Questions to a judge, and again those whose reply could not be read: once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from posttrain.judge.asks import Answered, Ask, Judged, Opinion, Status
from posttrain.judge.config import JudgeConfig
from posttrain.judge.judges import Judge, Question
from posttrain.judge.parse import parse
from posttrain.judge.prompts import Words, messages_of
from posttrain.tracking import Progress


def judge_all(
    judge: Judge, asks: Sequence[Ask], config: JudgeConfig, words: Mapping[str, Words], bar: Progress
) -> list[Judged]:
    """One Judged for every Ask, in order. A reply that can't be read is kept, and its question asked once more."""
    first = _round(judge, asks, config, words, 0, bar)
    opinions = {i: parse(asks[i], reply.text, config.criteria) for i, reply in first.items() if reply.status == "ok"}
    unread = [i for i, opinion in opinions.items() if opinion is None]
    second = _round(judge, [asks[i] for i in unread], config, words, 1, bar)
    again = {unread[place]: reply for place, reply in second.items()}
    judged = []
    for i, ask in enumerate(asks):
        replies = (first[i], again[i]) if i in again else (first[i],)
        opinion = opinions.get(i)
        if i in again and again[i].status == "ok":
            opinion = parse(ask, again[i].text, config.criteria)
        judged.append(Judged(ask, opinion, _status(replies[-1], opinion), replies))
    return judged


def _round(
    judge: Judge, asks: Sequence[Ask], config: JudgeConfig, words: Mapping[str, Words], attempt: int, bar: Progress
) -> dict[int, Answered]:
    """Place → reply."""
    questions = [
        Question(ask, messages_of(ask, words, config.criteria, config.max_characters, again=attempt > 0), attempt)
        for ask in asks
    ]
    found: dict[int, Answered] = {}
    for place, reply in judge.answers(questions) if questions else ():
        found[place] = reply
        bar.update(1 if attempt == 0 else 0, again=attempt)
    assert len(found) == len(questions), f"{judge.name} answered {len(found)} of {len(questions)} questions"
    return found


def _status(reply: Answered, opinion: Opinion | None) -> Status:
    if opinion is not None:
        return "ok"
    return "unparsed" if reply.status == "ok" else reply.status
