"""`s1`: quality, then difficulty, then diversity, as published (Muennighoff et al., arXiv 2501.19393, section 2.2).

Quality leaves out what is broken: no response, cut off, known to be wrong, or with pictures that a text can't show.
Difficulty leaves out what a model solves already: every problem that any attempt solved (they tried Qwen2.5 of 7B and
32B). Diversity draws a domain, all being as likely, and from it a row whose trace is long, the probability halving with
each rank. They had an LLM sort the problems into 50 domains; here it is a column, or clusters of the questions.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from posttrain.curate.base import Decision, Rows, Tools
from posttrain.curate.selectors.attempts import pass_rates
from posttrain.curate.selectors.choosing import SelectConfig, choose
from posttrain.curate.selectors.groups import domains, group_names, numbered
from posttrain.curate.selectors.order import Positions, longest_first_by_domain
from posttrain.curate.selectors.small import warn_of_hard_and_long

BY_LENGTH = "selector 's1' ranks by the student's tokens"
UNSOLVED = "selector 's1' leaves out what is solved already"

_PICTURE = re.compile(r"\[asy\]|!\[[^\]]*\]\(|\\includegraphics|<img\b", re.IGNORECASE)


class S1Config(SelectConfig):
    """Where the domains come from, and what is taken before anything is drawn."""

    domain: str = "cluster"
    """subject, another column or extra.KEY; cluster = clusters of the questions."""
    clusters: int = Field(50, ge=2)
    """How many, by domain: cluster."""
    embedding: str = "minilm"
    """Embeddings, by domain: cluster."""
    difficulty: bool = True
    """Leave out every problem that some attempt (input `attempts`) solved."""
    always: dict[str, int] = Field(default={})
    """Data sets whose correct rows are taken first where their response has more than so many tokens. As published:
    {aime: 0, gpqa: 0, math: 5600}."""


def s1(rows: Rows, budget: int, config: S1Config, tools: Tools, seed: int) -> Decision:
    """The score is the response's length in tokens, their sign of difficulty."""
    lengths = tools.token_counts(rows.responses, BY_LENGTH)
    unfit = broken(rows)
    quality = len(rows) - len(unfit)
    if config.difficulty:
        rate = pass_rates(rows, tools.attempts(UNSOLVED)).rate
        for i in np.flatnonzero(rate > 0):
            unfit.setdefault(int(i), "solved already")
        for i in np.flatnonzero(np.isnan(rate)):
            unfit.setdefault(int(i), "nobody has tried this problem")
    fit = np.array([i for i in range(len(rows)) if i not in unfit], dtype=np.int64)
    names = domains(rows, config.domain, config.clusters, config.embedding, tools, seed)
    number, known = numbered(names)
    first = taken_first(rows, fit, lengths, config)
    rest = np.setdiff1d(fit, first, assume_unique=True)
    wanted = max(budget - len(first), 0)
    drawn = longest_first_by_domain(number[rest], lengths[rest], rest, wanted, seed)
    warnings = warn_of_hard_and_long(tools, budget, "select: s1")
    notes = {
        "rows": len(rows),
        "after_quality": quality,
        "after_difficulty": len(fit),
        "taken_first": len(first),
        "domains": len(known),
        "warnings": warnings,
    }
    return choose(
        "s1",
        rows,
        np.concatenate([first, drawn]),
        budget,
        config,
        tools,
        score=lengths.astype(np.float64),
        unfit=unfit,
        columns={"domain": names},
        notes=notes,
    )


def s1_ready(config: S1Config, tools: Tools) -> None:
    tools.tokenizer(BY_LENGTH)
    if config.difficulty:
        tools.attempts(UNSOLVED)


def broken(rows: Rows) -> dict[int, str]:
    """Why a row fails on quality, by position."""
    found: dict[int, str] = {}
    for i in range(len(rows)):
        verdict = rows.verdicts[i]
        if not rows.response(i).strip():
            found[i] = "no response"
        elif rows.cut[i]:
            found[i] = "the response was cut off"
        elif verdict is not None and verdict.correct is False:
            found[i] = "the answer is wrong"
        elif _PICTURE.search(rows.text(i)):
            found[i] = "it needs a picture"
    return found


def taken_first(rows: Rows, fit: Positions, lengths: NDArray[np.int64], config: S1Config) -> Positions:
    """Rows of the data sets in `always`, known to be correct and long enough; in their order."""
    if not config.always:
        return np.zeros(0, dtype=np.int64)
    names = group_names(rows, "dataset")

    def wanted(i: int) -> bool:
        verdict, least = rows.verdicts[i], config.always.get(names[i])
        return least is not None and verdict is not None and verdict.correct is True and bool(lengths[i] > least)

    return np.array([i for i in fit if wanted(int(i))], dtype=np.int64)
