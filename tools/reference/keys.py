"""The keys of a config schema: name, type, default, meaning. What ``posttrain STAGE --help`` lists, with types."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from tools.reference.text import code, escaped, table

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Path: "path", Any: "anything"}
_SIGNS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


def keys_table(schema: type[BaseModel], prefix: str = "") -> str:
    """All keys of a schema; those of a schema in it as ``optimizer.lr``."""
    return table(("key", "type", "default", "meaning"), _rows(schema, prefix))


def _rows(schema: type[BaseModel], prefix: str, above: tuple[type[BaseModel], ...] = ()) -> Iterator[list[str]]:
    for name, info in schema.model_fields.items():
        inner, many = _schema_in(info.annotation)
        if inner is None or inner in above:
            yield [code(prefix + name), kind(info), _default(info), _meaning(info)]
            continue
        plain = inner is info.annotation
        if not plain or info.description:
            what = "list of the keys below" if many else "the keys below"
            yield [code(prefix + name), what, "" if plain else _default(info), _meaning(info) or _summary(inner)]
        own = f"{prefix}{name}{'[]' if many else ''}."
        default = info.get_default(call_default_factory=True) if plain and not info.is_required() else None
        yield from _with_defaults(_rows(inner, own, (*above, schema)), default, own)


def _with_defaults(rows: Iterator[list[str]], default: Any, prefix: str) -> Iterator[list[str]]:
    """Where the schema above sets other defaults than the inner schema has, those are shown."""
    for row in rows:
        name = row[0].strip("`").removeprefix(prefix)
        if isinstance(default, BaseModel) and name in type(default).model_fields and row[2]:
            row[2] = _shown(getattr(default, name))
        yield row


def _schema_in(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """(the schema that an annotation holds, whether it is a list of such)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType, tuple, list):
        for argument in arguments:
            found, many = _schema_in(argument)
            if found is not None:
                return found, many or origin in (tuple, list)
    return None, False


def kind(info: FieldInfo) -> str:
    """The type of a key in words, with its bounds."""
    bounds = []
    for mark in info.metadata:
        bounds += [f"{sign} {getattr(mark, name):g}" for name, sign in _SIGNS if hasattr(mark, name)]
        if getattr(mark, "pattern", None):
            bounds.append(code(mark.pattern))
        if getattr(mark, "min_length", None):
            bounds.append(f"at least {mark.min_length}")
    return ", ".join([words(info.annotation), *bounds])


def words(annotation: Any) -> str:
    """A type in words. TypeError for one that has none yet: add it here."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _WORDS:
        return _WORDS[annotation]
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return ", ".join(code(_shown(choice).strip("`")) for choice in arguments)
    if origin is typing.Annotated:
        return words(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(words(argument) for argument in arguments))
    if origin in (list, tuple, set, frozenset):
        inner = [words(argument) for argument in arguments if argument is not ...]
        if origin is tuple and ... not in arguments:
            return f"[{', '.join(inner)}]"
        return f"list of ({inner[0]})" if " or " in inner[0] else f"list of {inner[0]}"
    if origin in (dict, Mapping) or annotation in (dict, Mapping):
        return f"mapping of {words(arguments[0])} to {words(arguments[1])}" if arguments else "mapping"
    raise TypeError(f"no words for the type {annotation!r}")


def _default(info: FieldInfo) -> str:
    return "required" if info.is_required() else _shown(info.get_default(call_default_factory=True))


def _shown(value: Any) -> str:
    """A default as one would write it in YAML."""
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple | list):
        return code(json.dumps([v.model_dump() if isinstance(v, BaseModel) else v for v in value], ensure_ascii=False))
    if isinstance(value, str) and value:
        return code(value)
    return code(json.dumps(value, ensure_ascii=False, default=str))


def _meaning(info: FieldInfo) -> str:
    text = escaped(" ".join((info.description or "").split()))
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    notes = []
    if extra.get("fingerprint") is False:
        notes.append("*No effect on the result.*")
    if extra.get("file") is True:
        notes.append("*A file counts with its bytes.*")
    return " ".join(filter(None, [text, *notes]))


def _summary(schema: type[BaseModel]) -> str:
    return escaped(" ".join((schema.__doc__ or "").partition("\n\n")[0].split()))
