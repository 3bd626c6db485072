"""What run.json and trials.jsonl hold, as typed records."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest

from ffprompt._util.secrets import register_secret
from ffprompt.backends.api.retry import Call, LoggedFailure, LoggedReply
from ffprompt.backends.base import Failure, Reply, Talk
from ffprompt.backends.call_record import AttemptRecord
from ffprompt.errors import StoreError
from ffprompt.runs.records import RunInfo, TrialRecord
from ffprompt.scoring.aggregate import Tally
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.response_records import check_reads, read_response, record
from tests.support.records import run_content

CALL = {
    "attempts": [{"sent": 3, "started": "t", "status": 200, "request_id": "r", "seconds": 0.5}],
    "request_id": "r",
    "reasoning_tokens": 1,
    "cached_tokens": None,
    "cache_write_tokens": None,
    "counted": {"prompt_tokens": 5, "reply_tokens": 1, "usd": 0.25},
}
OF_A_BATCH = {**CALL, "attempts": [{"started": None, "status": "expired", "request_id": None, "seconds": None}]}
TOKENS = {"prompt_tokens": 5, "reply_tokens": 1}
REPLY = {"reply": "half \ud83d", "stop": "stop", "served_model": None, **TOKENS}
SCORES = {"logprobs": [[-0.5, -1.0]], "argmax": [7], "argmax_symbol": [-1], "prompt_tokens": 5}
RESPONSES: dict[str, dict[str, Any]] = {
    "a reply": REPLY,
    "a reply of an API": {"call": CALL, **REPLY, "ended": "end_turn", "reasoning": "hm"},
    "a failure": {"error": "reset", "call": {**OF_A_BATCH, "batch": "b-1"}},
    "scores": {**SCORES, "reply_tokens": 0},
    "scores with a bound": {"call": CALL, **SCORES, "bounds": [[0, 1]], "reply_tokens": 1},
    "a dialogue": {"turns": [REPLY | {"reads": 1}, REPLY | {"reads": 2, "shown": "-"}], **TOKENS},
    "a dialogue that broke off": {"error": "reset", "call": CALL, "turns": [REPLY | {"reads": 1}], **TOKENS},
    "a dialogue that is not over": {
        "turns": [REPLY | {"reads": 1}], **TOKENS, "error": "the dialogue is not over", "first_turn": 0,
    },
}  # fmt: skip


def line(response: dict[str, Any]) -> dict[str, Any]:
    return {
        "trial": 4, "trial_id": "c/seed-0/4", "spec": "FFL(10, 0.6)", "seed": 0, "index": 4, "string": "ab",
        "prompt": "cd", **response, "answers": [1, None], "outcomes": ["correct", "invalid"], "reason": None,
        "started": "t", "seconds": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_a_line_read_and_written_is_the_same_with_its_keys_in_order(response: dict[str, Any]) -> None:
    assert json.dumps(TrialRecord.from_json(line(response)).to_json()) == json.dumps(line(response))


def test_the_latest_version_keeps_lines_of_earlier_ones() -> None:
    old = TrialRecord.from_json({"trial": 0, "reply": "1", "stop": "stop", "outcomes": ["correct"], "new key": 1})
    assert (old.name, old.prompt, old.seconds) == ("0", None, None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stop": None}, "log, line 3: stop None: expected a text"),
        ({"prompt_tokens": "5"}, "log, line 3: prompt_tokens '5': expected a whole number"),
        ({"prompt_tokens": True}, "log, line 3: prompt_tokens True: expected a whole number"),
        ({"outcomes": "correct"}, "log, line 3: outcomes 'correct': expected a list"),
        ({"seconds": "long"}, "log, line 3: seconds 'long': expected a number"),
        ({"call": {"attempts": [{"sent": "x"}]}}, "log, line 3: call.attempts[0].sent 'x': expected a whole number"),
        ({"turns": [{"stop": "stop", "reads": 1}]}, "log, line 3: turns[0].reply is missing"),
        ({"logprobs": [[-0.5, float("nan")]]}, "log, line 3: logprobs[0][1] nan: expected a finite number"),
    ],
)
def test_what_is_damaged_is_told_with_its_place_key_and_value(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError) as caught:
        TrialRecord.from_json(line(REPLY) | change, "log, line 3")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("response", "message"),
    [
        ({**SCORES, "argmax": []}, "argmax: 0 reads: expected 1"),
        ({**SCORES, "logprobs": [[-0.5]]}, r"logprobs\[0\]: 1 symbols: expected 2"),
        ({**SCORES, "bounds": [[0, 2]]}, r"bounds \[0, 2\]: expected a read below 1"),
        ({"turns": [REPLY | {"reads": 2}]}, "turns: 2 reads: expected 1"),
        ({"turns": [REPLY | {"reads": 0}, REPLY | {"reads": 1}]}, "one or more in each turn"),
    ],
)
def test_a_response_about_other_reads_is_damaged(response: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        check_reads(read_response(response), 1, 2)


def test_no_text_of_a_response_shows_a_secret() -> None:
    register_secret(secret := "s3cr3t-of-this-test")
    call = Call([AttemptRecord(0, secret, secret, secret, 1.0)], secret)
    reply = LoggedReply(secret, "stop", secret, ended=secret, reasoning=secret, device=secret, call=call)
    assert all(getattr(reply, each.name) for each in fields(Reply) if "tokens" not in each.name)
    talk = Talk((reply,), (1,), (f"shown {secret}",), LoggedFailure(secret, call))
    for response in (reply, Failure(secret), talk):
        assert secret not in json.dumps(record(response).to_json())


def test_a_record_of_a_run_keeps_unknown_keys_and_the_order_of_all() -> None:
    content = {"schema": 1, "note": "x", "run_id": "r", **run_content(ended=None)}
    info = RunInfo.from_json(content)
    later = info.updated(status="done", seconds=1.5, results=[Tally().result()])
    assert list(later.to_json()) == [*content, "seconds", "results"]
    assert later.to_json() | {"status": "running"} == {
        **content, "seconds": 1.5, "results": [Tally().result().to_json()]
    }  # fmt: skip
    assert info.to_json() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk": "many"}, "run.json: chunk 'many': expected a whole number"),
        ({"config": {"backend": "scripted"}}, "run.json: config: model is missing"),
        ({"plan": {"conditions": [{}], "templates": {}}}, "run.json: plan.conditions[0].number is missing"),
        ({"price": {"input": "dear"}}, "run.json: price."),
    ],
)
def test_a_damaged_record_of_a_run_is_told_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError) as caught:
        RunInfo.from_json({"schema": 1, "run_id": "r", **run_content(**change)})
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_row_read_and_written_is_the_same_with_its_keys_in_order() -> None:
    row = Tally().result().to_json()
    assert json.dumps(ConditionResult.from_json(row).to_json()) == json.dumps(row)
    assert not {"answers", "stopping", "unread", "reasoning_tags"} & row.keys()
