"""Stops: has the token just sampled ended the answer, by itself or by completing a stop string?

A token can complete a stop string only if its own text ends or contains that string's last character, so nearly every
token is told by one table look-up, and only the rest is decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from posttrain.engines.base import Sampling
from posttrain.errors import EngineError

_UNKNOWN = "�"  # a token of partial bytes: its text says nothing yet


def still_thinking(text: str) -> bool:
    """Whether `text` has opened its last <think> and not closed it."""
    return text.rfind("<think>") > text.rfind("</think>")


class Lexicon:
    """Which of a tokenizer's tokens are special, and which have a character in their text (read when first asked)."""

    def __init__(self, tokenizer: Any, vocab: int) -> None:
        self.tokenizer, self.vocab = tokenizer, vocab
        added = tokenizer.added_tokens_decoder
        self.special = frozenset(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}
        self._holding: dict[str, list[int]] = {}

    def holding(self, characters: set[str]) -> NDArray[np.bool_]:
        """[vocab]: tokens whose text has one of `characters`, or is only part of a character."""
        if not self._holding:
            texts = self.tokenizer.batch_decode([[i] for i in range(min(self.vocab, len(self.tokenizer)))])
            for token, text in enumerate(texts):
                for character in set(text):
                    self._holding.setdefault(character, []).append(token)
        found = np.zeros(self.vocab, dtype=np.bool_)
        for character in characters | {_UNKNOWN}:
            found[self._holding.get(character, [])] = True
        return found


class StopStrings:
    """`may_end[token]` tells whether a token can complete one of `strings`; `ended` decides from the ids so far.

    in_thinking: whether they also fire between <think> and </think>. EngineError without a tokenizer.
    """

    def __init__(
        self,
        strings: tuple[str, ...],
        tokenizer: Any,
        vocab: int,
        *,
        in_thinking: bool,
        lexicon: Lexicon | None = None,
    ) -> None:
        if tokenizer is None:
            raise EngineError(
                f"sampling: stop strings {list(strings)} need text, and this engine has no tokenizer. "
                "Pass tokenizer=... to the engine, or stop by stop_token_ids."
            )
        self.strings, self.tokenizer, self.in_thinking = strings, tokenizer, in_thinking
        self.longest = max(map(len, strings))
        self.may_end = (lexicon or Lexicon(tokenizer, vocab)).holding({string[-1] for string in strings})

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


class Stops:
    """All that ends an answer under one Sampling.

    ends [vocab]: tokens that end it wherever they come. perhaps [vocab]: those for which `ended` must look at the text.
    EngineError for ids outside the vocabulary, and for strings without a tokenizer.
    """

    def __init__(self, sampling: Sampling, tokenizer: Any, vocab: int, lexicon: Lexicon | None = None) -> None:
        outside = [i for i in sampling.stop_token_ids if not 0 <= i < vocab]
        if outside:
            raise EngineError(
                f"sampling: stop_token_ids has {outside[0]}, outside the model's vocabulary of {vocab}. "
                "Take the ids from the tokenizer that belongs to this model."
            )
        if tokenizer is not None and lexicon is None:
            lexicon = Lexicon(tokenizer, vocab)
        self.tokenizer = tokenizer
        ids = () if sampling.ignore_eos else sampling.stop_token_ids
        anywhere = lexicon is None or sampling.stop_in_thinking
        self.ordinary = frozenset() if anywhere or lexicon is None else frozenset(ids) - lexicon.special
        self.ends: NDArray[np.bool_] = np.zeros(vocab, dtype=np.bool_)
        self.ends[[i for i in ids if i not in self.ordinary]] = True
        self.perhaps: NDArray[np.bool_] = np.zeros(vocab, dtype=np.bool_)
        self.perhaps[list(self.ordinary)] = True
        self.strings: StopStrings | None = None
        if sampling.stop:
            in_thinking = sampling.stop_in_thinking
            self.strings = StopStrings(sampling.stop, tokenizer, vocab, in_thinking=in_thinking, lexicon=lexicon)
            self.perhaps |= self.strings.may_end

    def ended(self, prompt: tuple[int, ...], ids: NDArray[np.int32]) -> bool:
        """Whether the last of the sampled `ids`, one of `perhaps`, ended the answer to `prompt`."""
        if int(ids[-1]) in self.ordinary and not still_thinking(self.tokenizer.decode([*prompt, *ids.tolist()])):
            return True
        return self.strings is not None and self.strings.ended(prompt, ids)


class StopTable:
    """The Stops of settings, made once for equal ones; at most 64 are kept."""

    def __init__(self, tokenizer: Any, vocab: int) -> None:
        self.tokenizer, self.vocab = tokenizer, vocab
        self._lexicon: Lexicon | None = None
        self._made: dict[tuple[object, ...], Stops] = {}

    def of(self, sampling: Sampling) -> Stops:
        key = (sampling.stop, sampling.stop_in_thinking, sampling.stop_token_ids, sampling.ignore_eos)
        if key not in self._made:
            text_matters = sampling.stop or (sampling.stop_token_ids and not sampling.ignore_eos)
            if self._lexicon is None and self.tokenizer is not None and text_matters:
                self._lexicon = Lexicon(self.tokenizer, self.vocab)
            while len(self._made) >= 64:
                self._made.pop(next(iter(self._made)))
            tokenizer = self.tokenizer if text_matters else None
            self._made[key] = Stops(sampling, tokenizer, self.vocab, self._lexicon)
        return self._made[key]
