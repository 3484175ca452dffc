"""The selectors, and the table of their names."""

from __future__ import annotations

from posttrain.curate.base import Entry, Selector
from posttrain.curate.selectors.at_random import RandomConfig, at_random
from posttrain.curate.selectors.difficulty import DifficultyConfig, difficulty
from posttrain.curate.selectors.diversity import DiversityConfig, diversity
from posttrain.curate.selectors.mix import MixConfig, mix
from posttrain.curate.selectors.pir import PirConfig, pir
from posttrain.curate.selectors.s1 import S1Config, s1
from posttrain.curate.selectors.student_aware import StudentAwareConfig, student_aware

SELECTORS: dict[str, Entry[Selector]] = {
    "random": Entry(at_random, RandomConfig, "Rows drawn at random: what the others have to beat."),
    "difficulty": Entry(difficulty, DifficultyConfig, "A window of pass rates, lengths or complexity."),
    "diversity": Entry(diversity, DiversityConfig, "An equal share of every cluster of questions."),
    "pir": Entry(pir, PirConfig, "Traces without the steps that their answers don't need (LIMOPro), and its controls."),
    "s1": Entry(s1, S1Config, "Quality, difficulty, diversity as in s1: hard problems with long traces."),
    "mix": Entry(mix, MixConfig, "Data sets in given proportions; long beside short traces."),
    "student_aware": Entry(student_aware, StudentAwareConfig, "Difficulty and length set from the student's pass rates."),
}
