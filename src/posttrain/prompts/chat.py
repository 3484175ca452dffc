"""The tokenizer's own chat template."""

from __future__ import annotations

from collections.abc import Sequence

from posttrain.errors import DataError, ModelError
from posttrain.prompts.template import Template, Tokenizer, end_of_text
from posttrain.prompts.text import worked
from posttrain.records import Problem

# Qwen2.5's format without its tools part, and its default system prompt (Qwen2.5's tokenizer_config.json; LLaMA-Factory
# calls the same `qwen`).
QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
QWEN = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + QWEN_SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Text that no chat template writes itself: what it writes after this in an assistant turn is how it ends a turn.
_PROBE = "\u2603 what comes after this \u2603"


def chat(shots: Sequence[Problem], system: str | None) -> Template:
    """The question as a user turn; shots become earlier turns; `system` the system prompt."""
    return _chat("chat", None, shots, system)


def qwen(shots: Sequence[Problem], system: str | None) -> Template:
    """Qwen2.5's format whatever the tokenizer's own template is: base models come with none or another.

    ModelError for a tokenizer that has no ``<|im_start|>`` and ``<|im_end|>``.
    """
    return _chat("qwen", QWEN, shots, system)


def _chat(name: str, source: str | None, shots: Sequence[Problem], system: str | None) -> Template:
    earlier: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    for shot in shots:
        earlier += [{"role": "user", "content": shot.question}, {"role": "assistant", "content": worked(shot)}]

    def render(question: str, tokenizer: Tokenizer) -> str:
        _refuse_markup(question, tokenizer)
        return _apply(tokenizer, turns(question), generation=True, source=source)

    def turns(question: str) -> list[dict[str, str]]:
        return [*earlier, {"role": "user", "content": question}]

    def converse(tokenizer: Tokenizer, said: Sequence[dict[str, str]]) -> str:
        for turn in said:
            if turn["role"] != "assistant":
                _refuse_markup(turn["content"], tokenizer)
        own = earlier[1:] if system and said[0]["role"] == "system" else earlier
        head, body = (said[:1], said[1:]) if said[0]["role"] == "system" else ((), said)
        return _apply(tokenizer, [*head, *own, *body], generation=False, source=source)

    def end(tokenizer: Tokenizer) -> int:
        return end_of_turn(tokenizer, source)

    return Template(name, render, end=end, markup=True, converse=converse, turns=turns)


def chat_ids(turns: Sequence[dict[str, str]], tokenizer: Tokenizer) -> list[int]:
    """Ids of a conversation, `turns` of {"role", "content"}, up to where the assistant's next answer begins.

    DataError for a user's turn that holds markup; ModelError where the chat template refuses the turns.
    """
    for turn in turns:
        if turn["role"] != "assistant":
            _refuse_markup(turn["content"], tokenizer)
    text = _apply(tokenizer, list(turns), generation=True)
    return [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]


def end_of_turn(tokenizer: Tokenizer, source: str | None = None) -> int:
    """The id of the token that the chat template writes after an assistant's text; its eos where it writes none."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
    after = _apply(tokenizer, turns, generation=False, source=source).rpartition(_PROBE)[2]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token in tokenizer(after, add_special_tokens=False)["input_ids"]:
        if token in special:
            return int(token)
    return end_of_text(tokenizer)


def _refuse_markup(question: str, tokenizer: Tokenizer) -> None:
    """A question that holds a special token would open or close turns of its own."""
    for token in tokenizer.all_special_tokens:
        if token in question:
            raise DataError(
                f"the question {question[:60]!r} contains {token!r}, which the tokenizer reads as markup: it would end "
                "the user's turn. Remove it from the question, or use a text template (plain, alpaca)."
            )


def _apply(tokenizer: Tokenizer, turns: list[dict[str, str]], *, generation: bool, source: str | None = None) -> str:
    """The text of `turns` by the template `source`, or by the tokenizer's own."""
    if source is not None:
        for token in ("<|im_start|>", "<|im_end|>"):
            if token not in tokenizer.get_added_vocab():
                raise ModelError(
                    f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no token {token}, which template "
                    "'qwen' writes. Use the tokenizer's own template (chat) or a text template (plain, alpaca)."
                )
    elif not tokenizer.chat_template:
        raise ModelError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template. Use a template that "
            "needs none (plain, alpaca, r1_zero), or take the model's Instruct version."
        )
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=generation, chat_template=source
        )
    except TemplateError as error:
        roles = ", ".join(turn["role"] for turn in turns)
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path or 'this model'} refuses the turns {roles}: {error}. "
            "Leave out the system prompt or the shots, or use another template."
        ) from None
    return str(text)
