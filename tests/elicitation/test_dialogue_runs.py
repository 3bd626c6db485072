"""Whole runs of dialogues: scripted, on a local model, and behind APIs that misbehave, through the real SDKs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ffprompt
from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.retry import Policy
from ffprompt.backends.base import Failure, RemoteBackend, Reply, Request
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.config.run_config import make
from ffprompt.errors import AuditError, FFPromptError
from ffprompt.evaluation.runner import audit, carry_out, make_plan, start
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.log import Log
from tests.conftest import ROOT, Command, Done, only_run
from tests.support import tiny
from tests.support.faulty_server import KEY, FaultyServer, counted

CHATML = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]


def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "run.json").read_text())["results"]
    return found


def scripted(command: Command, model: str, *more: object) -> Done:
    return command("--backend", "scripted", "--model", model, "--elicitation", "dialogue", "--trials", 20, *more)


@pytest.mark.parametrize("size", [[], ["--turn-instructions", 1], ["--turn-instructions", 6]])
def test_the_oracle_is_always_right_whatever_a_turn_holds(command: Command, tmp_path: Path, size: list[object]) -> None:
    done = scripted(command, "oracle", "--template", "game", "door", "raw-compact", "--shots", 0, 2, *size)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "results")
    assert all(row["accuracy"] == 1.0 for row in rows(run))
    column = ffprompt.load(run).reads.turn_instructions
    assert set(column.dropna()) == ({size[1]} if size else set())


@pytest.mark.parametrize("rule", ["constant-0", "constant-1", "copy-last-bit", "first-write", "majority"])
def test_a_rule_scores_exactly_its_floor(command: Command, tmp_path: Path, rule: str) -> None:
    assert scripted(command, rule, "--turn-instructions", 5).returncode == 0
    for row in rows(only_run(tmp_path / "results")):
        assert row["accuracy"] == row["floors"][rule]


@pytest.mark.parametrize(
    ("model", "outcome"), [("malformed", "invalid"), ("refusing", "refused"), ("truncating", "truncated")]
)
def test_a_reply_without_an_answer_is_never_wrong(command: Command, tmp_path: Path, model: str, outcome: str) -> None:
    assert scripted(command, model).returncode == 0
    for row in rows(only_run(tmp_path / "results")):
        assert row["outcomes"][outcome] == row["reads"] > 0


def test_failed_dialogues_are_no_data(command: Command, tmp_path: Path) -> None:
    assert scripted(command, "failing").returncode == 3
    for row in rows(only_run(tmp_path / "results")):
        assert row["accuracy"] is None
        assert row["outcomes"]["error"] == row["reads"]


def test_score_finds_the_same_numbers_from_the_raw_lines(command: Command, tmp_path: Path) -> None:
    scripted(command, "coin", "--turn-instructions", 4)
    run = only_run(tmp_path / "results")
    before, table = (run / "reads.parquet").read_bytes(), rows(run)
    (run / "reads.parquet").unlink()
    done = command("score", run, prog="ffprompt")
    assert done.returncode == 0, done.stderr
    assert "judged differently" not in done.stdout
    assert ((run / "reads.parquet").read_bytes(), rows(run)) == (before, table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"reads": 1', '"reads": 2', "line 1: turns: "),
        ('"reply": ', '"rply": ', "line 1: turns[0].reply is missing"),
        ('"turns": [', '"turns": {}, "was": [', "line 1: turns {}: expected a list"),
    ],
)
def test_a_damaged_dialogue_is_named(command: Command, tmp_path: Path, old: str, new: str, message: str) -> None:
    scripted(command, "oracle")
    log = only_run(tmp_path / "results") / "trials.jsonl"
    log.write_text(log.read_text().replace(old, new, 1))
    done = command("score", log.parent, prog="ffprompt")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert message in done.stderr


def test_a_dialogue_is_shown_as_it_would_go(command: Command) -> None:
    shown = command(
        "prompts", "show", "light-switch", "--elicitation", "dialogue", "--turn-instructions", 3, "--length", 20,
        "--seed", 3, prog="ffprompt",
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    string = shown.stdout.splitlines()[0].split()[-1]
    assert shown.stdout.count("⟦___⟧") == string.count("r")
    assert "OK." in shown.stdout and "(right: on)" in shown.stdout
    words = ("prompts", "show", "game", "--turn-instructions", 3)
    for more in ((), ("--elicitation", "dialogue", "--form", "completion")):
        assert command(*words, *more, prog="ffprompt").returncode == 2


def test_a_dry_run_counts_the_calls_and_what_they_send(command: Command) -> None:
    done = scripted(command, "oracle", "--dry-run", "--length", 4, 20, "--template", "game")
    assert done.returncode == 0, done.stderr
    assert "each call sends the conversation so far again" in done.stdout
    plan = _plan()
    (found, *_) = audit(plan, ScriptedBackend("oracle"))
    questions = plan.questions(plan.batch(plan.conditions[0], 0, plan.trials))
    assert found["mean_calls"] == sum(len(question.prompt.turns) for question in questions) / len(questions)
    assert f"{found['mean_calls']:,.1f} calls" in done.stdout


# ------------------------------------------------------------------------------------------------- behind an API


def _plan(opened: Any = None, **more: Any) -> Any:
    settings = {
        "backend": "scripted", "model": "oracle", "template": "game", "elicitation": "dialogue", "length": 20,
        "trials": 20,
    }  # fmt: skip
    return make_plan(make(settings | more), opened or ScriptedBackend("oracle"))


def api(kind: str, server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> RemoteBackend:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)

    async def no_wait(seconds: float) -> None:
        return None

    policy = Policy(attempts=1, breaker=10**6, outage=10**6, max_concurrency=4)
    if kind == "anthropic":
        return AnthropicBackend("a-model", server.url, policy=policy, sleep=no_wait)
    return OpenAIBackend("a-model", kind, server.v1, policy=policy, sleep=no_wait)


def run_once(kind: str, server: FaultyServer, monkeypatch: pytest.MonkeyPatch, out: Path) -> RunFolder:
    backend = api(kind, server, monkeypatch)
    config = make(
        {
            "backend": "anthropic" if kind == "anthropic" else "openai", "model": "a-model", "template": "game",
            "elicitation": "dialogue", "length": 30, "trials": 8,
        }
    )  # fmt: skip
    plan = make_plan(config, backend)
    folder, _ = start(config, backend, plan, out, resume=True)
    seen: list[int] = []
    carry_out(folder, plan, backend, lambda progress: seen.append(progress.trials))
    assert seen[-1] == len(plan)  # a turn that is logged is no trial
    return folder


def turns_of(body: dict[str, Any]) -> list[tuple[str, str]]:
    """What was posted, as (role, text), whatever API it went to."""
    found = []
    for message in body.get("messages") or body["input"]:
        content = message["content"]
        found.append((message["role"], content if isinstance(content, str) else content[0]["text"]))
    return found


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])
def test_a_dialogue_that_broke_off_goes_on_and_no_answered_turn_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with FaultyServer(lambda number: "500" if number % 5 == 4 else None, reply="1") as server:
        run_once(kind, server, monkeypatch, tmp_path)
        assert any("error" in line and "first_turn" not in line for line in lines(only_run(tmp_path)))
        for _ in range(20):
            if rows(only_run(tmp_path))[0]["outcomes"]["error"]:
                run_once(kind, server, monkeypatch, tmp_path)
        asked = [json.dumps(turns_of(body)) for number, body in enumerate(server.posted) if number % 5 != 4]
    whole = [line for line in lines(only_run(tmp_path)) if "error" not in line]
    assert sorted(line["trial"] for line in whole) == list(range(8))
    assert len(asked) == len(set(asked)) == sum(len(line["turns"]) for line in whole)
    assert all("call" in turn for line in whole for turn in line["turns"])
    (row,) = rows(only_run(tmp_path))
    assert row["prompt_tokens"] == sum(counted(body) for number, body in enumerate(server.posted) if number % 5 != 4)
    assert row["accuracy"] == row["floors"]["constant-1"]


@pytest.mark.parametrize("kind", ["chat", "anthropic"])
def test_own_replies_go_back_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with FaultyServer(reply="**0**, I would say.") as server:
        run_once(kind, server, monkeypatch, tmp_path)
        longest = max((turns_of(body) for body in server.posted), key=len)
    assert {text for role, text in longest if role == "assistant"} == {"**0**, I would say."}
    assert [role for role, _ in longest] == ["user", "assistant"] * (len(longest) // 2) + ["user"]


@pytest.mark.parametrize("kind", ["chat", "responses", "anthropic"])
def test_a_refused_turn_counts_for_its_read_and_the_dialogue_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with FaultyServer(lambda number: "refusal" if number == 0 else None, reply="1") as server:
        folder = run_once(kind, server, monkeypatch, tmp_path)
    (row,) = rows(folder.path)
    assert row["outcomes"]["refused"] == 1
    assert row["outcomes"]["error"] == row["outcomes"]["invalid"] == 0


class StoppedError(FFPromptError):
    """Stands in for whatever ends a run from outside."""


def test_what_was_answered_is_in_the_log_whatever_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answered turn is written when its reply is there, so that a killed run has lost only calls on the wire."""
    with FaultyServer(reply="1") as server:
        backend = api("chat", server, monkeypatch)
        ask, answered = backend.ask, 0

        async def mortal(request: Request) -> Any:
            nonlocal answered
            if answered >= 7:
                raise StoppedError("the power went off")
            response = await ask(request)
            answered += 1
            return response

        monkeypatch.setattr(backend, "ask", mortal)
        config = make(
            {
                "backend": "openai", "model": "a-model", "template": "game", "elicitation": "dialogue", "length": 30,
                "trials": 8,
            }
        )  # fmt: skip
        plan = make_plan(config, backend)
        folder, _ = start(config, backend, plan, tmp_path, resume=True)
        with pytest.raises(StoppedError):
            carry_out(folder, plan, backend)
        before = len(server.posted)
        assert sum(len(line["turns"]) for line in lines(folder.path) if "first_turn" in line) >= 4
        run_once("chat", server, monkeypatch, tmp_path)
    whole = [line for line in lines(folder.path) if "error" not in line]
    assert len(whole) == 8
    total = sum(len(line["turns"]) for line in whole)
    assert len(server.posted) - before == total - answered
    assert len(ffprompt.load(folder.path).trials) == 8


