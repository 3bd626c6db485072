"""What pydantic objects to, in one line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ffprompt._util.validation import in_one_line


class Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    above: Annotated[int, Field(ge=1)]


class Content(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = "n"
    values: list[str] | Literal["numbers"] = "numbers"
    rows: list[Row] = []
    grid: dict[str, list[int]] = {}

    @model_validator(mode="after")
    def _named(self) -> Content:
        if self.name == "none":
            raise ValueError("name 'none': expected another")
        return self


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"nmae": "x"}, "nmae: unknown key; did you mean 'name'? (known: grid, name, rows, values)"),
        ({"rows": [{"abov": 1}]}, "rows[0].abov: unknown key; did you mean 'above'? (known: above)"),
        ({"rows": [{}]}, "rows[0].above is missing"),
        ({"rows": [{"above": 0}]}, "rows[0].above 0: expected at least 1"),
        ({"rows": {"above": 1}}, "rows {'above': 1}: expected a list"),
        ({"values": ["a", 1]}, "values[1] 1: expected a text"),
        ({"grid": {"width": [1, "2"]}}, "grid.width[1] '2': expected a whole number"),
        ({"name": "none"}, "name 'none': expected another"),
        ([], "content []: expected a table of keys"),
    ],
)
def test_the_key_its_value_and_what_was_expected(content: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Content.model_validate(content)
    assert in_one_line(caught.value, Content) == said
