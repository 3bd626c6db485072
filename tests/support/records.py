"""Records of runs for tests: the least that run.json and a line of trials.jsonl hold."""

from __future__ import annotations

from typing import Any

from ffprompt.runs.records import TrialRecord
from ffprompt.scoring.response_records import FailureRecord, ReplyRecord, ResponseRecord


def run_content(**more: Any) -> dict[str, Any]:
    """What ``RunFolder.create`` takes: a run of a scripted model without conditions."""
    return {
        "status": "running",
        "plan_digest": "abc",
        "config": {"backend": "scripted", "model": "oracle"},
        "model": {},
        "plan": {"conditions": [], "templates": {}},
        **more,
    }


def trial(number: int, response: ResponseRecord | str) -> TrialRecord:
    """A trial with one read. A text is a reply."""
    made = ReplyRecord(reply=response, stop="stop") if isinstance(response, str) else response
    outcome = "correct" if made.error is None else "error"
    return TrialRecord(trial=number, response=made, answers=[None], outcomes=[outcome])


def failure(number: int, error: str) -> TrialRecord:
    """A trial whose call failed."""
    return trial(number, FailureRecord(error=error))
