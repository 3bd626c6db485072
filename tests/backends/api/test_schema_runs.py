"""Runs with ``--answers schema``: what is asked, what is refused, and what the record says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ffprompt.backends.base import AnswerSchema, Capabilities
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.errors import ConfigError, ModelError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.folder import RunFolder
from tests.conftest import only_run

CAN = Capabilities(scores=True, completes=True, chats=True, schemas=True)


def plan(can: Capabilities = CAN, **settings: Any) -> Plan:
    base = {"backend": "scripted", "model": "oracle", "template": "light-switch", "trials": 4, "length": 20}
    return Plan(make(base | {"elicitation": "list", "answers": "schema"} | settings), can)


@pytest.mark.parametrize("elicitation", ["list", "next", "dialogue"])
def test_a_request_names_all_values_in_order_and_how_many_answers(elicitation: str) -> None:
    made = plan(elicitation=elicitation)
    batch = made.batch(made.conditions[0], 0, 4)
    for row, question in enumerate(made.questions(batch)):
        assert sum(question.counts) == len(batch.asked[row])
        assert [call.schema for call in question.calls] == [
            AnswerSchema(("off", "on"), count) for count in question.counts
        ]


def test_the_schema_of_strings_with_the_same_number_of_reads_is_the_same() -> None:
    made = plan(trials=50)
    batch = made.batch(made.conditions[0], 0, 50)
    schemas: dict[int, set[Any]] = {}
    for row, question in enumerate(made.questions(batch)):
        schemas.setdefault(len(batch.truth(row)), set()).add(question.request.schema)
    assert all(len(found) == 1 for found in schemas.values())


def test_free_text_asks_for_no_schema_and_keeps_its_name() -> None:
    made = plan(answers="text")
    assert made.questions(made.batch(made.conditions[0], 0, 1))[0].request.schema is None
    assert made.conditions[0].name == "light-switch/0-shot/list/chat/FFL(20, 0.6)"
    assert "answers" not in made.record()["conditions"][0]


@pytest.mark.parametrize(
    ("settings", "can", "error", "said"),
    [
        ({"elicitation": "forced"}, CAN, ConfigError, "--elicitation next, list or dialogue"),
        ({"elicitation": ("list", "forced")}, CAN, ConfigError, "--elicitation next, list or dialogue"),
        ({"form": "completion"}, CAN, ConfigError, "--form chat"),
        ({}, Capabilities(scores=True, completes=True, chats=False, schemas=True), ConfigError, "chat model"),
        ({}, Capabilities(scores=True, completes=True, chats=True), ModelError, "leave --answers out"),
    ],
)
def test_a_schema_that_cannot_be_had_is_refused_with_the_cure(
    settings: dict[str, Any], can: Capabilities, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        plan(can, **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tags", [("((", "(("), ("", "x"), ("x", " ")])
def test_reasoning_tags_must_be_two_different_texts(tags: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="--reasoning-tags"):
        plan(reasoning_tags=tags)


@pytest.mark.parametrize("elicitation", ["list", "next", "dialogue"])
def test_a_run_shows_that_it_was_held_to_a_schema(
    elicitation: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--backend", "scripted", "--model", "oracle", "--trials", "4", "--length", "20", "--no-report"]
    out = ["--out", str(tmp_path), "--elicitation", elicitation, "--answers", "schema"]
    assert main(["run", *flags, *out]) == 0
    folder = RunFolder.open(only_run(tmp_path))
    (row,) = folder.info.to_json()["results"]
    assert row["accuracy"] == 1
    assert row["answers"] == "schema"
    assert f"/{elicitation}/chat-schema/" in row["condition"]
    assert f"{elicitation}, schema" in capsys.readouterr().out
    assert '{\\"answers\\": [' in folder.trials_path.read_text()
    reads = pd.read_parquet(folder.reads_path)
    assert set(reads["answers"]) == {"schema"}
    assert {"ended", "answers"} < set(reads.columns)


def test_a_model_that_ignores_the_schema_is_invalid(tmp_path: Path) -> None:
    flags = ["--backend", "scripted", "--model", "malformed", "--trials", "4", "--length", "20", "--no-report"]
    main(["run", *flags, "--out", str(tmp_path), "--answers", "schema"])
    assert "not the JSON that was asked for" in (only_run(tmp_path) / "invalid.md").read_text()
