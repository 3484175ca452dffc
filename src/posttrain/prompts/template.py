"""How a question becomes token ids, and which ids of a training example carry loss.

The prompt and the response are tokenised apart and concatenated, so that the ids a policy samples after a prompt and
the ids it was trained on after the same prompt can't differ by a merge across the border. Every example ends with the
token that ends a turn, and it carries loss: a model trained here learns to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from posttrain.errors import DataError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from posttrain.prompts.conversation import Turn

Tokenizer: TypeAlias = "PreTrainedTokenizerBase"
LossOn: TypeAlias = Literal["response", "sequence", "assistant"]


@dataclass(frozen=True, slots=True)
class Example:
    """One training example. ``mask[i] == 1`` iff ``ids[i]`` is a response token, the end-of-turn token included."""

    ids: tuple[int, ...]
    mask: tuple[int, ...]


def end_of_text(tokenizer: Tokenizer) -> int:
    """The tokenizer's eos id. ModelError without one."""
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no end-of-text token, so a model could "
            "never learn to stop. Set eos_token in its tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


@dataclass(frozen=True, slots=True)
class Template:
    """A prompt format.

    render: the text before the response, of a question and a tokenizer.
    stop: strings after which sampling ends (they stay in the response).
    grading: the grader spec that reads this format's answers.
    end: the id that closes a response.
    markup: whether `render` writes special tokens itself, as chat templates do. Otherwise a special token's name in the
    text is read as the ordinary text it is, and the tokenizer adds the begin-of-text token where it has one.
    lead: what stands between prompt and response when a response does not begin with it.
    opened: what the prompt already wrote of the response; a response that begins with it loses it.
    converse: for formats with turns, the text of a conversation ``[{"role", "content"}]``.
    turns: for those, the conversation that asks a question.
    """

    name: str
    render: Callable[[str, Tokenizer], str]
    stop: tuple[str, ...] = ()
    grading: str = "gsm8k"
    end: Callable[[Tokenizer], int] = end_of_text
    markup: bool = False
    lead: str = ""
    opened: str = ""
    converse: Callable[[Tokenizer, Sequence[dict[str, str]]], str] | None = field(default=None, repr=False)
    turns: Callable[[str], list[dict[str, str]]] | None = field(default=None, repr=False)

    def messages(self, question: str) -> tuple[tuple[str, str], ...]:
        """The prompt as a conversation of (role, content), for servers that write the markup themselves.

        A text template is one user's turn, and its `render` looks at no tokenizer.
        """
        if self.turns is None:
            return (("user", self.render(question, cast("Tokenizer", None))),)
        return tuple((turn["role"], turn["content"]) for turn in self.turns(question))

    def prompt_ids(self, question: str, tokenizer: Tokenizer) -> list[int]:
        """Ids of the generation prompt."""
        text = self.render(question, tokenizer)
        return encode(tokenizer, text, add_special_tokens=not self.markup, split_special_tokens=not self.markup)

    def response_ids(self, response: str, tokenizer: Tokenizer) -> list[int]:
        """Ids of a response and of the end of its turn.

        A special token's name inside the response is ordinary text: no teacher can end a turn in mid-sentence.
        """
        text = response.removeprefix(self.opened) if self.opened else response
        if not text.startswith(self.lead):
            text = self.lead + text
        ids = encode(tokenizer, text, add_special_tokens=False, split_special_tokens=True)
        return [*ids, self.end(tokenizer)]

    def example(self, question: str, response: str, tokenizer: Tokenizer, *, loss_on: LossOn = "response") -> Example:
        """``prompt_ids + response_ids``, with loss on the response, or on everything (`sequence`)."""
        prompt = self.prompt_ids(question, tokenizer)
        answer = self.response_ids(response, tokenizer)
        return Example((*prompt, *answer), (int(loss_on == "sequence"),) * len(prompt) + (1,) * len(answer))

    def conversation(self, turns: Sequence[Turn], tokenizer: Tokenizer, *, loss_on: LossOn = "response") -> Example:
        """A conversation with loss on its last answer, every answer (`assistant`) or everything (`sequence`).

        A format without turns takes one question and its answer; a system prompt stands before the question then.
        DataError for more than that.
        """
        from posttrain.prompts.conversation import conversation_example

        if self.converse is not None:
            return conversation_example(turns, self.converse, self.end(tokenizer), tokenizer, loss_on)
        *before, question, answer = turns
        if any(turn.role != "system" for turn in before):
            raise DataError(
                f"template {self.name!r} holds one question and one answer, and this conversation has {len(turns)} "
                "turns. Use a template with turns (chat, qwen), or keep single-turn rows only."
            )
        text = "\n\n".join([*(turn.content for turn in before), question.content])
        return self.example(text, answer.text, tokenizer, loss_on=loss_on)

    def stop_token_ids(self, tokenizer: Tokenizer) -> tuple[int, ...]:
        """Ids that end a response: the end of turn, and the end of text where that is another token."""
        eos = tokenizer.eos_token_id
        return tuple(dict.fromkeys([self.end(tokenizer), *([int(eos)] if eos is not None else [])]))


def encode(tokenizer: Tokenizer, text: str, *, add_special_tokens: bool, split_special_tokens: bool) -> list[int]:
    # verbose=False: the warning about length belongs to whoever truncates, not here
    encoded = tokenizer(
        text, add_special_tokens=add_special_tokens, split_special_tokens=split_special_tokens, verbose=False
    )
    return [int(i) for i in encoded["input_ids"]]


def document_ids(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids of a document of plain text, closed by the padding (end-of-text) token where there is one, else by eos."""
    closing = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else end_of_text(tokenizer)
    return [*encode(tokenizer, text, add_special_tokens=False, split_special_tokens=True), int(closing)]


def continuation_ids(context: str, continuation: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """(ids of a context, ids of what may follow it), for scoring the second.

    As in lm-eval (api/model.py, _encode_pair): spaces at the end of the context go to the continuation, and the ids of
    both together are cut where those of the context alone end. DataError where that leaves nothing on either side.
    """
    before = encode(tokenizer, context.rstrip(), add_special_tokens=True, split_special_tokens=True)
    whole = encode(tokenizer, context + continuation, add_special_tokens=True, split_special_tokens=True)
    if not before or len(whole) <= len(before):
        raise DataError(f"{continuation[:40]!r} after {context[-40:]!r} leaves no token to score. Correct the choices.")
    return before, whole[len(before) :]
