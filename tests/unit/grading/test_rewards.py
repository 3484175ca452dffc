"""Reward functions in TRL's form, and the format rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from posttrain.errors import GradingError
from posttrain.grading import formats, rewards


def test_an_accuracy_reward_takes_texts_and_chats() -> None:
    reward = rewards.accuracy_reward("math", gold="solution")
    chat = [[{"role": "assistant", "content": r"\boxed{\frac12}"}], [{"role": "assistant", "content": "no idea"}]]
    assert reward(completions=chat, solution=["0.5", "0.5"], prompts=["?", "?"]) == [1.0, 0.0]
    assert reward([r"\boxed{3}", r"\boxed{4}"], solution=["3", "3"]) == [1.0, 0.0]


def test_a_reward_takes_everything_that_trl_passes() -> None:
    reward = rewards.accuracy_reward("gsm8k")
    extras = {"trainer_state": object(), "log_extra": print, "log_metric": print, "completion_ids": [[1], [2]]}
    assert reward(prompts=["?", "?"], completions=["#### 4", "#### 5"], answer=[4, "4"], **extras) == [1.0, 0.0]
    assert reward.__name__ == "gsm8k_reward"


def test_an_undecided_answer_leaves_the_mean() -> None:
    endless = r"\boxed{\sum_{i=1}^{10^{15}} \frac{1}{i}}"
    assert rewards.accuracy_reward("math")([endless], answer=[r"\sqrt{2}+\sum_{i=1}^{10^{14}} \frac{1}{i}"]) == [None]


def test_a_reward_names_the_column_it_lacks() -> None:
    with pytest.raises(GradingError, match="needs the column 'answer'; there are prompts"):
        rewards.accuracy_reward("gsm8k")(completions=["1"], prompts=["?"])


def test_the_format_reward_wants_one_closed_thought() -> None:
    assert rewards.format_reward(["<think>a</think> b", "b", "<think>a", "<think>a</think><think>b</think>"]) == [
        1.0,
        0.0,
        0.0,
        0.0,
    ]


def test_tags_give_partial_credit() -> None:
    whole = "<think>a</think> <answer>b</answer>"
    assert [formats.tag_score(t) for t in (whole, "<think>a</think>", "<answer>b</answer>", "b")] == [1, 0.25, 0.75, 0]
    assert formats.think_answer_format(whole)
    assert not formats.think_answer_format(whole + " more")


def test_stripping_tags_keeps_what_stands_between() -> None:
    assert formats.strip_tags("<think>a</think>b<reason>c</reason>d", ("think", "reason")) == "bd"


def test_the_examples_of_the_documentation_run() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "grading.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "docs/grading.md", "exec"), {})
