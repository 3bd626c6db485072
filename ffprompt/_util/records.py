"""Read JSON from disk into dataclasses, and say in one line what is damaged.

A record is a frozen dataclass whose fields have the names of its JSON keys. The types below are strict: ``"3"``,
``3.5`` and ``true`` are no whole numbers. Keys that a dataclass does not have are passed over: later versions add some.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AllowInfNan, InstanceOf, Strict, TypeAdapter, ValidationError

from ffprompt._util.validation import in_one_line
from ffprompt.errors import StoreError

T = TypeVar("T")

JsonObject = dict[str, Any]

# pydantic's own str refuses half of an emoji, which some servers send.
Text = InstanceOf[str]
Int = Annotated[int, Strict()]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Flag = Annotated[bool, Strict()]


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
            damage = in_one_line(error)
            raise StoreError(f"{where}: {damage}" if where else damage) from None
