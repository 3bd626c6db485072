"""Answers as JSON of a given form: the schemas that a server is held to, and the reading of what it sends.

::

    >>> read_structured('{"answers": ["on", "off"]}', AnswerSchema(("off", "on"), 2))
    Parsed(answers=(1, 0), reason=None)
    >>> read_structured('{"answers": ["on"]}', AnswerSchema(("off", "on"), 2))
    Parsed(answers=None, reason='found 1 answers, wanted 2')

A schema holds all values in the order of their symbols and how many answers there are, and nothing of the truth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ffprompt.backends.base import AnswerSchema
from ffprompt.scoring.parse_reply import Parsed


def array_schema(schema: AnswerSchema) -> dict[str, Any]:
    """Return the JSON schema of an object with one list, ``answers``."""
    item = {"type": "string", "enum": list(schema.values)}
    answers = {"type": "array", "items": item, "minItems": schema.count, "maxItems": schema.count}
    return _object({"answers": answers})


def object_schema(schema: AnswerSchema) -> dict[str, Any]:
    """Return the JSON schema of an object with one property an answer, for servers that take no length of a list."""
    return _object({name: {"type": "string", "enum": list(schema.values)} for name in _names(schema)})


def written(schema: AnswerSchema, answers: Sequence[int]) -> str:
    """Return answers, as indices into the values, as a reply would write them."""
    return json.dumps({"answers": [schema.values[answer] for answer in answers]}, ensure_ascii=False)


def conforms(text: str, schema: AnswerSchema) -> bool:
    """Return whether a reply is what its schema asks for."""
    return read_structured(text, schema).answers is not None


def read_structured(text: str, schema: AnswerSchema) -> Parsed:
    """Read a reply that is JSON of either schema and nothing else. An integer counts as the value it is written as."""
    if not text.strip():
        return Parsed(None, "the reply is empty")
    try:
        found = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Parsed(None, "the reply is not the JSON that was asked for")
    if not isinstance(found, dict):
        return Parsed(None, "the JSON is no object")
    if found.keys() == {"answers"} and isinstance(found["answers"], list):
        given = found["answers"]
    elif found.keys() == set(_names(schema)):
        given = [found[name] for name in _names(schema)]
    else:
        return Parsed(None, "the JSON does not have the properties that were asked for")
    if len(given) != schema.count:
        return Parsed(None, f"found {len(given)} answers, wanted {schema.count}")
    answers = [_index(answer, schema.values) for answer in given]
    if None in answers:
        return Parsed(None, "the JSON holds an unknown value")
    return Parsed(tuple(answer for answer in answers if answer is not None), None)


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _names(schema: AnswerSchema) -> list[str]:
    return [f"answer_{number}" for number in range(1, schema.count + 1)]


def _index(answer: Any, values: Sequence[str]) -> int | None:
    """Which value an answer is. True and False are integers to Python, and no values."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        equal = [n for n, value in enumerate(values) if value.isascii() and value.isdigit() and int(value) == answer]
        return equal[0] if len(equal) == 1 else None
    return values.index(answer) if isinstance(answer, str) and answer in values else None


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
