"""Format rules: whether a response has the shape that was asked for, and its text without the thoughts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from posttrain.grading.text import THINK_CLOSE, THINK_OPEN

_THINK_ANSWER = re.compile(
    r"\s*<think>(?:(?!</?think>).)*</think>\s*<answer>(?:(?!</?answer>).)*</answer>\s*", re.DOTALL
)


def think_format(text: str) -> bool:
    """`<think>…</think>` once, at the start, and an answer behind it (TRL's think_format_reward)."""
    text = text.lstrip()
    return text.startswith(THINK_OPEN) and text.count(THINK_OPEN) == 1 and text.count(THINK_CLOSE) == 1


def think_answer_format(text: str) -> bool:
    """`<think>…</think> <answer>…</answer>` and nothing else (open-r1's format reward)."""
    return _THINK_ANSWER.fullmatch(text) is not None


def r1_zero_format(text: str) -> bool:
    """The r1_zero prompt opened the thought: the response closes it and gives one answer between tags.

    Source: the r1_zero reward of CS336's assignment 5 and Dr. GRPO (`"</think> <answer>" in response and "</answer>" in
    response`); white space between the tags may be of any kind here.
    """
    _, closed, rest = text.partition(THINK_CLOSE)
    rest = rest.strip()
    return bool(closed) and THINK_CLOSE not in rest and rest.startswith("<answer>") and rest.endswith("</answer>")


def tag_score(text: str) -> float:
    """Partial credit for tags (NeMo-RL's convention): 0.25 for a closed thought, 0.75 for a closed answer."""
    thought = re.search(r"<think>.*?</think>", text, re.DOTALL) is not None
    answer = re.search(r"<answer>.*?</answer>", text, re.DOTALL) is not None
    return 0.25 * thought + 0.75 * answer


def strip_tags(text: str, tags: Iterable[str] = ("think",)) -> str:
    """The text without the closed spans of these tags; what stands between spans is kept."""
    for tag in tags:
        text = re.sub(rf"<{re.escape(tag)}>.*?</{re.escape(tag)}>", "", text, flags=re.DOTALL)
    return text
