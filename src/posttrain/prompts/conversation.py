"""Conversations of several turns: rendered once by a chat template, cut where the assistant speaks.

The template is given marks in place of what the assistant said. The text between two marks is the template's own
writing and the other side's turns, and becomes ids as it is; what the assistant said becomes ids by itself, as it does
when it is sampled. So the mask is known when the ids are made, and no prefix is ever tokenised twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from posttrain.errors import DataError
from posttrain.prompts.template import Example, LossOn, Tokenizer, encode

Turns = Sequence[dict[str, str]]
Apply = Callable[[Tokenizer, Turns], str]

_OPEN, _CLOSE = "<think>", "</think>"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one role said. `reasoning` is what the assistant thought before, without its tags."""

    role: str
    content: str
    reasoning: str | None = None

    @property
    def text(self) -> str:
        """Reasoning in ``<think>`` tags, then the content."""
        return self.content if self.reasoning is None else think(self.reasoning, self.content)


def think(reasoning: str, content: str) -> str:
    """A response with its reasoning in front, laid out as DeepSeek-R1 and Qwen3 write it."""
    return f"{_OPEN}\n{reasoning.strip()}\n{_CLOSE}\n\n{content.lstrip()}"


def read_turns(messages: Sequence[Mapping[str, Any]], where: str) -> tuple[Turn, ...]:
    """Turns of ``{"role", "content"[, "reasoning"]}``, checked: DataError for unknown roles, an order no chat has,
    content that is no text, or no assistant at the end."""
    turns = []
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant"):
            raise DataError(
                f"{where}: a turn's role is {role!r}. Conversations have the roles system, user and assistant; tools "
                "are not supported: leave such rows out."
            )
        if not isinstance(content, str):
            raise DataError(f"{where}: a turn's content is {type(content).__name__}, not text. Convert or remove it.")
        reasoning = next((v for k in _REASONING if isinstance(v := message.get(k), str) and v.strip()), None)
        if role == "assistant" and reasoning is None and content.lstrip().startswith(_OPEN) and _CLOSE in content:
            reasoning, _, content = content.lstrip().removeprefix(_OPEN).partition(_CLOSE)
            content = content.lstrip("\n")
        turns.append(Turn(role, content, reasoning if role == "assistant" else None))
    spoken = [t.role for t in turns if t.role != "system"]
    if spoken != ["user", "assistant"] * (len(spoken) // 2) or not spoken or "system" in [t.role for t in turns[1:]]:
        raise DataError(
            f"{where}: the turns are {', '.join(t.role for t in turns) or 'none'}. A conversation is an optional "
            "system turn, then user and assistant by turns, the assistant last."
        )
    return tuple(turns)


# The field has had several names (vLLM, DeepSeek, OpenRouter, Qwen).
_REASONING = ("reasoning", "reasoning_content", "thinking")


def conversation_example(
    turns: Sequence[Turn], apply: Apply, end: int, tokenizer: Tokenizer, loss_on: LossOn
) -> Example:
    """The conversation's ids, and loss on the last answer, on every answer, or on everything.

    An answer's mask includes the token that ends its turn; the example ends with it.
    """
    text, spoken = _render(turns, apply, tokenizer)
    answers = [i for i, piece in enumerate(text) if piece in spoken]
    ids: list[int] = []
    mask: list[int] = []
    for i, piece in enumerate(text):
        if i in answers:
            supervised = loss_on != "response" or i == answers[-1]
            new = encode(tokenizer, spoken[piece], add_special_tokens=False, split_special_tokens=True)
            ids += new
            mask += [int(supervised)] * len(new)
            if i == answers[-1]:
                ids.append(end)
                mask.append(1)
                break
            continue
        new = encode(tokenizer, piece, add_special_tokens=False, split_special_tokens=False)
        ids += new
        closes = i - 1 in answers and loss_on != "response" and new[:1] == [end]
        mask += [int(closes)] + [0] * (len(new) - 1) if new else []
    return Example(tuple(ids), (1,) * len(ids) if loss_on == "sequence" else tuple(mask))


def _render(turns: Sequence[Turn], apply: Apply, tokenizer: Tokenizer) -> tuple[list[str], dict[str, str]]:
    """The rendered text in pieces, in order, and for those pieces that are marks what the assistant said there.

    A template that strips its messages strips the mark's spaces: then what was said is stripped too. One that leaves
    out the reasoning of earlier turns (Qwen3) leaves out its mark.
    """
    marked: list[dict[str, str]] = []
    for i, turn in enumerate(turns):
        content = turn.content
        if turn.role == "assistant":
            content = f" {_mark('said', i)} "
            if turn.reasoning is not None:
                content = think(_mark("thought", i), content.strip())
        marked.append({"role": turn.role, "content": content})
    rest = apply(tokenizer, marked)
    pieces: list[str] = []
    spoken: dict[str, str] = {}
    for i, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        said, thought = _mark("said", i), _mark("thought", i)
        before, found, rest = rest.partition(said)
        if not found:
            raise DataError(
                "the chat template leaves out an assistant's turn, so nothing could be learned from it. Use another "
                "template (qwen, or a .jinja file)."
            )
        content = turn.content
        if turn.reasoning is None:
            spaced = before.endswith(" ") and rest.startswith(" ")
            before, rest = before.removesuffix(" "), rest.removeprefix(" ")
            content = content if spaced else content.strip()
        elif thought in before:
            before, _, between = before.rpartition(thought)
            opening = before[before.rfind(_OPEN) :]
            before = before[: len(before) - len(opening)]
            content = f"{opening}{turn.reasoning.strip()}{between}{content.strip()}"
        pieces += [before, said]
        spoken[said] = content
    return [*pieces, rest], spoken


def _mark(what: str, i: int) -> str:
    return f"\u2603{what}{i}\u2603"
