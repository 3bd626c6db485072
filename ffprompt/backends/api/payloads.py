"""JSON objects as they go to a provider and come back, whose shape is the provider's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Payload = dict[str, Any]  # what is sent, or a part of it
JsonObject = Mapping[str, Any]  # what came back, or what is only looked at


def merged(payload: JsonObject, extra: JsonObject) -> Payload:
    """Return a payload with more in it. Objects that are in both are joined.

    >>> merged({"model": "m", "reasoning": {"effort": "low"}}, {"reasoning": {"summary": "none"}})
    {'model': 'm', 'reasoning': {'effort': 'low', 'summary': 'none'}}
    """
    result = dict(payload)
    for name, value in extra.items():
        both = isinstance(result.get(name), Mapping) and isinstance(value, Mapping)
        result[name] = merged(result[name], value) if both else value
    return result
