"""Structured answers: what a server is asked for, and what counts as an answer to it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ffprompt.backends.base import AnswerSchema
from ffprompt.backends.json_schema import array_schema, conforms, object_schema, write_answers
from ffprompt.scoring.json_reply import parse_json

LIGHT = AnswerSchema(("off", "on"), 3)
BITS = AnswerSchema(("0", "1"), 3)


def test_the_schema_of_a_list_holds_all_values_in_order_and_the_length() -> None:
    assert array_schema(LIGHT) == {
        "type": "object",
        "properties": {
            "answers": {
                "type": "array",
                "items": {"type": "string", "enum": ["off", "on"]},
                "minItems": 3,
                "maxItems": 3,
            }
        },
        "required": ["answers"],
        "additionalProperties": False,
    }


def test_the_schema_of_an_object_has_one_property_an_answer() -> None:
    made = object_schema(LIGHT)
    assert list(made["properties"]) == made["required"] == ["answer_1", "answer_2", "answer_3"]
    assert all(one == {"type": "string", "enum": ["off", "on"]} for one in made["properties"].values())
    assert made["additionalProperties"] is False


@pytest.mark.parametrize(
    ("text", "schema"),
    [
        ('{"answers": ["on", "off", "on"]}', LIGHT),
        ('\n {"answers":["on","off","on"]}\n', LIGHT),
        ('{"answer_1": "on", "answer_2": "off", "answer_3": "on"}', LIGHT),
        ('{"answer_3": "on", "answer_2": "off", "answer_1": "on"}', LIGHT),
        ('{"answers": ["1", "0", "1"]}', BITS),
        ('{"answers": [1, 0, 1]}', BITS),
        ('{"answers": [1, 0, 1]}', AnswerSchema(("00", "01"), 3)),
    ],
)
def test_reads_json_of_either_schema(text: str, schema: AnswerSchema) -> None:
    assert parse_json(text, schema).answers == (1, 0, 1)
    assert conforms(text, schema)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("1, 0, 1", "not the JSON"),
        ('{"answers": ["1", "0", "1"]', "not the JSON"),
        ('Here: {"answers": ["1", "0", "1"]}', "not the JSON"),
        ('{"answers": ["1", "0", "1"]}.', "not the JSON"),
        ('{"answers": ["1", "0", "1"]} {"answers": ["1", "0", "1"]}', "not the JSON"),
        ('```json\n{"answers": ["1", "0", "1"]}\n```', "not the JSON"),
        ('{"answers": ["1", "1", "1"], "answers": ["1", "0", "1"]}', "not the JSON"),
        ('{"answer_1": "1", "answer_1": "0", "answer_2": "0", "answer_3": "1"}', "not the JSON"),
        ('{"answers": [NaN, "0", "1"]}', "not the JSON"),
        ("[" * 100_000, "not the JSON"),
        ("9" * 10_000, "not the JSON"),
        ('["1", "0", "1"]', "no object"),
        ("101", "no object"),
        ('{"answers": "1, 0, 1"}', "properties"),
        ('{"answers": ["1", "0", "1"], "note": ""}', "properties"),
        ('{"Answers": ["1", "0", "1"]}', "properties"),
        ('{"answer_1": "1", "answer_2": "0"}', "properties"),
        ('{"answers": ["1", "0"]}', "found 2 answers, wanted 3"),
        ('{"answers": ["1", "0", "1", "1"]}', "found 4 answers, wanted 3"),
        ('{"answers": ["1", "0", "2"]}', "unknown value"),
        ('{"answers": ["1", "0", " 1"]}', "unknown value"),
        ('{"answers": ["1", "0", null]}', "unknown value"),
        ('{"answers": [true, false, true]}', "unknown value"),
        ('{"answers": [1.0, 0.0, 1.0]}', "unknown value"),
        ('{"answers": [["1"], "0", "1"]}', "unknown value"),
        ('{"answers": [-1, 0, 1]}', "unknown value"),
    ],
)  # fmt: skip
def test_anything_else_is_no_answer_and_says_why(text: str, reason: str) -> None:
    parsed = parse_json(text, BITS)
    assert parsed.answers is None
    assert reason in (parsed.reason or "")
    assert not conforms(text, BITS)


@given(st.lists(st.text(min_size=1), min_size=2, max_size=5, unique=True), st.data())
def test_what_is_written_is_read_back(values: list[str], data: st.DataObject) -> None:
    answers = tuple(data.draw(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=20)))
    schema = AnswerSchema(tuple(values), len(answers))
    assert parse_json(write_answers(schema, answers), schema).answers == answers
    assert json.loads(write_answers(schema, answers))["answers"] == [values[answer] for answer in answers]