def test_an_interruption_loses_no_answer_that_waits_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, killed = threading.Event(), list[bool]()
    append = Log.append

    def slow(log: Log, made: Sequence[dict[str, Any]]) -> None:
        gone.wait(10)  # the disk is busy until the run is interrupted
        append(log, made)

    with FaultyServer(reply="1") as server:
        backend = api("chat", server, monkeypatch)
        ask, answered = backend.ask, 0

        async def mortal(request: Request) -> Any:
            nonlocal answered
            if answered >= 7:
                if not killed:
                    killed.append(True)
                    os.kill(os.getpid(), signal.SIGTERM)
                try:
                    await asyncio.Event().wait()
                finally:
                    gone.set()
            response = await ask(request)
            answered += 1
            return response

        monkeypatch.setattr(backend, "ask", mortal)
        monkeypatch.setattr(Log, "append", slow)
        plan = _plan(backend, backend="openai", model="a-model", length=100, trials=2)
        folder, _ = start(plan.config, backend, plan, tmp_path, resume=False)
        with pytest.raises(KeyboardInterrupt):
            carry_out(folder, plan, backend)
    assert sum(len(line["turns"]) for line in lines(folder.path)) == answered


@pytest.mark.slow
def test_a_killed_run_goes_on_in_the_middle_of_its_dialogues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyServer(latency=0.05, reply="1") as server:
        words = [
            sys.executable, "run_eval.py", "--backend", "openai", "--model", "a-model", "--base-url", server.v1,
            "--template", "game", "--elicitation", "dialogue", "--length", "100", "--trials", "6",
            "--max-concurrency", "6", "--out", str(tmp_path), "--resume",
        ]  # fmt: skip
        environment = os.environ | {"OPENAI_API_KEY": KEY}
        root = ROOT
        process = subprocess.Popen(words, cwd=root, env=environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("*/trials.jsonl")) < 20:
            assert time.monotonic() < deadline, "no progress"
            time.sleep(0.01)
        process.kill()
        process.wait()
        server.settle()
        kept = sum(len(line["turns"]) for line in _whole_lines(only_run(tmp_path)) if "first_turn" in line)
        asked = len(server.posted)
        done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        whole = [line for line in _whole_lines(only_run(tmp_path)) if "error" not in line]
        assert kept >= 14
        assert len(server.posted) - asked == sum(len(line["turns"]) for line in whole) - kept


