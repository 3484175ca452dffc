"""Evaluation: answers to benchmarks, graded, measured and compared."""

from posttrain.evals.answering import answer, answers, as_sample, response_text, with_stops
from posttrain.evals.comparison import Answers, Comparison, compare, compare_family, refusal
from posttrain.evals.config import EvalConfig
from posttrain.evals.metrics import measure
from posttrain.evals.store import distinct_names, names_of, read_answers, read_ungraded

__all__ = [
    "Answers",
    "Comparison",
    "EvalConfig",
    "answer",
    "answers",
    "as_sample",
    "compare",
    "compare_family",
    "distinct_names",
    "measure",
    "names_of",
    "read_answers",
    "read_ungraded",
    "refusal",
    "response_text",
    "with_stops",
]
