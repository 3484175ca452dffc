"""``{name}`` in recipe values: a whole string becomes the variable's value, type and all; inside text, its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from posttrain.errors import RecipeError, did_you_mean

_NAME = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?"  # ``run``, or ``run.epochs``: a field of a matrix value
_BRACES = re.compile(rf"\{{\{{({_NAME})\}}\}}|\{{({_NAME})\}}")
_WHOLE = re.compile(rf"^\{{({_NAME})\}}$")


def substitute(value: Any, variables: Mapping[str, Any], where: str) -> Any:
    """`value` with variables filled in, everywhere below it.

    ``{{model}}`` writes ``{model}``. Inside text, braces around an unknown word stay as they are (prompts are full of
    them); a string that is nothing but one must name a variable, or RecipeError.
    """
    if isinstance(value, Mapping):
        return {key: substitute(inner, variables, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, variables, where) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _WHOLE.match(value)
    if whole:
        if whole[1] not in variables:
            known = ", ".join(f"{{{name}}}" for name in variables) or "none"
            raise RecipeError(
                f"{where}: there is no variable {value}.{did_you_mean(whole[1], variables)} "
                f"Known: {known}; add it under 'vars:'."
            )
        return variables[whole[1]]

    def fill(match: re.Match[str]) -> str:
        escaped, word = match.groups()
        if escaped is not None:
            return f"{{{escaped}}}" if escaped in variables else match[0]
        return str(variables[word]) if word in variables else match[0]

    return _BRACES.sub(fill, value)


def fields_of(key: str, value: Any) -> dict[str, Any]:
    """A matrix key's variables for one of its values: ``{run}``, and ``{run.epochs}`` where the value has fields.

    A value with fields is a mapping, and its field `name` is what ``{run}`` stands for.
    """
    if not isinstance(value, Mapping):
        return {key: value}
    return {key: value["name"], **{f"{key}.{field}": inner for field, inner in value.items()}}


def named_in(value: Any) -> Iterator[str]:
    """Words in single braces anywhere in `value`; of ``{run.epochs}``, ``run``."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from named_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from named_in(inner)
    elif isinstance(value, str):
        yield from (match[2].partition(".")[0] for match in _BRACES.finditer(value) if match[2])
