"""What answers look like beside being right or wrong, text by text, problem by problem, and over checkpoints."""

from posttrain.evals.analytics.calibration import Calibration, calibrate
from posttrain.evals.analytics.language import foreign_share, scripts
from posttrain.evals.analytics.markers import KINDS, Mark, count_marks, find_marks
from posttrain.evals.analytics.profile import MEASURES, SHARES, Series, profile, series_over_steps
from posttrain.evals.analytics.repetition import loop_length, repeated_share
from posttrain.evals.analytics.stability import Agreement, Solved, agreement, solved_over_steps
from posttrain.evals.analytics.stated import stated_answers

__all__ = [
    "KINDS",
    "MEASURES",
    "SHARES",
    "Agreement",
    "Calibration",
    "Mark",
    "Series",
    "Solved",
    "agreement",
    "calibrate",
    "count_marks",
    "find_marks",
    "foreign_share",
    "loop_length",
    "profile",
    "repeated_share",
    "scripts",
    "series_over_steps",
    "solved_over_steps",
    "stated_answers",
]
