"""Rows of instruction data in the formats that people publish, as turns of a conversation.

messages    {"messages": [{"role", "content"[, "reasoning"]}, …]}                   (OpenAI, TRL, UltraChat, OpenR1)
prompt      {"prompt", "completion" or "response"}, text or messages  (TRL); {"question", "response"}: ours
alpaca      {"instruction"[, "input"], "output"[, "system"][, "history"]}           (Stanford Alpaca, LLaMA-Factory)
sharegpt    {"conversations": [{"from", "value"}, …][, "system"]}                   (ShareGPT, LLaMA-Factory)

A `reasoning` field beside a single answer is its thought. No torch and no tokenizer here: text stays text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from posttrain.data.rows import Row
from posttrain.errors import DataError
from posttrain.prompts import Turn, read_turns

Format = Literal["auto", "messages", "prompt", "alpaca", "sharegpt"]

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "chatgpt": "assistant",
    "bot": "assistant",
}
_ANSWERS = ("completion", "response", "output", "answer", "solution")
_REASONING = ("reasoning", "reasoning_content", "thinking")


@dataclass(frozen=True, slots=True)
class Names:
    """What a file calls the fields: alpaca's columns, sharegpt's tags. The defaults are the formats' own names."""

    instruction: str = "instruction"
    input: str = "input"
    output: str = "output"
    system: str = "system"
    history: str = "history"
    messages: str = "conversations"
    role: str = "from"
    content: str = "value"
    roles: Mapping[str, str] | None = None  # the file's word for a role → ours, where it is none of the usual


@dataclass(frozen=True, slots=True)
class Lesson:
    """A row as turns. `input`: alpaca's, which its template sets apart; in `turns` it follows the instruction."""

    turns: tuple[Turn, ...]
    input: str | None = None
    instruction: str | None = None


def detect(row: Row) -> Format:
    """The format that a row's columns show. DataError where they show none."""
    columns = set(row.values)
    if "messages" in columns:
        return "messages"
    if "conversations" in columns:
        return "sharegpt"
    if "instruction" in columns:
        return "alpaca"
    if columns & {"prompt", "question", "problem"} and columns & set(_ANSWERS):
        return "prompt"
    raise DataError(
        f"{row.where}: the columns {', '.join(sorted(columns)) or '(none)'} are of no known format. Known: messages, "
        "prompt and completion, instruction and output (alpaca), conversations (sharegpt). Rename the columns, or "
        "describe them in a dataset_info.json."
    )


def read_lesson(row: Row, format: Format, names: Names | None = None) -> Lesson:
    """One row as turns, the assistant's last. DataError, with the row's place, for what can't be trained on.

    A row whose answer is empty is returned as it is: whoever tokenises drops and counts it.
    """
    kind = detect(row) if format == "auto" else format
    names = names or Names()
    if kind == "messages":
        return Lesson(read_turns(_list(row, "messages"), row.where))
    if kind == "prompt":
        return _prompt(row)
    return _alpaca(row, names) if kind == "alpaca" else _sharegpt(row, names)


def _prompt(row: Row) -> Lesson:
    asked = next((c for c in ("prompt", "question", "problem") if c in row.values), "prompt")
    answered = next((c for c in _ANSWERS if c in row.values), "completion")
    prompt, completion = row.values.get(asked), row.values.get(answered)
    if isinstance(prompt, list) and isinstance(completion, list):
        return Lesson(read_turns([*prompt, *completion], row.where))
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": _text(row, asked)},
        {"role": "assistant", "content": _text(row, answered), "reasoning": _reasoning(row)},
    ]
    if row.values.get("system"):
        turns.insert(0, {"role": "system", "content": _text(row, "system")})
    return Lesson(read_turns(turns, row.where))


def _alpaca(row: Row, names: Names) -> Lesson:
    instruction = _text(row, names.instruction)
    given = _text(row, names.input) if row.values.get(names.input) else ""
    turns: list[dict[str, Any]] = []
    if row.values.get(names.system):
        turns.append({"role": "system", "content": _text(row, names.system)})
    for pair in row.values.get(names.history) or []:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise DataError(f"{row.where}: {names.history!r} is not a list of [question, answer] pairs.")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    turns += [
        {"role": "user", "content": f"{instruction}\n{given}" if given else instruction},
        {"role": "assistant", "content": _text(row, names.output), "reasoning": _reasoning(row)},
    ]
    read = read_turns(turns, row.where)
    return Lesson(read, given, instruction) if given and len(read) == 2 else Lesson(read)


def _sharegpt(row: Row, names: Names) -> Lesson:
    roles = {**_ROLES, **(names.roles or {})}
    turns: list[dict[str, Any]] = []
    if row.values.get(names.system):
        turns.append({"role": "system", "content": _text(row, names.system)})
    for message in _list(row, names.messages):
        word = message.get(names.role)
        turns.append({**message, "role": roles.get(str(word), word), "content": message.get(names.content)})
    return Lesson(read_turns(turns, row.where))


def _reasoning(row: Row) -> str | None:
    return next((v for name in _REASONING if isinstance(v := row.values.get(name), str)), None)


def _text(row: Row, column: str) -> str:
    value = row.values.get(column)
    if value is None:
        value = ""  # an answer that is not there; counted as empty
    if not isinstance(value, str):
        raise DataError(f"{row.where}: {column!r} is {type(value).__name__}, not text. Convert it.")
    return value


def _list(row: Row, column: str) -> Sequence[Mapping[str, Any]]:
    value = row.values.get(column)
    if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
        raise DataError(f"{row.where}: {column!r} is not a list of turns. Write a list of objects there.")
    return value
