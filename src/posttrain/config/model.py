"""`Config`, the base of every schema, and `parse`, which turns pydantic's errors into one readable line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from posttrain.errors import RecipeError, did_you_mean

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of all schemas: unknown keys and wrong types are errors, instances are immutable.

    Two marks in a field's ``json_schema_extra`` matter to the store:
    ``{"fingerprint": False}`` the field does not change the result (a device, a log interval);
    ``{"file": True}`` its value may name a file, whose bytes then count and not only its name.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def fingerprint_values(self) -> dict[str, Any]:
        """JSON-able values that matter to the result, defaults included."""
        values: dict[str, Any] = self.model_dump(mode="json")
        for name, mark in self._marks():
            if mark.get("fingerprint") is False:
                values.pop(name)
        return {name: _matters(getattr(self, name), value) for name, value in values.items()}

    def files(self) -> dict[str, Path]:
        """The existing files that fields marked as files name, by field; nested configs as ``a.b``."""
        found = {}
        for name, mark in self._marks():
            value = getattr(self, name)
            if mark.get("file") is True and isinstance(value, str | Path) and Path(value).expanduser().is_file():
                found[name] = Path(value).expanduser()
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Config):
                found.update({f"{name}.{key}": path for key, path in value.files().items()})
        return found

    def _marks(self) -> list[tuple[str, dict[str, Any]]]:
        fields = type(self).model_fields.items()
        return [(n, i.json_schema_extra) for n, i in fields if isinstance(i.json_schema_extra, dict)]


def _matters(value: Any, dumped: Any) -> Any:
    """`dumped` with nested configs replaced by what matters of them."""
    if isinstance(value, Config):
        return value.fingerprint_values()
    if isinstance(value, Mapping):
        return {
            k: _matters(inner, dumped_inner)
            for (k, dumped_inner), inner in zip(dumped.items(), value.values(), strict=True)
        }
    if isinstance(value, list | tuple):
        return [_matters(inner, dumped_inner) for inner, dumped_inner in zip(value, dumped, strict=True)]
    if isinstance(value, set | frozenset):
        return sorted(dumped)  # a set's order differs from process to process
    return dumped


def parse(schema: type[C], values: Mapping[str, Any], where: str) -> C:
    """Validate `values`; the first problem becomes a RecipeError naming `where`, the key and the nearest known key."""
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            known = _known_keys(schema, path[:-1])
            hint = did_you_mean(path[-1], known) or f" Known keys: {', '.join(sorted(known))}."
            raise RecipeError(f"{where}: unknown key '{key}'.{hint}") from None
        if first["type"] == "missing":
            raise RecipeError(f"{where}: '{key}' is missing. Add '{key}: …' to it.") from None
        got = first.get("input")
        message = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"{where}: '{key}' is {got!r}: {message}." if key else f"{where}: {message}.") from None


def dotted_keys(schema: type[BaseModel]) -> list[str]:
    """Every key of a schema and of the models in it: ``optimizer``, ``optimizer.lr`` …"""
    keys = []
    for name, info in schema.model_fields.items():
        keys.append(name)
        inner = _first_model(info.annotation)
        if inner is not None:
            keys += [f"{name}.{key}" for key in dotted_keys(inner)]
    return keys


def _known_keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """Field names of the (nested) model at `path`; follows unions and containers to the first model in them."""
    current: type[BaseModel] = schema
    for part in path:
        if part not in current.model_fields:
            continue  # a list index or a union tag
        found = _first_model(current.model_fields[part].annotation)
        if found is None:
            return []
        current = found
    return list(current.model_fields)


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        found = _first_model(inner)
        if found is not None:
            return found
    return None
