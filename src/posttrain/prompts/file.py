"""A prompt format of the user's own: a Jinja file.

The file writes everything before the response and may say how the response ends and is graded::

    {% set stop = ["\\nQuestion:"] %}{% set grading = "math" %}
    {%- for shot in shots %}Question: {{ shot.question }}
    Answer: {{ shot.solution }}

    {% endfor %}Question: {{ question }}
    Answer:

It runs in Jinja's sandbox: a template file from elsewhere can read what it is given and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posttrain.errors import RecipeError
from posttrain.prompts.template import Template, Tokenizer
from posttrain.prompts.text import worked
from posttrain.records import Problem

_PROBE = "where does the question stand?"


def from_file(path: Path, shots: Sequence[Problem], system: str | None) -> Template:
    """The template in `path`. RecipeError when it is missing, not Jinja, or leaves out the question."""
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"template file {path} can't be read: {error}. Give the path of a .jinja file.") from None
    given = {
        "shots": [{"question": shot.question, "solution": worked(shot), "answer": shot.answer} for shot in shots],
        "system": system,
    }
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    try:
        parsed = environment.from_string(source)
        facts = parsed.make_module({**given, "question": _PROBE})
    except TemplateError as error:
        raise RecipeError(
            f"template file {path}: {error}. It may use question, shots (question, solution, answer) and system."
        ) from None
    if _PROBE not in str(facts):
        raise RecipeError(f"template file {path} never writes the question. Put {{{{ question }}}} where it belongs.")

    def render(question: str, tokenizer: Tokenizer) -> str:
        return parsed.render(**given, question=question)

    grading = str(getattr(facts, "grading", "gsm8k"))
    return Template(path.stem, render, stop=_strings(getattr(facts, "stop", ()), path), grading=grading)


def _strings(value: Any, path: Path) -> tuple[str, ...]:
    values = (value,) if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(v, str) and v for v in values):
        raise RecipeError(f'template file {path}: stop is {value!r}. Write a list of strings: {{% set stop = ["…"] %}}')
    return tuple(values)
