"""A tokenizer of characters and an engine that answers from a script: evaluation without a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from posttrain.engines.base import Prompt, Sampling
from posttrain.records import Completion, Problem

END = 1  # the fake end-of-turn id


class CharTokenizer:
    """id = code point; ids below 32 are special and decode to nothing but their name."""

    eos_token_id = END
    pad_token_id = 0
    unk_token_id = None
    chat_template = None
    name_or_path = "characters"

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}

    def decode(self, ids: Iterable[int], **_: object) -> str:
        return "".join(chr(i) if i >= 9 else f"<{i}>" for i in ids)


Script = Callable[[str, int], str]  # (problem id, sample index) -> response


class ScriptedEngine:
    """Answers from `script`, in an order that differs from the prompts'; dies after `dies_after` completions."""

    def __init__(self, script: Script, *, dies_after: int | None = None) -> None:
        self.script = script
        self.dies_after = dies_after
        self.generated: list[tuple[str, int]] = []
        self.seeds: dict[str, int] = {}
        self.closed = False

    def generate(self, prompts: Iterable[Prompt], sampling: Sampling) -> Iterator[Completion]:
        for prompt in reversed(list(prompts)):
            self.seeds[prompt.key] = prompt.seed
            for index in range(sampling.n):
                if self.dies_after is not None and len(self.generated) >= self.dies_after:
                    raise KeyboardInterrupt
                self.generated.append((prompt.key, index))
                ids = [ord(c) for c in self.script(prompt.key, index)]
                finished = len(ids) < sampling.max_tokens
                ids = [*ids, END] if finished else ids[: sampling.max_tokens]
                yield Completion(
                    prompt.key,
                    index,
                    tuple(ids),
                    (-0.5,) * len(ids),
                    "stop" if finished else "length",
                    prompt_ids=prompt.token_ids,
                )

    def score(self, sequences: Iterable[object]) -> Iterator[list[float]]:
        raise NotImplementedError

    def load_weights(self, source: object, version: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True


def sums(count: int, split: str = "test") -> list[Problem]:
    """Problems ``i + 1`` with their answers."""
    return [Problem(f"sum/{i}", f"What is {i} + 1?", str(i + 1), split=split) for i in range(count)]


def right(problem_id: str, _: int) -> str:
    return f"The answer is {int(problem_id.split('/')[1]) + 1}."


def wrong(problem_id: str, _: int) -> str:
    return f"The answer is {int(problem_id.split('/')[1]) + 7}."
