"""Filters that judge a row by its own text."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from posttrain.config import Config
from posttrain.curate.base import Decision, Tools, decide
from posttrain.curate.rows import Part, Rows
from posttrain.data.shingles import Vocabulary, Words, ngrams
from posttrain.errors import DataError
from posttrain.grading.language import speaks
from posttrain.grading.text import THINK_CLOSE, split_thinking

CHUNK = 4096


class LengthConfig(Config):
    min: int | None = Field(None, ge=0)
    max: int | None = Field(None, ge=1)
    unit: Literal["tokens", "words", "characters"] = "tokens"
    """tokens are the student's; words and characters need no student."""
    of: Part = "response"

    @model_validator(mode="after")
    def _a_window(self) -> LengthConfig:
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


def length(rows: Rows, config: LengthConfig, tools: Tools) -> Decision:
    """Keeps min <= length <= max. The score is the length."""
    texts = rows.texts(config.of)
    if config.unit == "tokens":
        score = tools.token_counts(texts, "filter 'length'").astype(np.float64)
    elif config.unit == "words":
        score = np.array([len(text.split()) for text in texts], np.float64)
    else:
        score = np.array([len(text) for text in texts], np.float64)

    def reason(i: int) -> str:
        short = config.min is not None and score[i] < config.min
        bound = f"fewer than {config.min:,}" if short else f"more than {config.max:,}"
        return f"{score[i]:,.0f} {config.unit}, {bound}"

    return decide(score, reason, low=config.min, high=config.max)


def length_ready(config: LengthConfig, tools: Tools) -> None:
    if config.unit == "tokens":
        tools.tokenizer("filter 'length' counts in the student's tokens")


class LanguageConfig(Config):
    language: str = "en"
    """ISO 639-1, as in `en`, `de`, `zh`."""
    of: Part = "both"
    characters: int = Field(2000, ge=100)
    """How much of a text is looked at."""


def language(rows: Rows, config: LanguageConfig, tools: Tools) -> Decision:
    """Drops what is in another language by its script and commonest words. Formulas alone have no score, and stay."""
    heard = [speaks(text[: config.characters], config.language) for text in rows.texts(config.of)]
    score = np.array([np.nan if said is None else float(said) for said in heard])
    keep = np.array([said is not False for said in heard], dtype=np.bool_)
    return Decision(keep, score, None, tuple("" if k else f"not in {config.language!r}" for k in keep))


class RepetitionConfig(Config):
    max: float = Field(0.5, ge=0, le=1)
    """Highest share of words' n-grams that have been said before."""
    n: int = Field(4, ge=1)
    loops: int = Field(4, ge=2)
    """A response that ends in the same words so many times over goes, however long it is."""
    of: Part = "response"


def repetition(rows: Rows, config: RepetitionConfig, tools: Tools) -> Decision:
    """Drops texts that repeat themselves: seq-rep-n (Welleck et al. 2020, arXiv 1908.04319, section 6.1), and loops.

    The score is 1 - different n-grams / n-grams, 0 for a text too short to have two; a text that ends in a loop scores
    1.
    """
    texts, vocabulary = rows.texts(config.of), Vocabulary()
    score, looped = np.zeros(len(texts)), np.zeros(len(texts), np.int64)
    for start in range(0, len(texts), CHUNK):
        words = vocabulary.read(texts[start : start + CHUNK])
        part = slice(start, start + len(words))
        score[part] = _said_before(words, config.n)
        looped[part] = _loops(words, config.loops)
    score = np.where(looped > 0, 1.0, score)

    def reason(i: int) -> str:
        if looped[i]:
            return f"ends in the same {looped[i]} words {config.loops} times or more"
        return f"{score[i]:.0%} of its {config.n}-grams are repetitions, more than {config.max:.0%}"

    keep = (score <= config.max) & (looped == 0)
    return Decision(keep, score, config.max, tuple("" if k else reason(i) for i, k in enumerate(keep)))


