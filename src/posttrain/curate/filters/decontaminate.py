"""The filter that keeps a benchmark's questions out of training, with the pair side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.config import Config
from posttrain.curate.base import Decision, Reference, Tools
from posttrain.curate.neighbours import nearest, to_nearest_other
from posttrain.curate.rows import Part, Rows
from posttrain.data.contamination import CHUNK, Hit, Index, Tier, evidence

SHOWN = 20  # pairs of each tier in the notes
UNUSUAL = 0.995  # the quantile of the items' own likeness to each other from which a row is too like an item
LEAST = 0.8  # and never below
STRENGTH: dict[Tier, float] = {"drop": 1.0, "review": 0.5, "note": 0.25}


class DecontaminateConfig(Config):
    against: tuple[str, ...] = Field(min_length=1)
    """Benchmarks by name, or YAML files of one's own; held-out = validation and test of the stage's `problems`."""
    threshold: float = Field(0.5, gt=0, le=1)
    """The share of an item's 8-grams that a row must hold to be dropped."""
    masked: bool = True
    """Count 8-grams with masked numbers too. They must not where rows and items share templates on purpose."""
    drop: tuple[Tier, ...] = ("drop",)
    """The tiers that go: drop, review, note. The others are kept and shown."""
    of: Part = "question"
    embedding: str | None = None
    """minilm, tfidf or a sentence-transformers model: rows most like an item join tier review."""
    similarity: float | Literal["calibrated"] = "calibrated"
    """The cosine similarity for that; calibrated: higher than that of 99.5 % of a benchmark's items to each other."""


def decontaminate(rows: Rows, config: DecontaminateConfig, tools: Tools) -> Decision:
    """Drops rows that are a benchmark's question or its template twin; notes the tiers below with their pairs.

    The score is the share of the item's 8-grams that the row holds (1 for the same text), 0 where nothing is in common.
    """
    references = tools.references(config.against, "filter 'decontaminate'")
    items = [problem.question for reference in references for problem in reference.problems]
    names = [f"{r.name}:{p.id}" for r in references for p in r.problems]
    texts = rows.texts(config.of)
    hits: dict[int, Hit] = {}
    index = Index(items, mask=config.masked)
    with tools.progress(len(texts), "decontaminate", "rows") as bar:
        for start in range(0, len(texts), CHUNK):
            part = texts[start : start + CHUNK]
            hits |= {start + hit.row: hit for hit in index.hits(part, config.threshold)}
            bar.update(len(part))
    notes: dict[str, Any] = {"against": {r.name: len(r.problems) for r in references}}
    if config.embedding is not None:
        found, notes["similarity"] = _in_other_words(rows, references, config, tools)
        hits = {**found, **{row: hit for row, hit in hits.items() if hit.tier != "note" or row not in found}}
    return _decision(rows, hits, config, items, names, notes)


def decontaminate_ready(config: DecontaminateConfig, tools: Tools) -> None:
    """Opens the references, so that a missing one is told before any work."""
    tools.references(config.against, "filter 'decontaminate'")


def _decision(
    rows: Rows,
    hits: dict[int, Hit],
    config: DecontaminateConfig,
    items: Sequence[str],
    names: Sequence[str],
    notes: dict[str, Any],
) -> Decision:
    score = np.zeros(len(rows))
    reason = [""] * len(rows)
    tier: list[str | None] = [None] * len(rows)
    item: list[str | None] = [None] * len(rows)
    item_text: list[str | None] = [None] * len(rows)
    pairs: list[dict[str, Any]] = []
    shown: Counter[str] = Counter()
    for row, hit in sorted(hits.items(), key=lambda pair: (-STRENGTH[pair[1].tier], -pair[1].containment, pair[0])):
        score[row], tier[row], item[row], item_text[row] = hit.containment, hit.tier, names[hit.item], items[hit.item]
        if hit.tier in config.drop:
            reason[row] = _in_words(hit, names[hit.item])
        shown[hit.tier] += 1
        if shown[hit.tier] <= SHOWN:
            pairs.append(
                {
                    "tier": hit.tier,
                    "sign": hit.sign,
                    "containment": round(hit.containment, 4),
                    "row": int(rows.numbers[row]),
                    "item": names[hit.item],
                    "row_text": rows.question(row)[:600],
                    "item_text": items[hit.item][:600],
                    "shared": evidence(rows.part(config.of, row), items[hit.item]),
                }
            )
    keep = np.array([not why for why in reason], np.bool_)
    notes |= {"tiers": {name: shown[name] for name in STRENGTH}, "pairs": pairs}
    columns = {"tier": tier, "item": item, "item_text": item_text}
    return Decision(keep, score, config.threshold, tuple(reason), columns, notes)


def _in_words(hit: Hit, name: str) -> str:
    said = {
        "equal": f"the same text as {name}",
        "8-grams": f"holds {hit.containment:.0%} of the 8-grams of {name}",
        "masked 8-grams": f"holds {hit.containment:.0%} of the 8-grams of {name}, numbers masked",
        "4-grams": f"has the figures of {name} and {hit.containment:.0%} of its 4-grams",
        "13-gram": f"has 13 words in a row in common with {name}",
        "8-gram": f"has 8 words in a row in common with {name}",
        "embedding": f"says nearly what {name} says",
    }
    return f"{hit.tier}: {said[hit.sign]}"


def _in_other_words(
    rows: Rows, references: Sequence[Reference], config: DecontaminateConfig, tools: Tools
) -> tuple[dict[int, Hit], dict[str, float]]:
    """(rows whose embedding is too like an item's, the threshold of each reference)."""
    assert config.embedding is not None
    questions = list(rows.questions)
    items = [problem.question for reference in references for problem in reference.problems]
    vectors = tools.embed([*questions, *items], config.embedding)
    mine, theirs = vectors[: len(questions)], vectors[len(questions) :]
    found: dict[int, Hit] = {}
    best = np.zeros(len(questions))
    thresholds: dict[str, float] = {}
    first = 0
    for reference in references:
        part = theirs[first : first + len(reference.problems)]
        thresholds[reference.name] = _threshold(part, config)
        index, similarity = nearest(mine, part)
        above = (similarity >= thresholds[reference.name]) & (similarity > best)
        for row in np.flatnonzero(above).tolist():
            found[row] = Hit("review", "embedding", row, first + int(index[row]), 0.0)
        best = np.where(above, similarity, best)
        first += len(part)
    return found, thresholds


def _threshold(items: NDArray[np.float32], config: DecontaminateConfig) -> float:
    """Items of one benchmark are of one genre and yet different: what is more alike than they are is a find."""
    if config.similarity != "calibrated":
        return config.similarity
    if len(items) < 2:
        return LEAST
    return max(LEAST, round(float(np.quantile(to_nearest_other(items), UNUSUAL)), 4))
