"""The templates by name, and `get_template`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from posttrain.errors import RecipeError, did_you_mean
from posttrain.prompts import text
from posttrain.prompts.chat import chat, qwen
from posttrain.prompts.file import from_file
from posttrain.prompts.template import Template
from posttrain.records import Problem

TEMPLATES: dict[str, Callable[[Sequence[Problem], str | None], Template]] = {
    "plain": text.plain,
    "chat": chat,
    "qwen": qwen,
    "r1_zero": text.r1_zero,
    "alpaca": text.alpaca,
}


def get_template(name: str, *, shots: Sequence[Problem] = (), system: str | None = None) -> Template:
    """The template called `name`, or the one in a ``.jinja`` file.

    shots: solved problems shown before the question, in this order; DataError for one without a solution.
    system: a system prompt (chat), or another preamble (text formats).
    RecipeError for an unknown name or an unusable file.
    """
    if name.endswith((".jinja", ".jinja2", ".j2")):
        return from_file(Path(name), shots, system)
    maker = TEMPLATES.get(name)
    if maker is None:
        raise RecipeError(
            f"unknown template {name!r}.{did_you_mean(name, TEMPLATES)} Known: {', '.join(TEMPLATES)}, "
            "or the path of a .jinja file."
        )
    return maker(shots, system)
