"""Filters that drop a row because another one says the same: exactly, nearly, or in other words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.config import Config
from posttrain.curate import minhash
from posttrain.curate.base import Decision, Tools
from posttrain.curate.neighbours import first_alike
from posttrain.curate.rows import Part, Rows
from posttrain.data.shingles import NUMBER, OPERATOR, Vocabulary, bag_hashes

CHUNK = 4096


class ExactConfig(Config):
    of: Part = "both"
    """With `question`, one trace of every question stays."""


def exact_duplicates(rows: Rows, config: ExactConfig, tools: Tools) -> Decision:
    """Keeps the first of the rows whose texts are equal but for case and spacing. Score: 1 = has been there before."""
    first: dict[str, int] = {}
    twins = np.full(len(rows), -1)
    for i, text in enumerate(rows.texts(config.of)):
        earlier = first.setdefault(" ".join(text.casefold().split()), i)
        twins[i] = earlier if earlier != i else -1
    return _doubled(rows, twins, (twins >= 0).astype(np.float64), None)


class NearConfig(Config):
    threshold: float = Field(0.6, gt=0, le=1)
    """Jaccard similarity of the texts' word n-grams from which two are the same."""
    n: int = Field(3, ge=1)
    permutations: int = Field(minhash.PERMUTATIONS, ge=16, le=1024)
    same_figures: bool = True
    """Texts whose numbers or operators differ are different problems, however alike they are."""
    of: Part = "both"


def near_duplicates(rows: Rows, config: NearConfig, tools: Tools) -> Decision:
    """Keeps the first of nearly equal rows: MinHash, then the exact Jaccard similarity, which is the score."""
    found = minhash.shingles(rows.texts(config.of), config.n)
    twins, similarity = minhash.first_twins(
        found,
        config.threshold,
        permutations=config.permutations,
        same_figures=config.same_figures,
        seed=tools.derive("minhash") % (1 << 32),
    )
    return _doubled(rows, twins, similarity, config.threshold)


class SemanticConfig(Config):
    embedding: str = "minilm"
    """minilm, tfidf, or a sentence-transformers model."""
    threshold: float = Field(0.95, gt=0, le=1)
    """Cosine similarity from which two questions are the same."""
    same_figures: bool = True
    """Questions whose numbers or operators differ are different, however alike they are."""


def semantic_duplicates(rows: Rows, config: SemanticConfig, tools: Tools) -> Decision:
    """Drops questions that say in other words what an earlier one says (SemDeDup, Abbas et al. 2023, arXiv 2303.09540).

    Questions are compared, not traces: all rows of a question stay or go together. The score is the highest cosine
    similarity with an earlier question that stays.
    """
    first: dict[str, int] = {}
    group = np.array([first.setdefault(question, len(first)) for question in rows.questions], np.int64)
    questions = list(first)
    vectors = tools.embed(questions, config.embedding)
    figures = _figures(questions) if config.same_figures else np.zeros(len(questions), np.uint64)
    twins, similarity = first_alike(vectors, config.threshold, figures, seed=tools.derive("semantic") % (1 << 32))
    row_of = {int(question): i for i, question in reversed(list(enumerate(group)))}  # a question's first row
    of_row = np.array([row_of[int(twins[g])] if twins[g] >= 0 else -1 for g in group], np.int64)
    return _doubled(rows, of_row, similarity[group], config.threshold)


def _figures(texts: Sequence[str]) -> NDArray[np.uint64]:
    """A hash of each text's numbers and operators, in any order."""
    vocabulary = Vocabulary()
    found = [np.zeros(0, np.uint64)]
    for start in range(0, len(texts), CHUNK):
        words = vocabulary.read(texts[start : start + CHUNK])
        found.append(bag_hashes(words.only((words.kinds == NUMBER) | (words.kinds == OPERATOR))))
    return np.concatenate(found)


def _doubled(rows: Rows, twins: NDArray[np.int64], score: NDArray[np.float64], threshold: float | None) -> Decision:
    """`twins`: by position, the kept row that each doubles; -1 for none."""
    keep = twins < 0
    numbers = [None if kept else int(rows.numbers[twin]) for kept, twin in zip(keep, twins, strict=True)]
    how = "" if threshold is None else "nearly "
    reason = tuple("" if twin is None else f"{how}the same as row {twin}" for twin in numbers)
    pairs = [
        {
            "row": int(rows.numbers[i]),
            "twin": numbers[i],
            "score": round(float(score[i]), 4),
            "text": rows.text(i)[:300],
            "twin_text": rows.text(int(twins[i]))[:300],
        }
        for i in np.flatnonzero(~keep)[:10].tolist()
    ]
    return Decision(keep, score, threshold, reason, columns={"twin": numbers}, notes={"pairs": pairs})
