"""Stop strings: has the text of a running sample just completed one?

A token can complete a stop string only if its own text ends or contains that string's last character, so nearly every
token is told by one table look-up, and only the rest is decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.errors import EngineError

_UNKNOWN = "�"  # a token of partial bytes: its text says nothing yet


def still_thinking(text: str) -> bool:
    """Whether `text` has opened its last <think> and not closed it."""
    return text.rfind("<think>") > text.rfind("</think>")


class StopStrings:
    """`may_end[token]` tells whether a token can complete one of `strings`; `ended` decides from the ids so far.

    in_thinking: whether they also fire between <think> and </think>.
    """

    def __init__(self, strings: tuple[str, ...], tokenizer: Any, vocab: int, *, in_thinking: bool) -> None:
        if tokenizer is None:
            raise EngineError(
                f"sampling: stop strings {list(strings)} need text, and this engine has no tokenizer. "
                "Pass tokenizer=... to the engine, or stop by stop_token_ids."
            )
        self.strings, self.tokenizer, self.in_thinking = strings, tokenizer, in_thinking
        self.longest = max(map(len, strings))
        last = {string[-1] for string in strings}
        self.may_end: NDArray[np.bool_] = np.zeros(vocab, dtype=np.bool_)
        texts = tokenizer.batch_decode([[i] for i in range(min(vocab, len(tokenizer)))])
        for token, text in enumerate(texts):
            self.may_end[token] = _UNKNOWN in text or any(character in text for character in last)

    def ended(self, prompt: tuple[int, ...], ids: NDArray[np.int32]) -> bool:
        """Whether the last of the sampled `ids` completed a stop string. The prompt may have opened a thought."""
        # Each token has at least one byte, each character at most four: enough tokens for the string and the new one.
        tail = ids[-(4 * self.longest + 4) :].tolist()
        text = self.tokenizer.decode(tail)
        before = self.tokenizer.decode(tail[:-1])
        start = max(0, len(before) - self.longest)
        if not any(string in text[start:] for string in self.strings):
            return False
        return self.in_thinking or not still_thinking(self.tokenizer.decode([*prompt, *ids.tolist()]))
