"""The Engine protocol: token ids in, Completions out, exact log-probabilities of what was sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from posttrain.errors import EngineError
from posttrain.records import Completion

if TYPE_CHECKING:
    import torch

    from posttrain.store import Checkpoint


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `key` comes back in its Completions; `seed` makes its sampling noise its own."""

    key: str
    token_ids: tuple[int, ...]
    seed: int = 0

    def check(self, vocab: int, context: int) -> None:
        """EngineError for a prompt that a model with `vocab` ids and positions for `context` tokens can't continue."""
        ids = self.token_ids
        if not ids:
            raise EngineError(
                f"prompt {self.key!r} is empty, and a model needs at least one token to continue. "
                "Begin it with the tokenizer's bos token or use a template with words in it."
            )
        if len(ids) >= context:
            raise EngineError(
                f"prompt {self.key!r} has {len(ids)} tokens, and the context of {context} leaves no room for an "
                "answer. Shorten the prompt, use fewer shots, or raise max_context if the model allows it."
            )
        if min(ids) < 0 or max(ids) >= vocab:
            bad = min(ids) if min(ids) < 0 else max(ids)
            raise EngineError(
                f"prompt {self.key!r} has token id {bad}, outside the model's vocabulary of {vocab}. "
                "Encode it with the tokenizer that belongs to this model."
            )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample. temperature 0 = greedy (log-probabilities are then those of the raw distribution at T = 1).

    Noise depends on (prompt.seed, sample index, position) only: not on batch size, order or neighbours.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 = off
    min_p: float = 0.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # strings; the completion is cut after the token that completes one
    stop_in_thinking: bool = False  # whether stop strings also fire between <think> and </think>
    stop_token_ids: tuple[int, ...] = ()  # beside the model's own end-of-turn ids, which the caller passes here too
    ignore_eos: bool = False  # True: stop_token_ids don't stop

    def __post_init__(self) -> None:
        checks = [
            (self.n >= 1, "n", "at least 1"),
            (self.temperature >= 0, "temperature", "0 (greedy) or above"),
            (0 < self.top_p <= 1, "top_p", "in (0, 1]"),
            (self.top_k >= 0, "top_k", "0 (off) or above"),
            (0 <= self.min_p <= 1, "min_p", "in [0, 1]"),
            (self.max_tokens >= 1, "max_tokens", "at least 1"),
            (all(self.stop), "stop", "non-empty strings"),
        ]
        for ok, name, rule in checks:
            if not ok:
                raise EngineError(f"sampling: {name} is {getattr(self, name)!r}; it must be {rule}.")


class Engine(Protocol):
    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        """Completions as they finish; prompts are pulled as capacity frees."""
        ...

    def score(self, sequences: Iterable[Sequence[int]]) -> Iterator[list[float]]:
        """For each sequence of T ids: log p(id_t | id_<t) for t = 1..T-1 at temperature 1."""
        ...

    def load_weights(self, source: Checkpoint | torch.nn.Module, version: int) -> None:
        """Returns only when the new weights are proven to be served."""
        ...

    def close(self) -> None: ...
