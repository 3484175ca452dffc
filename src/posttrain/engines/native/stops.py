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


class StopStrings:
    """`may_end[token]` tells whether a token can complete one of `strings`; `ended` decides from the ids so far."""

    def __init__(self, strings: tuple[str, ...], tokenizer: Any, vocab: int) -> None:
        if tokenizer is None:
            raise EngineError(
                f"sampling: stop strings {list(strings)} need text, and this engine has no tokenizer. "
                "Pass tokenizer=... to the engine, or stop by stop_token_ids."
            )
        self.strings, self.tokenizer = strings, tokenizer
        self.longest = max(map(len, strings))
        last = {string[-1] for string in strings}
        self.may_end: NDArray[np.bool_] = np.zeros(vocab, dtype=np.bool_)
        texts = tokenizer.batch_decode([[i] for i in range(min(vocab, len(tokenizer)))])
        for token, text in enumerate(texts):
            self.may_end[token] = _UNKNOWN in text or any(character in text for character in last)

    def ended(self, ids: NDArray[np.int32]) -> bool:
        """Whether the last token of `ids` completed a stop string."""
        # Each token has at least one byte, each character at most four: enough tokens for the string and the new one.
        tail = ids[-(4 * self.longest + 4) :].tolist()
        text = self.tokenizer.decode(tail)
        before = self.tokenizer.decode(tail[:-1])
        start = max(0, len(before) - self.longest)
        return any(string in text[start:] for string in self.strings)
