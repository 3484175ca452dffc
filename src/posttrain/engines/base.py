"""The Engine protocol: token ids in, Completions out, exact log-probabilities of what was sampled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

from posttrain.errors import EngineError
from posttrain.records import Completion

if TYPE_CHECKING:
    import torch

    from posttrain.store import Checkpoint


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `key` comes back in its Completions; `seed` makes its sampling noise its own.

    sampling: this prompt's own settings in place of those of the call.
    messages: the same as a conversation of (role, content), for servers that take text only; token_ids may then be ().
    """

    key: str
    token_ids: tuple[int, ...]
    seed: int = 0
    sampling: Sampling | None = None
    messages: tuple[tuple[str, str], ...] = ()

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
    """How to sample. temperature 0 = greedy (log-probabilities are then those at T = 1, penalties included).

    Noise depends on (prompt.seed, sample index, position) only: not on batch size, order or neighbours.
    Order of processing: penalties, temperature, top_k, top_p, min_p, as in transformers and vLLM.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0  # 0 = off
    min_p: float = 0.0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()  # strings; the completion is cut after the token that completes one
    stop_in_thinking: bool = False  # whether stops of ordinary text also fire between <think> and </think>
    # The model's own end-of-turn ids and others. A special token (end of turn, end of text) ends even a thought, since
    # nothing sensible follows it; an id of ordinary text is treated as a stop string is, where there is a tokenizer.
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False  # True: stop_token_ids don't stop
    repetition_penalty: float = 1.0  # of tokens in prompt or answer: positive logits / it, negative x it (CTRL, 4.1)
    presence_penalty: float = 0.0  # taken from the logits of tokens that the answer has (OpenAI API)
    frequency_penalty: float = 0.0  # the same, times how often
    raw_logprobs: bool = False  # also give log-probabilities before penalties, temperature and filters
    entropy: bool = False  # also give the entropy (nats) of the distribution at each token, before top_k, top_p, min_p

    def __post_init__(self) -> None:
        checks = [
            (self.n >= 1, "n", "at least 1"),
            (self.temperature >= 0, "temperature", "0 (greedy) or above"),
            (0 < self.top_p <= 1, "top_p", "in (0, 1]"),
            (self.top_k >= 0, "top_k", "0 (off) or above"),
            (0 <= self.min_p <= 1, "min_p", "in [0, 1]"),
            (self.max_tokens >= 1, "max_tokens", "at least 1"),
            (all(self.stop), "stop", "non-empty strings"),
            (0 < self.repetition_penalty <= 10, "repetition_penalty", "above 0 and at most 10; 1 is off"),
            (-2 <= self.presence_penalty <= 2, "presence_penalty", "in [-2, 2]; 0 is off"),
            (-2 <= self.frequency_penalty <= 2, "frequency_penalty", "in [-2, 2]; 0 is off"),
        ]
        for ok, name, rule in checks:
            if not ok:
                raise EngineError(f"sampling: {name} is {getattr(self, name)!r}; it must be {rule}.")

    @property
    def penalised(self) -> bool:
        """Whether what has been said changes the logits."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0

    def settings(self) -> dict[str, Any]:
        """What changes the answers, as JSON values: for fingerprints. Penalties that are off are left out."""
        off = {f.name: f.default for f in fields(self) if f.name.endswith("_penalty")}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name not in ("raw_logprobs", "entropy") and not (name in off and value == off[name])
        }


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
