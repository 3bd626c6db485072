"""Runs by a provider's batches, through the real SDKs: every trial exactly once, in the log and on the bill."""

from __future__ import annotations

import asyncio
import collections
import json
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ffprompt.backends.api import batch as batching
from ffprompt.backends.api.openai_batch import OpenAIBatches
from ffprompt.backends.api.retry import Caller
from ffprompt.backends.base import BatchStatus
from ffprompt.cli import batch as batch_commands
from ffprompt.cli.main import main
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import ConfigError, RunFailedError, StoreError
from ffprompt.evaluation import batch_runner as batches
from ffprompt.runs.batch_journal import Journal, parts
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Log
from tests.conftest import ROOT, only_run
from tests.support.batch_server import BatchServer, Made
from tests.support.faulty_server import KEY
from tests.support.records import run_content

BACKENDS = pytest.mark.parametrize("backend", ["openai", "anthropic"])
# Starts processes: what is killed is the same code for both.
ONE_OF_THEM = pytest.mark.parametrize("backend", ["openai", pytest.param("anthropic", marks=pytest.mark.slow)])
TRIALS = 30


class Lab:
    """Commands in this process; nothing sleeps, and what would have been slept is in ``slept``."""

    def __init__(self, out: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
        self.out, self.backend = out, backend
        self.slept: list[float] = []
        step = partial(batches.carry_out_step, sleep=self._sleep)
        monkeypatch.setattr(batch_commands, "carry_out_step", step)
        monkeypatch.setattr(batching, "Caller", lambda policy, name, _: Caller(policy, name, self._sleep))
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            monkeypatch.setenv(name, KEY)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def flags(self, server: BatchServer, *more: str) -> list[str]:
        url = server.v1 if self.backend == "openai" else server.url
        return [
            "--backend", self.backend, "--model", "a-model", "--base-url", url, "--length", "40", "--trials",
            str(TRIALS), "--template", "game", "--elicitation", "list", "--out", str(self.out), *more,
        ]  # fmt: skip

    def run(self, server: BatchServer, *more: str) -> int:
        return main(["run", *self.flags(server, "--batch", *more)])

    def submit(self, server: BatchServer, *more: str) -> int:
        return main(["batch", "submit", *self.flags(server, *more)])

    def step(self, name: str) -> int:
        return main(["batch", name, str(self.folder)])

    @property
    def folder(self) -> Path:
        return only_run(self.out)

    @property
    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return found

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "trials.jsonl").read_text().splitlines()]

    def once(self, server: BatchServer) -> None:
        """Every trial was answered once, and paid for once."""
        assert sorted(line["trial"] for line in self.lines if "error" not in line) == list(range(TRIALS))
        counts = collections.Counter(server.billed)
        assert len(counts) == TRIALS
        assert set(counts.values()) == {1}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Lab:
    backend = getattr(request.node, "callspec", None)
    return Lab(tmp_path / "results", monkeypatch, backend.params.get("backend", "openai") if backend else "openai")


class Crash(BaseException):
    """The process is gone: nothing of a run handles this, and nothing is noted."""


def crash(*_: object, **__: object) -> Any:
    raise Crash


