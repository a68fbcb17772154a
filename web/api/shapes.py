"""Owns what a JSON body or a query may hold: read strictly, described as JSON Schema from the same declaration.

Unknown fields are refused by name, so that nothing can be slipped in. It must not know what the fields are for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Any, TypeVar

from flask import request

from vault.errors import Invalid
from web.failures import BadRequest

E = TypeVar("E", bound=StrEnum)

ID_PATTERN = "^[0-9a-f]{32}$"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Field:
    """One member: its JSON Schema and how its value is read. ``read`` raises ValueError with a reason slug."""

    schema: Mapping[str, Any]
    read: Callable[[Any], Any]
    is_required: bool = True
    default: Any = None

    def optional(self, default: Any = None) -> Field:
        """The same field, which may be left out."""
        return replace(self, is_required=False, default=default)


@dataclass(frozen=True, slots=True)
class Shape:
    """A JSON object or a query string."""

    name: str
    fields: Mapping[str, Field]

    def read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The members as values; those left out at their default. Raises Invalid naming the field."""
        for name in given:
            if name not in self.fields:
                raise Invalid("unknown field", field=name[:64], reason="unknown_field")
        values = {}
        for name, field in self.fields.items():
            if given.get(name) is None:
                if field.is_required:
                    raise Invalid("missing field", field=name, reason="missing")
                values[name] = field.default
                continue
            try:
                values[name] = field.read(given[name])
            except ValueError as error:
                raise Invalid("malformed field", field=name, reason=str(error)) from None
        return values

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the object."""
        return {
            "type": "object",
            "additionalProperties": False,
            "required": [name for name, field in self.fields.items() if field.is_required],
            "properties": {name: dict(field.schema) for name, field in self.fields.items()},
        }


def text(longest: int, *, shortest: int = 1, pattern: str | None = None, **facts: Any) -> Field:
    """A string of ``shortest`` to ``longest`` characters."""

    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("wrong_kind")  # noqa: TRY004  # one error class for all reasons
        if not shortest <= len(value) <= longest:
            raise ValueError("too_long" if len(value) > longest else "empty")
        return value

    schema = {"type": "string", "minLength": shortest, "maxLength": longest} | ({"pattern": pattern} if pattern else {}) | facts
    return Field(schema, read)


def identifier() -> Field:
    """An id: 32 lower-case hexadecimal digits. One of another shape is unknown like any other, so it is not refused here."""
    return text(64, pattern=ID_PATTERN)


def texts(longest: int, most: int) -> Field:
    """A list of one to ``most`` strings."""
    one = text(longest)

    def read(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise ValueError("wrong_kind")  # noqa: TRY004  # every refusal of this reader is one kind of error
        if not 1 <= len(value) <= most:
            raise ValueError("too_many" if value else "empty")
        return tuple(one.read(item) for item in value)

    return Field({"type": "array", "minItems": 1, "maxItems": most, "items": dict(one.schema)}, read)


def whole(least: int, most: int) -> Field:
    """A whole number; a query's digits count."""

    def read(value: Any) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("wrong_kind")  # noqa: TRY004  # every refusal of this reader is one kind of error
        if not least <= value <= most:
            raise ValueError("out_of_range")
        return value

    return Field({"type": "integer", "minimum": least, "maximum": most}, read)


def choice(kind: type[E]) -> Field:
    """One of an enumeration's values."""

    def read(value: Any) -> E:
        try:
            return kind(value)
        except ValueError:
            raise ValueError("unknown_value") from None

    return Field({"type": "string", "enum": [str(member) for member in kind]}, read)


def choices(kind: type[E]) -> Field:
    """A list of an enumeration's values."""
    one = choice(kind)

    def read(value: Any) -> tuple[E, ...]:
        if not isinstance(value, list):
            raise ValueError("wrong_kind")  # noqa: TRY004  # every refusal of this reader is one kind of error
        return tuple(one.read(item) for item in value)

    return Field({"type": "array", "maxItems": 200, "items": dict(one.schema)}, read)


def day() -> Field:
    """A day, ISO 8601 ``YYYY-MM-DD``."""

    def read(value: Any) -> date:
        if not isinstance(value, str) or not DAY.fullmatch(value):
            raise ValueError("shape")
        try:
            return date.fromisoformat(value)
        except ValueError:
            raise ValueError("impossible") from None

    return Field({"type": "string", "format": "date"}, read)


def flag() -> Field:
    """True or false; a query's ``true`` and ``false`` count."""

    def read(value: Any) -> bool:
        value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise ValueError("wrong_kind")  # noqa: TRY004  # every refusal of this reader is one kind of error
        return value

    return Field({"type": "boolean"}, read)


def nested(shape: Shape) -> Field:
    """An object within the object."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError("wrong_kind")  # noqa: TRY004  # every refusal of this reader is one kind of error
        return shape.read(value)

    return Field(shape.schema(), read)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def read_json(shape: Shape) -> dict[str, Any]:
    """The request's body by ``shape``. Raises BadRequest where it isn't a JSON object, Invalid where a member is wrong."""
    if not request.is_json:
        raise BadRequest("expected application/json")
    try:
        given = json.loads(request.get_data(cache=False), object_pairs_hook=_pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("broken JSON") from error
    if not isinstance(given, dict):
        raise BadRequest("expected a JSON object")
    return shape.read(given)


def read_query(shape: Shape) -> dict[str, Any]:
    """The query string by ``shape``. Raises Invalid; a name that stands twice is refused."""
    for name, values in request.args.lists():
        if len(values) > 1:
            raise Invalid("a field stands twice", field=name[:64], reason="repeated")
    return shape.read({name: value for name, value in request.args.items() if value != ""})
