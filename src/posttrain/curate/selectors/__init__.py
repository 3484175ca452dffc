"""The selectors, and the table of their names."""

from __future__ import annotations

import functools
from collections.abc import Callable

from posttrain.curate.base import Entry, Selector, Tools
from posttrain.curate.selectors.at_random import RandomConfig, at_random
from posttrain.curate.selectors.choosing import SelectConfig, prepare_tokens
from posttrain.curate.selectors.difficulty import DifficultyConfig, difficulty
from posttrain.curate.selectors.diversity import DiversityConfig, diversity
from posttrain.curate.selectors.mix import MixConfig, mix
from posttrain.curate.selectors.pir import PirConfig, pir
from posttrain.curate.selectors.s1 import S1Config, s1
from posttrain.curate.selectors.student_aware import StudentAwareConfig, student_aware
from posttrain.grading import get_spec
from posttrain.prompts import get_template

def _prepare_difficulty(config: DifficultyConfig, tools: Tools) -> None:
    prepare_tokens("difficulty", config, tools)
    if config.by == "pass_rate":
        tools.attempts("selector 'difficulty' by pass_rate")
    if config.by == "length":
        tools.tokenizer("selector 'difficulty' by length")


def _prepare_pir(config: PirConfig, tools: Tools) -> None:
    tools.tokenizer("selector 'pir'")
    get_template(config.template)
    get_spec(config.grading)


def _prepare_s1(config: S1Config, tools: Tools) -> None:
    tools.tokenizer("selector 's1'")
    if config.difficulty:
        tools.attempts("selector 's1' with difficulty")


def _prepare_mix(config: MixConfig, tools: Tools) -> None:
    prepare_tokens("mix", config, tools)
    if config.long is not None:
        tools.tokenizer("selector 'mix' with long")


def _prepare_student_aware(config: StudentAwareConfig, tools: Tools) -> None:
    tools.attempts("selector 'student_aware'")
    tools.tokenizer("selector 'student_aware'")


def _tokens(name: str) -> Callable[[SelectConfig, Tools], None]:
    return functools.partial(prepare_tokens, name)


SELECTORS: dict[str, Entry[Selector]] = {
    "random": Entry(at_random, RandomConfig, "Rows drawn at random: what the others have to beat.", _tokens("random")),
    "difficulty": Entry(difficulty, DifficultyConfig, "A window of pass rates, lengths or complexity.", _prepare_difficulty),
    "diversity": Entry(diversity, DiversityConfig, "An equal share of every cluster of questions.", _tokens("diversity")),
    "pir": Entry(pir, PirConfig, "Traces without the steps that their answers don't need (LIMOPro), and its controls.", _prepare_pir),
    "s1": Entry(s1, S1Config, "Quality, difficulty, diversity as in s1: hard problems with long traces.", _prepare_s1),
    "mix": Entry(mix, MixConfig, "Data sets in given proportions; long beside short traces.", _prepare_mix),
    "student_aware": Entry(student_aware, StudentAwareConfig, "Difficulty and length set from the student's pass rates.", _prepare_student_aware),
}
