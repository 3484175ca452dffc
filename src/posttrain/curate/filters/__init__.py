"""The filters, one small function each, and the table of their names. A new one is a function, a config and a row."""

from __future__ import annotations

from typing import Any

from posttrain.curate.base import Entry, Filter
from posttrain.curate.filters import decontaminate as contamination
from posttrain.curate.filters import duplicates, text, verdicts

_GRADED: dict[str, Any] = {"prepare": verdicts.grading_ready}

FILTERS: dict[str, Entry[Filter]] = {
    "correct": Entry(verdicts.correct, verdicts.CorrectConfig, "The grader calls the answer correct.", **_GRADED),
    "format": Entry(verdicts.format, verdicts.FormatConfig, "The response has the form asked for.", **_GRADED),
    "agreement": Entry(verdicts.agreement, verdicts.AgreementConfig, "A problem's traces agree.", **_GRADED),
    "length": Entry(text.length, text.LengthConfig, "A window in the student's tokens.", text.length_ready),
    "language": Entry(text.language, text.LanguageConfig, "Written in one language."),
    "repetition": Entry(text.repetition, text.RepetitionConfig, "Doesn't repeat itself or end in a loop."),
    "truncated": Entry(text.truncated, text.TruncatedConfig, "Ended of itself."),
    "refusal": Entry(text.refusal, text.RefusalConfig, "Doesn't decline to answer."),
    "images": Entry(text.images, text.ImagesConfig, "Needs no picture."),
    "score": Entry(text.score, text.ScoreConfig, "A window of a numeric column."),
    "exact_duplicates": Entry(duplicates.exact_duplicates, duplicates.ExactConfig, "The first of equal rows."),
    "near_duplicates": Entry(duplicates.near_duplicates, duplicates.NearConfig, "The first of nearly equal rows."),
    "semantic_duplicates": Entry(
        duplicates.semantic_duplicates, duplicates.SemanticConfig, "The first of questions that say the same."
    ),
    "decontaminate": Entry(
        contamination.decontaminate,
        contamination.DecontaminateConfig,
        "Not a benchmark's question, nor its twin.",
        contamination.decontaminate_ready,
    ),
}
