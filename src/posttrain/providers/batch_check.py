"""Does each reply of a batch answer the question of its key? Batches have come back under the wrong keys.

Two signs, neither of which needs anything from the server that it might get wrong together with the key:

- words: the reply shares rare words and figures with another question of the batch, clearly more than with its own;
- length: the tokens that the server counted in the prompt don't go with the length of the question.

A terse reply ("72") shows neither words nor, where all questions are of one length, another length: it is believed.
"""

from __future__ import annotations

import math
import random
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_WORD = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]{3,}")
_MARGIN = 0.25  # of a question's weight of words, by which another question must be nearer
_LEAST_WORDS = 3  # which the other question has, and the reply's own has not
_COMMON = 0.1  # words that more than this share of the questions have say nothing
_HOLDERS = 40  # ... nor those that more than so many have: what many share tells few apart, and takes long
_LEAST_COUNTED = 20  # replies with a count of prompt tokens, below which no length is told
_PAIRS = 2_000
_TOLERANCE = 0.25  # of the expected prompt tokens
_LEAST_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Answered:
    """The question as it was sent, the reply with its reasoning, the server's count of the prompt."""

    question: str
    reply: str
    prompt_tokens: int | None = None


def misplaced(batch: Mapping[str, Answered], others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Key → why, for replies that don't belong to their key.

    others: questions of the batch (by key) whose replies haven't come; a reply may be theirs.
    """
    questions = {one.question for one in batch.values()} | set((others or {}).values())
    found = _by_length(batch)
    return found | _by_words(batch, sorted(questions))


def _words(text: str) -> set[str]:
    return {w.casefold().replace(",", "") for w in _WORD.findall(text)}


def _by_words(batch: Mapping[str, Answered], questions: list[str]) -> dict[str, str]:
    spoken = [_words(question) for question in questions]
    frequency = Counter(word for words in spoken for word in words)
    most = max(1.0, min(_COMMON * len(questions), _HOLDERS))
    weight = {word: math.log(len(questions) / n + 1) for word, n in frequency.items() if n <= most}
    holders: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(spoken):
        for word in words:
            if word in weight:
                holders[word].append(number)
    whole = [sum(weight.get(word, 0.0) for word in words) for words in spoken]
    place = {question: number for number, question in enumerate(questions)}
    found = {}
    for key, one in batch.items():
        own = place[one.question]
        said = _words(one.reply)
        shared: dict[int, float] = defaultdict(float)
        for word in said:
            for number in holders.get(word, ()):
                shared[number] += weight[word] / whole[number]
        best = max((n for n in shared if n != own), key=lambda n: shared[n], default=None)
        if best is None or shared[best] < shared.get(own, 0.0) + _MARGIN:
            continue
        telling = {w for w in said & spoken[best] if w in weight} - spoken[own]
        if len(telling) >= _LEAST_WORDS:
            found[key] = f"it answers another question ({', '.join(sorted(telling)[:4])})"
    return found


def _by_length(batch: Mapping[str, Answered]) -> dict[str, str]:
    """Tokens of prompts grow with their bytes: a line through the medians (Theil and Sen) says by how much."""
    counted = {
        key: (len(one.question.encode("utf-8", "replace")), one.prompt_tokens)
        for key, one in batch.items()
        if one.prompt_tokens
    }
    points = sorted(counted.values())
    if len(points) < _LEAST_COUNTED or points[0][0] == points[-1][0]:
        return {}
    draw = random.Random(0)
    slopes = []
    for _ in range(_PAIRS):
        (x1, y1), (x2, y2) = draw.choice(points), draw.choice(points)
        if x1 != x2:
            slopes.append((y2 - y1) / (x2 - x1))
    slope = statistics.median(slopes)
    if slope <= 0:
        return {}
    offset = statistics.median(y - slope * x for x, y in points)
    scatter = statistics.median(abs(y - offset - slope * x) for x, y in points)
    found = {}
    for key, (size, tokens) in counted.items():
        expected = offset + slope * size
        if abs(tokens - expected) > max(_LEAST_TOKENS, _TOLERANCE * expected, 6 * scatter):
            found[key] = f"its prompt was counted as {tokens} tokens, and this question has about {expected:.0f}"
    return found
