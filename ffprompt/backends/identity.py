"""What identifies an open model in the record of a run."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

OPTIONAL = {"optional": True}
PART = {"part": True}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Everything about a model that belongs in the record of a run. Each backend adds its own fields.

    Every value is plain, so that the record is JSON. A field with the metadata ``OPTIONAL`` is left out where it is
    None. One with ``PART`` holds a mapping whose values stand beside the others, and not in an object of their own.
    """

    backend: str
    model: str

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as ``run.json`` keeps them."""
        record: dict[str, Any] = {}
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            if each.metadata.get("part"):
                record |= value
            elif value is not None or not each.metadata.get("optional"):
                record[each.name] = value
        return record

    def changed(self, **values: Any) -> Self:
        """Return this identity with other values, for what is learnt about a model while it is asked."""
        return dataclasses.replace(self, **values)
