"""Read JSON from disk into dataclasses, and say in one line what is damaged.

A record is a frozen dataclass whose fields have the names of its JSON keys. The types below are strict: ``"3"``,
``3.5`` and ``true`` are no whole numbers. Keys that a dataclass does not have are passed over: later versions add some.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AllowInfNan, InstanceOf, Strict, TypeAdapter, ValidationError

from ffprompt.errors import StoreError

T = TypeVar("T")

JsonObject = dict[str, Any]

# pydantic's own str refuses half of an emoji, which some servers send.
Text = InstanceOf[str]
Int = Annotated[int, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Flag = Annotated[bool, Strict()]

_EXPECTED = {
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "sequence_str": "expected a list",
    "dict_type": "expected an object",
    "mapping_type": "expected an object",
    "dataclass_type": "expected an object",
    "is_instance_of": "expected a text",
}


class Reader(Generic[T]):
    """Reads records of one kind."""

    def __init__(self, kind: type[T]) -> None:
        self.kind = kind

    @cached_property
    def _adapter(self) -> TypeAdapter[T]:
        # Built when it is first needed: it takes milliseconds, and most commands read no records.
        return TypeAdapter(self.kind)

    def read(self, value: object, where: str = "") -> T:
        """Return the record that a JSON object holds.

        Raises:
            StoreError: it is damaged. The message names ``where`` (a file, a line), key, value and what was expected.
        """
        try:
            return self._adapter.validate_python(value)
        except ValidationError as error:
            damage = _damage(error)
            raise StoreError(f"{where}: {damage}" if where else damage) from None


def _damage(error: ValidationError) -> str:
    """The first problem: ``turns[2].reads 'x': expected a whole number``."""
    problem = error.errors(include_url=False)[0]
    key = ""
    for part in problem["loc"]:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    if problem["type"] == "missing":
        return f"{key} is missing"
    expected = _EXPECTED.get(problem["type"], problem["msg"])
    return f"{key or 'content'} {problem['input']!r:.80}: {expected}"
