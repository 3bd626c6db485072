"""Dataclasses as plain values, which JSON holds."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import JsonValue


def plain(value: Any) -> Any:
    """Return dataclasses as dicts and tuples as lists, all the way down.

    A field that is named like a word of Python's has an underscore after it, which is left out.

    >>> from dataclasses import make_dataclass
    >>> plain(make_dataclass("Bin", ["from_", "to"])(1, (2, 3)))
    {'from': 1, 'to': [2, 3]}
    """
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if is_dataclass(value):
        return {one.name.removesuffix("_"): plain(getattr(value, one.name)) for one in fields(value)}
    raise TypeError(f"{type(value).__name__}: expected a dataclass or a plain value")


class Plain:
    """A dataclass that goes into JSON field by field."""

    def to_json(self) -> dict[str, JsonValue]:
        """Return the fields as plain values, in their order."""
        made: dict[str, JsonValue] = plain(self)
        return made