@BACKENDS
def test_a_run_by_batches_gives_the_table_of_a_live_run(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    with BatchServer(polls=3) as server:
        assert lab.run(server, "--batch-part", "12") == 0
        lab.once(server)
        assert [len(made.requests) for made in server.batches.values()] == [12, 12, 6]
        live = Lab(tmp_path / "live", monkeypatch, backend)
        assert main(["run", *live.flags(server)]) == 0
    assert lab.info["results"] == live.info["results"]
    assert lab.info["status"] == "done"
    assert [part["state"] for part in lab.info["batches"]] == ["completed" if backend == "openai" else "ended"] * 3
    batched = {line["trial"]: line for line in lab.lines}
    for line in live.lines:
        other = batched[line["trial"]]
        assert other["call"].pop("batch") == f"batch_{line['trial'] // 12}"
        for each in (line, other):
            for name in ("started", "seconds"):
                each.pop(name)
            for name in ("attempts", "request_id", "counted"):
                each["call"].pop(name)
        assert other == line
    assert lab.slept == [10.0, 15.0, 22.5]


@pytest.mark.parametrize("api", ["chat", "responses", "completions"])
def test_what_a_batch_holds_is_what_single_calls_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    how = ("--api", api, *(("--elicitation", "next", "--template", "light-switch") if api == "completions" else ()))
    with BatchServer() as server:
        lab, live = (Lab(tmp_path / name, monkeypatch, "openai") for name in ("batched", "live"))
        monkeypatch.setattr(BatchServer, "billed", [])
        assert main(["run", *live.flags(server, *how)]) == 0
        sent = [body for body in server.posted if "echo" not in body]
        assert lab.run(server, *how) == 0
        held = [request for made in server.batches.values() for request in made.requests]
    assert {request["url"] for request in held} == {
        {"chat": "/v1/chat/completions", "responses": "/v1/responses", "completions": "/v1/completions"}[api]
    }
    assert sorted(json.dumps(request["body"], sort_keys=True) for request in held) == sorted(
        json.dumps(body, sort_keys=True) for body in sent
    )
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", request["custom_id"]) for request in held)


@BACKENDS
def test_steps_one_by_one_and_again(lab: Lab, capsys: pytest.CaptureFixture[str], backend: str) -> None:
    with BatchServer(polls=1) as server:
        assert lab.submit(server) == 0
        assert lab.info["status"] == "waiting"
        assert lab.step("status") == 3
        assert f"in_progress, 0 of {TRIALS} answered" in capsys.readouterr().out
        assert lab.step("status") == 0
        assert lab.step("collect") == 0
        log = (lab.folder / "trials.jsonl").read_bytes()
        assert lab.step("collect") == 0
        assert (lab.folder / "trials.jsonl").read_bytes() == log
        assert main(["batch", "submit", str(lab.folder)]) == 0
        assert server.creates == 1
        lab.once(server)


@BACKENDS
def test_collecting_before_the_end_is_an_incomplete_run(lab: Lab, backend: str) -> None:
    with BatchServer(polls=1) as server:
        lab.submit(server)
        assert lab.step("collect") == 3
        assert (lab.lines, lab.info["status"]) == ([], "waiting")
        assert lab.step("collect") == 0
        lab.once(server)


@BACKENDS
@pytest.mark.parametrize("fate", ["refused", "expired", "nothing"])
def test_what_failed_is_an_error_and_asked_again_on_a_second_submit(lab: Lab, backend: str, fate: str) -> None:
    with BatchServer(
        fate=lambda number: fate if number % 3 == 0 and len(server.batches) == 1 else "answered"
    ) as server:
        assert lab.run(server) == 3
        (row,) = lab.info["results"]
        failed = [line for line in lab.lines if "error" in line]
        assert sorted(line["trial"] for line in failed) == list(range(0, TRIALS, 3))
        assert row["outcomes"]["error"] == sum(len(line["outcomes"]) for line in failed)
        assert all(set(line["outcomes"]) == {"error"} and line["call"]["batch"] == "batch_0" for line in failed)
        assert lab.info["status"] == "incomplete"
        assert lab.step("collect") == 3
        assert len(lab.lines) == TRIALS
        assert main(["batch", "submit", str(lab.folder)]) == 0
        assert len(server.batches["batch_1"].requests) == 10
        assert lab.step("collect") == 0
    assert sorted(line["trial"] for line in lab.lines if "error" not in line) == list(range(TRIALS))


@BACKENDS
def test_what_a_batch_left_open_can_be_asked_live(lab: Lab, backend: str) -> None:
    with BatchServer(fate=lambda number: "expired" if number < 4 else "answered", state="expired") as server:
        assert lab.run(server) == 3
        assert main(["run", *lab.flags(server), "--resume"]) == 0
        assert len(server.posted) == 4
        lab.once(server)


@BACKENDS
def test_a_filtered_prompt_is_a_refusal_as_in_a_live_run(lab: Lab, backend: str) -> None:
    with BatchServer(fate=lambda number: "filtered" if number == 2 else "answered") as server:
        assert lab.run(server) == 0
    (refused,) = [line for line in lab.lines if line["stop"] == "refusal"]
    assert (refused["trial"], set(refused["outcomes"])) == (2, {"refused"})


def test_an_error_with_a_good_status_is_no_answer(lab: Lab) -> None:
    with BatchServer(fate=lambda number: "error inside" if number == 2 else "answered") as server:
        assert lab.run(server) == 3
    (failed,) = [line for line in lab.lines if "error" in line]
    assert (failed["trial"], failed["error"]) == (2, "HTTP 200 with an error: this one is refused")


def test_a_batch_that_failed_whole_says_why_and_costs_nothing(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer(state="failed") as server:
        assert lab.run(server) == 3
    assert len(lab.lines) == TRIALS
    assert all("the queue is full" in line["error"] for line in lab.lines)
    assert server.billed == []


@BACKENDS
def test_results_of_somebody_else_are_left_out(lab: Lab, capsys: pytest.CaptureFixture[str], backend: str) -> None:
    with BatchServer(extra=("theirs-0", f"{'0' * 16}-deadbeef-1", "no number")) as server:
        assert lab.run(server) == 0
        lab.once(server)
    assert {line["reply"] for line in lab.lines} == {"1, 0"}
    assert "3 results that are not of this part" in capsys.readouterr().out


@BACKENDS
def test_a_resumed_live_run_leaves_open_batches_alone(
    lab: Lab, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    with BatchServer(polls=9) as server:
        lab.submit(server)
        capsys.readouterr()
        assert main(["run", *lab.flags(server), "--resume"]) == 2
        assert server.posted == []
        assert f"ffprompt batch collect {lab.folder}" in capsys.readouterr().err
        assert lab.submit(server, "--resume") == 0
        assert server.creates == 1


@BACKENDS
def test_a_cancelled_batch_is_collected_as_far_as_it_went(lab: Lab, backend: str) -> None:
    with BatchServer(polls=9, fate=lambda n: "answered" if n < 7 else "nothing") as server:
        lab.submit(server)
        assert lab.step("cancel") == 3
        assert lab.step("collect") == 3
        assert len([line for line in lab.lines if "error" not in line]) == 7
        assert lab.step("cancel") == 0


@BACKENDS
def test_ctrl_c_says_how_to_collect(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    async def interrupted(_: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(lab, "_sleep", interrupted)
    monkeypatch.setattr(batch_commands, "carry_out_step", partial(batches.carry_out_step, sleep=interrupted))
    with BatchServer(polls=1) as server:
        assert lab.run(server) == 130
        assert f"ffprompt batch collect {lab.folder}" in capsys.readouterr().out
        assert lab.info["status"] == "waiting"
        assert lab.step("collect") == 0
        lab.once(server)


# Crashes.


@BACKENDS
def test_a_crash_before_the_batch_is_created_loses_nothing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    with BatchServer() as server:
        with monkeypatch.context() as broken:
            broken.setattr("ffprompt.backends.api.batch.ApiBatches.create_once", crash)
            assert lab.submit(server) == 4
        (part,) = parts(RunFolder.open(lab.folder))
        assert (part.open, part.id, part.file) == (True, None, "file-0" if backend == "openai" else None)
        assert main(["batch", "submit", str(lab.folder)]) == 0
        assert 50 < sum(lab.slept) <= 60  # its absence from the list says something only after a while
        assert lab.step("collect") == 0
        assert len(server.batches) == 1
        lab.once(server)


@BACKENDS
def test_a_crash_after_the_batch_is_created_finds_it_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    note = Journal.note

    def forgetful(journal: Journal, part: Any, **facts: str) -> None:
        if "id" in facts:
            raise Crash
        note(journal, part, **facts)

    with BatchServer() as server:
        before, after = ([f"{when}_{number}" for number in range(3)] for when in ("before", "after"))
        server.batches |= {name: other_batch(backend, name) for name in before}
        with monkeypatch.context() as broken:
            broken.setattr(Journal, "note", forgetful)
            assert lab.submit(server) == 4
        server.batches |= {name: other_batch(backend, name) for name in after}
        assert server.creates == 1
        assert lab.submit(server, "--resume") == 0
        assert server.creates == 1
        assert [part.id for part in parts(RunFolder.open(lab.folder))] == ["batch_3"]
        assert lab.step("collect") == 0
        for name in (*before, *after):
            del server.batches[name]
        lab.once(server)


def other_batch(backend: str, name: str, count: int = TRIALS) -> Made:
    """Somebody else's batch at the same provider."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    request = {"url": "/v1/chat/completions", "body": body, "params": body}
    requests = [{"custom_id": f"theirs-{number}", **request} for number in range(count)]
    return Made(name, backend == "anthropic", requests, 0)


def test_while_it_cannot_be_told_whose_a_batch_is_nothing_is_submitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, monkeypatch, "anthropic")
    with BatchServer(polls=2, on_create=("reset after",)) as server:
        assert lab.submit(server) == 3
        assert "may or may not have been submitted" in capsys.readouterr().err
        assert main(["batch", "submit", str(lab.folder)]) == 3
        assert "batch_0" in capsys.readouterr().err
        assert lab.step("status") == 3
        assert server.creates == 1
        server.batches["batch_0"].polls = 0
        assert main(["batch", "submit", str(lab.folder)]) == 0
        assert server.creates == 1
        assert lab.step("collect") == 0
        lab.once(server)


def test_batches_of_the_run_itself_are_not_taken_for_the_one_that_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, monkeypatch, "anthropic")
    with BatchServer(polls=3, on_create=("", "reset after")) as server:
        server.batches["smaller"] = smaller = other_batch("anthropic", "smaller", 14)
        smaller.polls = 9
        assert lab.submit(server, "--batch-part", "15") == 3
        capsys.readouterr()
        assert lab.step("collect") == 3
        said = capsys.readouterr().out
        assert "whether batch_2 is the batch" in said
        for made in server.batches.values():
            made.polls = 0
        assert lab.step("collect") == 0
        del server.batches["smaller"]
        lab.once(server)


def test_waiting_outlasts_an_outage(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    status, outage = OpenAIBatches.status, iter(range(5))

    async def sometimes(found: OpenAIBatches, batch: str) -> BatchStatus:
        if next(outage, None) is not None:
            raise RunFailedError("nobody is there")
        return await status(found, batch)

    monkeypatch.setattr(OpenAIBatches, "status", sometimes)
    with BatchServer() as server:
        assert lab.run(server) == 0
        lab.once(server)
    assert len(lab.slept) == 5


@BACKENDS
@pytest.mark.parametrize("what", ["reset after", "503 before", "429 before"])
def test_a_create_call_that_failed_is_never_paid_for_twice(lab: Lab, backend: str, what: str) -> None:
    with BatchServer(on_create=(what,)) as server:
        if lab.run(server) == 3:
            assert lab.run(server, "--resume") == 0
        assert len(server.batches) == 1
        assert server.creates == (1 if what == "reset after" else 2)
        lab.once(server)


@BACKENDS
def test_a_refused_batch_frees_its_trials(lab: Lab, capsys: pytest.CaptureFixture[str], backend: str) -> None:
    with BatchServer(on_create=("400",)) as server:
        assert lab.run(server) == 2
        assert "HTTP 400" in capsys.readouterr().err
        assert [part["state"] for part in lab.info["batches"]] == ["void"]
        assert lab.run(server, "--resume") == 0
        lab.once(server)
    assert lab.slept == []


@ONE_OF_THEM
def test_a_kill_between_the_call_and_the_disk(lab: Lab, backend: str) -> None:
    with BatchServer(on_create=("hang after",)) as server:
        words = [sys.executable, "-m", "ffprompt", "batch", "submit", *lab.flags(server)]
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not server.batches:
            assert time.monotonic() < deadline, "nothing was created"
            time.sleep(0.01)
        process.kill()
        process.wait()
        assert lab.submit(server, "--resume") == 0
        assert lab.step("collect") == 0
        assert len(server.batches) == 1
        lab.once(server)


KILLED_WHILE_COLLECTING = """
import os, signal, sys
from ffprompt.evaluation import batch_runner as batches
from ffprompt.cli.main import main
from ffprompt.runs.log import Log
batches._TOGETHER = 4
append, calls = Log.append, []
def killed(log, lines):
    calls.append(1)
    append(log, lines)
    if len(calls) == 3:
        with open(log.folder.trials_path, "ab") as file:
            file.write(b'{"trial": 29, "rep')
        os.kill(os.getpid(), signal.SIGKILL)
Log.append = killed
main(["batch", "collect", sys.argv[1]])
"""


@ONE_OF_THEM
def test_a_kill_in_the_middle_of_collecting(lab: Lab, backend: str) -> None:
    with BatchServer(fate=lambda number: "expired" if number % 5 == 0 else "answered") as server:
        lab.submit(server)
        words = [sys.executable, "-c", KILLED_WHILE_COLLECTING, str(lab.folder)]
        assert subprocess.run(words, cwd=ROOT, capture_output=True, check=False).returncode == -9
        assert (lab.folder / "trials.jsonl").read_text().count("\n") == 12
        assert lab.step("collect") == 3
        assert sorted(line["trial"] for line in lab.lines) == list(range(TRIALS))
        assert len([line for line in lab.lines if "error" in line]) == 6


@BACKENDS
def test_a_half_written_line_of_the_record_is_made_up_for(lab: Lab, backend: str) -> None:
    with BatchServer() as server:
        lab.submit(server)
        path = lab.folder / "batches.jsonl"
        path.write_bytes(path.read_bytes()[:-9])
        assert parts(RunFolder.open(lab.folder))[0].id is None
        assert lab.step("collect") == 0
        assert server.creates == 1
        assert parts(RunFolder.open(lab.folder))[0].id == "batch_0"
        lab.once(server)


def test_a_damaged_line_of_the_record_is_named(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer() as server:
        lab.submit(server)
        path = lab.folder / "batches.jsonl"
        path.write_bytes(b'{"part": 7, "id": "b"}\n' + path.read_bytes())
        assert lab.step("collect") == 2
    assert "batches.jsonl, line 1: part 7: expected a part that an earlier" in capsys.readouterr().err


def test_batches_are_handled_by_one_process_at_a_time(lab: Lab) -> None:
    with BatchServer() as server:
        lab.submit(server)
        with Log(RunFolder.open(lab.folder)):
            assert lab.step("collect") == 2
        assert lab.lines == []


# What cannot be had.


def test_results_that_are_gone_are_errors_and_said_to_be_gone(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    async def gone(server: BatchServer, writer: Any, headers: Any, name: str) -> bool:
        return await server._error(writer, "404", headers)

    with BatchServer() as server:
        server._file = partial(gone, server)  # type: ignore[method-assign]
        assert lab.run(server) == 3
    assert "are gone from the provider" in capsys.readouterr().out
    assert len(lab.lines) == TRIALS
    assert all("are gone" in line["error"] for line in lab.lines)


@BACKENDS
def test_fewer_results_than_the_provider_counts_are_not_taken_for_failures(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    results = BatchServer._results
    with BatchServer() as server:
        with monkeypatch.context() as cut:
            cut.setattr(BatchServer, "_results", lambda *one, **more: results(*one, **more).split("\n")[0] + "\n")
            assert lab.run(server) == 3
        assert "counts 30 answers and hands out 1" in capsys.readouterr().err
        assert [line["trial"] for line in lab.lines] == [29]
        assert lab.step("collect") == 0
        lab.once(server)


@BACKENDS
def test_results_cut_off_in_the_middle_of_a_line_give_nothing_yet(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    results = BatchServer._results
    monkeypatch.setattr(batches, "_TOGETHER", 4)
    with BatchServer() as server:
        with monkeypatch.context() as cut:
            cut.setattr(BatchServer, "_results", lambda *one, **more: results(*one, **more)[:-40])
            assert lab.run(server) == 3
        assert "collect again later" in capsys.readouterr().err
        assert lab.lines == []
        assert lab.step("collect") == 0
        lab.once(server)


@BACKENDS
def test_a_server_without_batches_is_named_in_one_line(
    lab: Lab, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    with BatchServer(has_batches=False) as server:
        assert lab.run(server) == 2
        error = capsys.readouterr().err
        assert len(error.splitlines()) == 1
        assert "the server has no batches" in error and KEY not in error
        assert main(["run", *lab.flags(server), "--resume"]) == 0
    assert KEY not in "".join(path.read_text() for path in lab.folder.glob("*.json*"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--backend", "transformers", "--model", "gpt2", "--batch"], "the transformers backend has no batches"),
        (["run", "--backend", "scripted", "--model", "oracle", "--batch"], "the scripted backend has no batches"),
        (["run", "--suite", "quick", "--batch"], "batches take one run at a time"),
        (["run", "--batch"], "--backend is missing"),
        (["run", "--backend", "openai", "--model", "m", "--batch-part", "3"], "goes with --batch"),
        (["run", "--backend", "openai", "--model", "m", "--batch", "--batch-part", "0"], "at least 1"),
        (["batch", "submit", "there", "--trials", "3"], "has its own settings"),
        (["batch", "collect", "nowhere"], "no run.json"),
    ],
)
def test_what_is_no_batch_is_one_line(capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_a_dialogue_is_refused() -> None:
    config = SimpleNamespace(certify=None, until_width=None, shard=None)
    plan: Any = SimpleNamespace(
        config=config, shard=None, conditions=[SimpleNamespace(elicitation=find_elicitation("dialogue"))]
    )
    nothing: Any = None
    with pytest.raises(ConfigError, match="each turn waits"):
        batches.carry_out_step(nothing, plan, nothing, nothing, print)


def test_status_of_a_run_without_batches(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    with BatchServer() as server:
        main(["run", *lab.flags(server)])
        assert lab.step("status") == 2
    assert "nothing of it was submitted" in capsys.readouterr().err


def test_another_base_url_than_that_of_the_run_is_refused(
    lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with BatchServer() as server, BatchServer() as other:
        words = [word for word in lab.flags(server) if word not in ("--base-url", server.v1)]
        monkeypatch.setenv("OPENAI_BASE_URL", server.v1)
        assert main(["batch", "submit", *words]) == 0
        monkeypatch.setenv("OPENAI_BASE_URL", other.v1)
        assert lab.step("collect") == 2
    assert server.v1 in capsys.readouterr().err


@BACKENDS
def test_parts_keep_within_the_bytes_that_a_provider_takes(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setattr("ffprompt.backends.api.openai_batch.OpenAIBatches.most_bytes", 9000)
    monkeypatch.setattr("ffprompt.backends.api.anthropic_batch.AnthropicBatches.most_bytes", 9000)
    with BatchServer() as server:
        assert lab.run(server) == 0
        assert len(server.batches) > 1
        assert all(len(content) <= 9000 for content in server.files.values())
        lab.once(server)


def test_open_parts_of_a_run_without_any(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content())
    assert parts(folder) == []
    assert not folder.batches_path.exists()


def test_a_record_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run", run_content())
    folder.batches_path.mkdir()
    with pytest.raises(StoreError, match=r"batches\.jsonl"):
        Journal(folder)
