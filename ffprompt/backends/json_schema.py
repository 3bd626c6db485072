"""JSON schemas that hold a model to its answers, and the answers in a reply that follows one.

::

    >>> read_answers('{"answers": ["on", "off"]}', AnswerSchema(("off", "on"), 2))
    (1, 0)

A schema lists all values in the order of their symbols and says how many answers there are. It holds nothing of the
truth.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ffprompt.backends.base import AnswerSchema

JsonSchema = dict[str, Any]


class SchemaError(ValueError):
    """A reply does not follow its schema. The text is one short line that says why."""


def array_schema(schema: AnswerSchema) -> JsonSchema:
    """Return the JSON schema of an object with one list, ``answers``."""
    item = {"type": "string", "enum": list(schema.values)}
    answers = {"type": "array", "items": item, "minItems": schema.count, "maxItems": schema.count}
    return _object({"answers": answers})


def object_schema(schema: AnswerSchema) -> JsonSchema:
    """Return the JSON schema of an object with one property per answer, for servers that ignore a list's length."""
    return _object({name: {"type": "string", "enum": list(schema.values)} for name in _names(schema)})


def write_answers(schema: AnswerSchema, answers: Sequence[int]) -> str:
    """Return answers, given as indices into the values, as a reply would write them."""
    return json.dumps({"answers": [schema.values[answer] for answer in answers]}, ensure_ascii=False)


def conforms(text: str, schema: AnswerSchema) -> bool:
    """Return whether a reply follows its schema."""
    try:
        read_answers(text, schema)
    except SchemaError:
        return False
    return True


def read_answers(text: str, schema: AnswerSchema) -> tuple[int, ...]:
    """Return the answers of a reply, as indices into the values.

    The reply must be JSON of either schema and nothing else. An integer counts as the value it is written as.

    Raises:
        SchemaError: where the reply does not follow the schema.
    """
    if not text.strip():
        raise SchemaError("the reply is empty")
    try:
        content = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SchemaError("the reply is not the JSON that was asked for") from None
    if not isinstance(content, dict):
        raise SchemaError("the JSON is no object")
    if content.keys() == {"answers"} and isinstance(content["answers"], list):
        given = content["answers"]
    elif content.keys() == set(_names(schema)):
        given = [content[name] for name in _names(schema)]
    else:
        raise SchemaError("the JSON does not have the properties that were asked for")
    if len(given) != schema.count:
        raise SchemaError(f"found {len(given)} answers, wanted {schema.count}")
    answers = [_index(answer, schema.values) for answer in given]
    if None in answers:
        raise SchemaError("the JSON holds an unknown value")
    return tuple(answer for answer in answers if answer is not None)


def _object(properties: JsonSchema) -> JsonSchema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _names(schema: AnswerSchema) -> list[str]:
    return [f"answer_{number}" for number in range(1, schema.count + 1)]


def _index(answer: Any, values: Sequence[str]) -> int | None:
    """Return which value an answer is. True and False are integers to Python, and are not values."""
    if isinstance(answer, int) and not isinstance(answer, bool):
        equal = [n for n, value in enumerate(values) if value.isascii() and value.isdigit() and int(value) == answer]
        return equal[0] if len(equal) == 1 else None
    return values.index(answer) if isinstance(answer, str) and answer in values else None


def _unique(pairs: Sequence[tuple[str, Any]]) -> JsonSchema:
    unique = dict(pairs)
    if len(unique) < len(pairs):
        raise ValueError("duplicate key")
    return unique


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")
