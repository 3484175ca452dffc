"""The selectors, and the table of their names."""

from __future__ import annotations

import functools

from posttrain.curate.base import Entry, Selector
from posttrain.curate.selectors.at_random import RandomConfig, at_random
from posttrain.curate.selectors.choosing import tokens_ready
from posttrain.curate.selectors.difficulty import DifficultyConfig, difficulty, difficulty_ready
from posttrain.curate.selectors.diversity import DiversityConfig, diversity
from posttrain.curate.selectors.mix import MixConfig, mix, mix_ready
from posttrain.curate.selectors.pir import PirConfig, pir, pir_ready
from posttrain.curate.selectors.s1 import S1Config, s1, s1_ready
from posttrain.curate.selectors.student_aware import StudentAwareConfig, student_aware, student_aware_ready

SELECTORS: dict[str, Entry[Selector]] = {
    "random": Entry(
        at_random,
        RandomConfig,
        "Rows drawn at random: what the others have to beat.",
        functools.partial(tokens_ready, "random"),
    ),
    "difficulty": Entry(
        difficulty, DifficultyConfig, "A window of pass rates, lengths or complexity.", difficulty_ready
    ),
    "diversity": Entry(
        diversity,
        DiversityConfig,
        "An equal share of every cluster of questions.",
        functools.partial(tokens_ready, "diversity"),
    ),
    "pir": Entry(pir, PirConfig, "Traces without steps that their answers don't need (LIMOPro); controls.", pir_ready),
    "s1": Entry(s1, S1Config, "Quality, difficulty, diversity as in s1: hard problems, long traces.", s1_ready),
    "mix": Entry(mix, MixConfig, "Data sets in given proportions; long beside short traces.", mix_ready),
    "student_aware": Entry(
        student_aware,
        StudentAwareConfig,
        "Difficulty and length set from the student's pass rates.",
        student_aware_ready,
    ),
}