def _whole_lines(run: Path) -> list[dict[str, Any]]:
    text = (run / "trials.jsonl").read_bytes()
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()]


# --------------------------------------------------------------------------------------------- on this machine


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny.make(tmp_path_factory.mktemp("tiny"), "llama")
    (folder / "chat_template.jinja").write_text(CHATML)
    return folder


def test_dialogues_held_together_are_those_held_one_by_one(command: Command, tmp_path: Path, chat_model: Path) -> None:
    found = []
    for size in (1, 16):
        done = command(
            "--backend", "transformers", "--model", chat_model, "--template", "light-switch", "--shots", 0, 1,
            "--elicitation", "dialogue", "--length", 24, "--trials", 6, "--max-tokens", 6, "--batch-size", size,
            "--temperature", 1, "--out", tmp_path / str(size),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append([[turn["reply"] for turn in line["turns"]] for line in lines(only_run(tmp_path / str(size)))])
    assert found[0] == found[1]
    assert len({reply for trial in found[0] for reply in trial}) > 10


def test_a_dialogue_that_could_outgrow_the_context_is_refused_before_it_begins(
    command: Command, tmp_path: Path, chat_model: Path
) -> None:
    words = (
        "--backend", "transformers", "--model", chat_model, "--template", "light-switch", "--shots", 0, "--trials", 2,
        "--elicitation", "dialogue", "--length", 24, "--max-tokens",
    )  # fmt: skip
    done = command(*words, 1500)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "do not fit" in done.stderr and "lower --max-tokens" in done.stderr
    assert not (tmp_path / "results").exists() or not list((tmp_path / "results").iterdir())


def test_later_dialogues_are_checked_before_they_begin_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(ScriptedBackend):
        """Has room for dialogues of as many reads as the first one."""

        room = completed = 0

        def check(self, requests: Sequence[Request]) -> dict[str, Any]:
            if any(request.max_tokens > self.room for request in requests):
                raise AuditError("does not fit")
            return {"audited": len(requests)}

        async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
            self.completed += 1
            return await super().complete(requests)

    backend = Small("oracle")
    backend.chunk = 1
    plan = _plan(backend, length=30)
    monkeypatch.setattr("ffprompt.evaluation.runner._AUDITED", 1)
    reads = [len(asked) for asked in plan.batch(plan.conditions[0], 0, plan.trials).asked]
    first = next(number for number, count in enumerate(reads) if count > reads[0])
    backend.room = 72 * reads[0]
    folder, _ = start(plan.config, backend, plan, tmp_path, resume=False)
    with pytest.raises(AuditError):
        carry_out(folder, plan, backend)
    assert backend.completed == sum(reads[:first])


def test_what_a_dialogue_sends_is_the_sum_over_its_calls(chat_model: Path) -> None:
    backend = TransformersBackend(str(chat_model), weights=False)
    plan = _plan(backend, template="door", length=16, trials=3, backend="transformers", model="x")
    condition = plan.conditions[0]
    questions = plan.questions(plan.batch(condition, 0, 3))
    found = condition.elicitation.check(backend, questions)
    sent = [len(backend.encoder.prompt(call)) for question in questions for call in question.calls]
    assert found["mean_prompt_tokens"] == pytest.approx(sum(sent) / 3)
    assert found["longest_prompt_tokens"] >= max(sent)


@pytest.mark.slow
@pytest.mark.weights
def test_smollm2_holds_dialogues(command: Command, tmp_path: Path) -> None:
    done = command(
        "--backend", "transformers", "--model", "smollm2-135m", "--template", "light-switch", "--shots", 1,
        "--elicitation", "dialogue", "--length", 10, "--trials", 3,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = rows(only_run(tmp_path / "results"))
    assert row["outcomes"]["error"] == 0
    assert row["outcomes"]["correct"] + row["outcomes"]["wrong"] > 0
    assert row["prompt_tokens"] > 0
