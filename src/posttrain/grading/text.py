"""From a raw response to the part that may answer: end of turn, then thinking.

Each function is pure and linear in its input, so a response of megabytes costs milliseconds.
"""

from __future__ import annotations

from typing import NamedTuple

# The tail is what is read: an answer stands at the end. Longer answer texts lose their head, not their end.
MAX_CHARS = 32_768

# A model that runs past its end of turn goes on to play the user; nothing behind such a token is an answer.
END_OF_TURN = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "<|end_of_sentence|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
)
NEXT_TURN = "<|im_start|>"
THINK_OPEN, THINK_CLOSE = "<think>", "</think>"


class Parts(NamedTuple):
    """What split_thinking makes: `answer` is "" where the thinking never closed."""

    answer: str
    closed: bool  # False: a thought was opened and never closed
    thought: bool  # there was a thought at all


def cut_end_of_turn(text: str) -> str:
    """The text before the first end-of-turn token."""
    end = len(text)
    for token in END_OF_TURN:
        at = text.find(token, 0, end)
        if at >= 0:
            end = at
    # A response may begin with the header of its own turn; a later header is somebody else's.
    at = text.find(NEXT_TURN, len(text) - len(text.lstrip()) + 1, end)
    return text[: at if at >= 0 else end]


def split_thinking(text: str) -> Parts:
    """What stands after the last closed thought.

    A close without an open counts (chat templates put the open into the prompt); an open after the last close, or
    without any close, is a thought that was cut off: whatever stands in it is no answer.
    """
    close = text.rfind(THINK_CLOSE)
    opened = text.rfind(THINK_OPEN)
    if opened > close:
        return Parts("", closed=False, thought=True)
    if close < 0:
        return Parts(text, closed=True, thought=False)
    return Parts(text[close + len(THINK_CLOSE) :], closed=True, thought=True)


def cap(text: str) -> str:
    """The last MAX_CHARS characters."""
    return text if len(text) <= MAX_CHARS else text[-MAX_CHARS:]