def _said_before(words: Words, n: int) -> NDArray[np.float64]:
    grams, owners = ngrams(words, n)
    total = np.bincount(owners, minlength=len(words))
    order = np.lexsort((grams, owners))
    grams, owners = grams[order], owners[order]
    new = np.ones(len(grams), np.bool_)
    new[1:] = (grams[1:] != grams[:-1]) | (owners[1:] != owners[:-1])
    different = np.bincount(owners[new], minlength=len(words))
    repeated: NDArray[np.float64] = np.where(total > 0, 1 - different / np.maximum(total, 1), 0.0)
    return repeated


LONGEST_LOOP = 64  # words
LEAST_LOOPED = 12  # words that a loop must cover: "ha ha ha ha" is none


def _loops(words: Words, times: int) -> NDArray[np.int64]:
    """The shortest period, in words, that the end of each text repeats `times` times or more, [n]; 0 for none."""
    found = np.zeros(len(words), np.int64)
    for i in range(len(words)):
        ids = words.hashes[words.starts[i] : words.starts[i + 1]]
        if len(ids) < LEAST_LOOPED:
            continue
        # Only a word that comes again and again near the end can end a loop.
        tail = ids[-LONGEST_LOOP - 1 :]
        for back in np.flatnonzero(tail[-2::-1] == tail[-1])[: LONGEST_LOOP // 4].tolist():
            period = back + 1
            covered = max(period * times, LEAST_LOOPED)
            if covered <= len(ids) and np.array_equal(ids[-covered + period :], ids[-covered:-period]):
                found[i] = period
                break
    return found


class TruncatedConfig(Config):
    pass


def truncated(rows: Rows, config: TruncatedConfig, tools: Tools) -> Decision:
    """Drops responses that ended at the limit of tokens, or within a thought never closed. Score: 1 = whole."""
    why = ["ended at the limit of tokens" if cut else _unclosed(rows.responses[i]) for i, cut in enumerate(rows.cut)]
    score = np.array([float(not reason) for reason in why])
    return Decision(score > 0, score, None, tuple(why))


def _unclosed(response: str) -> str:
    return "" if split_thinking(response).closed else "a thought in it is never closed"


_REFUSALS = re.compile(
    r"\b(?:I(?:'m| am)? (?:really |very |so )?(?:sorry|apologi[sz]e)\b"
    r".{0,60}?\b(?:can(?:'t|not| not)|unable|won't|not able)"
    r"|I (?:can(?:'t|not)|am unable to|'m unable to|am not able to|won't|will not) "
    r"(?:help|assist|provide|answer|comply|fulfil|fulfill|do that|solve|complete|engage|support)"
    r"|as an? (?:AI|artificial intelligence)(?: language)?(?: model| assistant)?,? I"
    r"|(?:cannot|can't) (?:be (?:answered|determined|solved) (?:from|with|without)|fulfil+ (?:this|your) request))",
    re.IGNORECASE | re.DOTALL,
)


class RefusalConfig(Config):
    characters: int = Field(300, ge=20)
    """How far into the answer, behind its thought, a refusal is looked for."""


def refusal(rows: Rows, config: RefusalConfig, tools: Tools) -> Decision:
    """Drops answers that begin by declining to answer. Score: 1 = declines."""
    found = []
    for response in rows.responses:
        answer = response.rpartition(THINK_CLOSE)[2] if THINK_CLOSE in response else response
        found.append(_REFUSALS.search(answer.lstrip()[: config.characters].replace("\u2019", "'")))
    score = np.array([float(match is not None) for match in found])
    return Decision(score == 0, score, None, tuple(f"declines: {m[0]!r}" if m else "" for m in found))


_DRAWN = re.compile(
    r"\[asy\]|\[/asy\]|\\includegraphics|\\begin\{(?:tikzpicture|asy|picture)\}|!\[[^\]\n]{0,200}\]\(|<img\b|<image>",
    re.IGNORECASE,
)
_SHOWN = re.compile(
    r"\b(?:(?:in|from|see|to|on|of|using|with|per) (?:the|this) (?:figure|diagram|picture|image|graph|photo|drawing)"
    r" (?:below|above|shown|here|at right|to the (?:left|right))"
    r"|(?:as|is|are) (?:shown|pictured|depicted|illustrated|drawn|indicated)(?: (?:below|above|here|at (?:the )?right)"
    r"|,? (?:in|on) (?:the|this) (?:figure|diagram|picture|image|graph|map|chart))"
    r"|(?:figure|diagram|picture|image|graph|chart) (?:below|above|at (?:the )?(?:left|right)|to the (?:left|right))"
    r"|the (?:figure|diagram|picture|image|graph|photo) (?:shows|depicts|illustrates)"
    r"|in the (?:figure|diagram|picture|image|photo)\b)",
    re.IGNORECASE,
)


class ImagesConfig(Config):
    drawings: bool = True
    """Asymptote, TikZ, Markdown and HTML images."""
    mentions: bool = True
    """Words that point at a picture ("in the diagram below")."""


def images(rows: Rows, config: ImagesConfig, tools: Tools) -> Decision:
    """Drops problems that need a picture which the text has not. Score: 1 = it does."""
    why = [_pictured(question, config) for question in rows.questions]
    score = np.array([float(bool(reason)) for reason in why])
    return Decision(score == 0, score, None, tuple(why))


def _pictured(question: str, config: ImagesConfig) -> str:
    drawn = _DRAWN.search(question) if config.drawings else None
    if drawn:
        return f"has a drawing: {drawn[0]!r}"
    shown = _SHOWN.search(question) if config.mentions else None
    return f"points at a picture: {shown[0]!r}" if shown else ""


class ScoreConfig(Config):
    column: str
    """A numeric column of the rows, as `reward`, or `extra.KEY`."""
    min: float | None = None
    max: float | None = None
    missing: Literal["refuse", "drop", "keep"] = "refuse"
    """What becomes of rows whose value is absent or NaN."""

    @model_validator(mode="after")
    def _a_window(self) -> ScoreConfig:
        if self.min is None and self.max is None:
            raise ValueError("give 'min', 'max' or both")
        return self


def score(rows: Rows, config: ScoreConfig, tools: Tools) -> Decision:
    """Keeps the rows whose value in a column is in the window. DataError for a column that holds no numbers."""
    values = rows.column(config.column)
    wrong = next((v for v in values if v is not None and not isinstance(v, int | float)), None)
    if wrong is not None:
        raise DataError(
            f"filter 'score': column {config.column!r} holds {type(wrong).__name__} ({str(wrong)[:40]!r}), and a "
            "window is of numbers. Name a numeric column."
        )
    found = np.array([np.nan if v is None else float(v) for v in values], np.float64)
    missing = np.isnan(found)
    if missing.any() and config.missing == "refuse":
        raise DataError(
            f"filter 'score': {missing.sum():,} of {len(rows):,} rows have no number (NaN or nothing) in "
            f"{config.column!r}, the first is row {rows.numbers[missing.argmax()]}. Set missing: drop or keep."
        )
    low = -np.inf if config.min is None else config.min
    high = np.inf if config.max is None else config.max
    keep = np.where(missing, config.missing == "keep", (found >= low) & (found <= high)).astype(np.bool_)
    found = np.where(np.isinf(found), np.nan, found)
    why = [
        f"{config.column} is missing" if m else f"{config.column} is {v:.6g}"
        for v, m in zip(found, missing, strict=True)
    ]
    # Kept without a value on purpose: then the window alone is no threshold that every kept row was held against.
    threshold = None if config.missing == "keep" else config.max if config.min is None else config.min
    return Decision(keep, found, threshold, tuple("" if k else w for k, w in zip(keep, why, strict=True)))
