"""`Config`, the base of every schema, and `parse`, which turns pydantic's errors into one readable line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from posttrain.errors import RecipeError, did_you_mean

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of all schemas: unknown keys and wrong types are errors, instances are immutable.

    A field that does not change the result (a device, a log interval) is declared with
    ``Field(json_schema_extra={"fingerprint": False})`` and left out of `fingerprint_values`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())

    def fingerprint_values(self) -> dict[str, Any]:
        """JSON-able values that matter to the result, defaults included."""
        values: dict[str, Any] = self.model_dump(mode="json")
        for name, info in type(self).model_fields.items():
            extra = info.json_schema_extra
            if isinstance(extra, dict) and extra.get("fingerprint") is False:
                values.pop(name, None)
                continue
            child = getattr(self, name)
            if isinstance(child, Config):
                values[name] = child.fingerprint_values()
        return values


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
