"""Rollouts are decoded, stopped and graded as an evaluation's answers are."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from tests.unit.evals.fakes import CharTokenizer, ScriptedEngine, sums

from posttrain.engines.base import Sampling
from posttrain.engines.stops import StopStrings
from posttrain.evals import answer
from posttrain.prompts import get_template
from posttrain.records import Problem
from posttrain.rl.config import RLConfig
from posttrain.rl.drawing import Drawer
from posttrain.rl.rollouts import Batch, Collector, batch_of

THOUGHT = " one more </think> <answer> {} </answer>"


def thinks(problem_id: str, index: int) -> str:
    right = int(problem_id.split("/")[1]) + 1
    return THOUGHT.format(right + index)


def sample_batch(config: RLConfig, problems: list[Problem], script: Any = thinks) -> Batch:
    template = get_template(config.template)
    drawer = Drawer(config, problems, 0)
    return batch_of(Collector(config, ScriptedEngine(script), CharTokenizer(), template, None, drawer, 0).collect(1))


def test_a_thought_that_the_prompt_opened_is_graded_with_its_beginning() -> None:
    batch = sample_batch(RLConfig(template="r1_zero", group=2, max_tokens=200, prompts=3), sums(3, split="train"))
    assert [s.verdict.correct for s in batch.samples if s.verdict] == [True, False] * 3
    assert all(s.response.startswith("<think> one more") for s in batch.samples)
    assert batch.metrics["reward_format"] == 1.0
    assert [r.advantage > 0 for r in batch.rollouts] == [True, False] * 3


def test_a_rollout_and_an_evaluation_read_the_same_answer_alike() -> None:
    problems, template = sums(4), get_template("r1_zero")
    batch = sample_batch(RLConfig(template="r1_zero", group=2, max_tokens=200, prompts=4), problems)
    asked = Sampling(n=2, max_tokens=200)
    theirs = answer(
        ScriptedEngine(thinks), CharTokenizer(), problems, template, asked, "r1_zero", seed=0, source="policy"
    )
    assert [(s.key, s.response, s.verdict) for s in batch.samples] == [(s.key, s.response, s.verdict) for s in theirs]


def test_the_closing_answer_tag_ends_a_response_only_once_the_thought_is_closed() -> None:
    tokenizer, template = Letters(), get_template("r1_zero")
    stops = StopStrings(template.stop, tokenizer, vocab=128, in_thinking=Sampling().stop_in_thinking)
    prompt = tuple(template.prompt_ids("What is 1 + 1?", tokenizer))

    def ends(text: str) -> bool:
        return stops.ended(prompt, np.array([ord(c) for c in text], dtype=np.int32))

    assert ends(THOUGHT.format(2))
    assert not ends(" tags like <answer> 2 </answer>")


class Letters(CharTokenizer):
    """With what StopStrings asks of a tokenizer besides."""

    added_tokens_decoder: ClassVar[dict[int, Any]] = {}
    all_special_ids: ClassVar[list[int]] = [0, 1]

    def __len__(self) -> int:
        return 128

    def batch_decode(self, batch: list[list[int]]) -> list[str]:
        return [self.decode(ids) for ids in batch]
