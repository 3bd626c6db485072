"""Traces: what is asked for in every template, what scripted models score through them, and a run of a real model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from ffprompt.backends.base import Capabilities, Reply, Request
from ffprompt.backends.scripted import ScriptedBackend
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.elicitation.base import Form, find_elicitation
from ffprompt.elicitation.question import Question
from ffprompt.evaluation.plan import Plan
from ffprompt.scoring.response_records import record
from ffprompt.scoring.score import Judged, Reading
from ffprompt.tasks import registry
from ffprompt.tasks.flipflop import Spec, oracle, parse
from ffprompt.tasks.strings import Strings
from ffprompt.templates.loading import load, names
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Template
from tests.conftest import only_run
from tests.support.elicitations import prompt

# The bundled templates that word the flip-flop.
FLIP_FLOP = [name for name in names() if load(name).task == "flipflop"]

CAN = Capabilities(scores=False, completes=True, chats=True)
FORMS: tuple[Form, ...] = get_args(Form)
TRACE = find_elicitation("trace")


def planned(**settings: Any) -> Plan:
    given = {"backend": "scripted", "model": "oracle", "elicitation": "trace", "length": 24, "trials": 8, "shots": 0}
    return Plan(make(given | settings), CAN)


def questions(plan: Plan) -> list[tuple[Question, Reading]]:
    """Every question of a plan, and how its reply is read."""
    found = []
    for condition in plan.conditions:
        batch, words = plan.batch(condition, 0, plan.trials), plan.words(condition)
        for row, question in enumerate(plan.questions(batch)):
            reading = Reading(
                words.surfaces,
                completes=condition.form == "completion",
                ignore_case=words.template.reply.ignore_case,
                steps=TRACE.steps(words, batch.strings.string(row), batch.asked[row].tolist()),
            )
            found.append((question, reading))
    return found


def judged(question: Question, reading: Reading, text: str) -> Judged:
    return TRACE.judge(record(Reply(text, "stop")), question.truth, reading)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FLIP_FLOP)
def test_the_right_reply_is_right_in_every_template(name: str, form: Form) -> None:
    symbols = 12 if name.startswith("raw") else 2
    for question, reading in questions(planned(template=name, form=form, shots=[0, 2], symbols=symbols)):
        (right,) = question.right_replies
        found = judged(question, reading, right)
        assert list(found.answers) == list(question.truth)
        assert (list(found.final or ()), found.contradicts) == (list(question.truth), False)
        # A base model goes on with the text, and its next string does not count.
        if form == "completion":
            assert judged(question, reading, f"{right}\n1. something -> else").outcomes == found.outcomes


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FLIP_FLOP)
def test_the_states_at_the_reads_are_what_is_scored(name: str, form: Form) -> None:
    for question, reading in questions(planned(template=name, form=form)):
        wrong = question.reply([1 - state for state in question.prompt.states])
        assert {str(outcome) for outcome in judged(question, reading, wrong).outcomes} == {"wrong"}


@pytest.mark.parametrize("form", FORMS)
def test_a_question_says_nothing_of_the_states(form: Form) -> None:
    """Strings of one sequence of events that differ in what they write alone have prompts that differ there alone."""
    words = Renderer(load("light-switch"), 2)
    one, other = (prompt(words, "trace", form, parse(text).string(0)) for text in ("w1i0r1i0r1", "w0i0r0i0r0"))
    shown = [made.text + "".join(message.text for message in made.messages) for made in (one, other)]
    assert shown[0].replace("turns the light on", "turns the light off") == shown[1]
    assert "-> on" not in shown[0] and "1. " not in shown[0]


def test_a_completion_in_full() -> None:
    words = Renderer(load("raw-compact"), 2)
    made = prompt(words, "trace", "completion", parse("w0r0").string(0), [parse("w1i0r1").string(0)])
    assert made.text == ("w1i0r?\nStep by step:\n1. w1 -> 1\n2. i0 -> 1\n3. r? -> 1\nanswers: 1\nw0r?\nStep by step:")
    assert made.stop == ()  # a line's end stands between the lines of a trace, too
    assert prompt(Renderer(load("game"), 2), "trace", "completion", parse("w0r0").string(0)).stop == ("\n\n",)


def test_a_chat_shows_solved_traces_and_asks_for_one_more() -> None:
    words = Renderer(load("game"), 2)
    made = prompt(words, "trace", "chat", parse("w0r0").string(0), [parse("w1i0r1").string(0)])
    first, shot, last = made.messages
    assert shot.text == "1. write 1 -> 1\n2. ignore 0 -> 1\n3. read ? -> 1\nAnswers: 1"
    assert "each of the 3 items above" in first.text and "(0 or 1)" in first.text
    assert "each of the 2 items" in last.text
    (blank,) = made.blanks
    assert made.messages[blank[0]].text[blank[1] : blank[2]] == "?"


def own_wording(tmp_path: Path, **chat: str) -> str:
    """The game with keys of its own for traces."""
    text = (Path(__file__).parents[2] / "prompts" / "game.toml").read_text().replace('"game"', '"game-traced"')
    keys = "".join(f"{key} = {value!r}\n" for key, value in chat.items())
    path = tmp_path / "game-traced.toml"
    path.write_text(text.replace("[chat]\n", f"[chat]\n{keys}").replace("[completion]", "[completion]\nsteps = 'So:'"))
    return str(path)


def test_a_template_may_word_traces_itself(tmp_path: Path) -> None:
    path = own_wording(tmp_path, trace="Trace {{ events }} now.", trace_again="And {{ events }}.")
    words = Renderer(load(path), 2)
    made = prompt(words, "trace", "chat", parse("w0r0").string(0), [parse("w1r1").string(0)])
    assert [message.text for message in made.messages if message.role == "user"] == [
        "Trace write 1, read ? now.", "And write 0, read ?.",
    ]  # fmt: skip
    assert prompt(words, "trace", "completion", parse("w0r0").string(0)).text.endswith("read ?\nSo:")


def test_half_a_wording_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = own_wording(tmp_path, trace="Trace {{ events }} now.")
    words = ["run", "--backend", "scripted", "--model", "oracle", "--elicitation", "trace", "--form", "chat"]
    flags = [*words, "--template", path, "--trials", "2", "--length", "8", "--out", str(tmp_path)]
    assert main([*flags, "--shots", "1"]) == 2
    assert "has chat.trace and no chat.trace_again, which trace needs with shots" in capsys.readouterr().err
    assert main([*flags, "--shots", "0", "--no-report"]) == 0


def test_templates_without_keys_for_traces_keep_their_content() -> None:
    for name in FLIP_FLOP:
        content = load(name).content()
        assert not {"trace", "trace_again"} & set(content["chat"]) and "steps" not in content["completion"]
        assert Template.model_validate(content) == load(name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", FLIP_FLOP)
def test_the_limit_leaves_room_for_a_trace_of_any_string(name: str, form: Form) -> None:
    """A token is at least two bytes of an English text; the limit holds with room."""
    for question, _ in questions(planned(template=name, form=form, length=100, trials=3)):
        (right,) = question.right_replies
        lines = right.count("\n") + 1
        assert question.limits[0] >= len(right.encode()) / 2 + 4 * lines


def run(out: Path, model: str, *flags: str, form: str = "completion", trials: int = 300) -> dict[str, Any]:
    """The one row of a scripted run."""
    words = ("--elicitation", "trace", "--form", form, "--template", "raw-spaced", "--shots", "0", "--length", "20")
    given = ["run", "--backend", "scripted", "--model", model, "--out", str(out), *words, "--trials", str(trials)]
    assert main([*given, "--no-report", *flags]) in (0, 3)
    (row,) = json.loads((only_run(out) / "run.json").read_text())["results"]
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize("form", FORMS)
def test_the_oracle_is_always_right(tmp_path: Path, form: Form) -> None:
    row = run(tmp_path, "oracle", form=form, trials=50)
    assert (row["accuracy"], row["outcomes"]["correct"]) == (1.0, row["reads"])
    assert (row["traces"], row["contradicting_traces"]) == (50, 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", ["constant-0", "constant-1", "first-write", "majority", "copy-last-bit"])
def test_a_wrong_rule_scores_its_floor(tmp_path: Path, rule: str, form: Form) -> None:
    row = run(tmp_path, rule, form=form, trials=100)
    assert row["accuracy"] == row["floors"][rule]
    assert 0.3 < row["accuracy"] < 0.9


@pytest.mark.parametrize(("model", "expected"), [("glitch-0.3", 0.7), ("coin", 0.5)])
def test_a_rate_of_errors_is_found_through_traces(tmp_path: Path, model: str, expected: float) -> None:
    row = run(tmp_path, model, trials=400)
    assert row["accuracy"] == pytest.approx(expected, abs=4 * np.sqrt(0.25 / row["reads"]))


@pytest.mark.parametrize(
    ("model", "outcome"),
    [("malformed", "invalid"), ("refusing", "refused"), ("truncating", "truncated"), ("failing", "error")],
)
def test_outcomes_stay_apart(tmp_path: Path, model: str, outcome: str) -> None:
    row = run(tmp_path, model, trials=5)
    assert row["outcomes"][outcome] == row["reads"]
    assert row["accuracy"] == (None if outcome == "error" else 0.0)
    assert "traces" not in row


def test_a_final_answer_against_the_trace_is_a_column_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every fourth reply ends with the other symbols; every tenth ends without answers."""
    original, number = ScriptedBackend._reply, 0

    def forgetful(self: ScriptedBackend, request: Request) -> Any:
        nonlocal number
        reply = original(self, request)
        assert isinstance(reply, Reply)
        lines, last = reply.text.rsplit("\n", 1)
        number += 1
        if number % 10 == 0:
            last = ""
        elif number % 4 == 0:
            last = last.translate(str.maketrans("01", "10"))
        return Reply(f"{lines}\n{last}", "stop")

    monkeypatch.setattr(ScriptedBackend, "_reply", forgetful)
    row = run(tmp_path, "oracle", trials=40)
    assert row["accuracy"] == 1.0
    assert (row["traces"], row["contradicting_traces"]) == (36, 8)
    assert "traces contradicted by their final answers 0.2222 (8 of 36)" in " ".join(capsys.readouterr().out.split())
    folder = only_run(tmp_path)
    reads = pd.read_parquet(folder / "reads.parquet")
    trials = reads.groupby("string_index")
    assert (trials["final_answer"].count() == 0).sum() == 4
    against = reads["final_answer"].notna() & (reads["final_answer"] != reads["answer"])
    assert reads[against]["string_index"].nunique() == 8
    # Computed from the log alone, it is the same.
    assert main(["score", str(folder)]) == 0
    (again,) = json.loads((folder / "run.json").read_text())["results"]
    assert (again["traces"], again["contradicting_traces"]) == (36, 8)
    assert main(["report", str(folder), "--output", str(tmp_path / "report.html")]) == 0
    assert "traces contradicted by their final answers 0.2222" in (tmp_path / "report.html").read_text()


def test_a_schema_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--backend", "scripted", "--model", "oracle", "--elicitation", "trace", "--answers", "schema"]
    assert main([*words, "--out", str(tmp_path)]) == 2
    assert (
        "--answers schema: trace writes more than its answers; use --elicitation next, list or dialogue"
        in capsys.readouterr().err
    )


def test_a_trace_is_one_call_that_batches_take() -> None:
    assert TRACE.batchable and not TRACE.has_turns
    (question, _), *_ = questions(planned(template="game", form="chat"))
    assert question.calls == [question.request] and question.request.key == question.key


def test_the_states_are_the_tasks_own() -> None:
    strings = Spec.ffl(0.4, 40).sample(3, 0, 20)
    states = strings.task.answers_everywhere(strings)
    assert states is not None and (states == oracle(strings.events, strings.values)).all()
    assert (states[strings.is_read] == strings.answers[strings.is_read]).all()


@pytest.mark.parametrize("name", registry.every())
def test_every_task_knows_its_state_or_that_it_has_none(name: str) -> None:
    task = registry.every()[name]
    drawn = task.spec(24).sample(1, 0, 10)
    states = task.answers_everywhere(drawn)
    if any(event.is_read and event.has_argument for event in task.events):
        assert states is None
    else:
        assert states is not None and states.shape == drawn.events.shape
        assert (states[drawn.is_read] == drawn.answers[drawn.is_read]).all()
        # It follows from the events alone, as in a string that was read from a file.
        blank = Strings(task, drawn.events, drawn.arguments, np.where(drawn.is_read, drawn.answers, 0), drawn.symbols)
        assert (task.answers_everywhere(blank) == states).all()


@pytest.mark.slow
@pytest.mark.weights
def test_a_real_base_model_writes_traces(tmp_path: Path) -> None:
    words = ["--elicitation", "trace", "--form", "completion", "--template", "game", "--shots", "2"]
    flags = [*words, "--shot-length", "10", "--length", "10", "--trials", "3", "--no-report"]
    assert main(["run", "--backend", "transformers", "--model", "smollm2-135m", "--out", str(tmp_path), *flags]) == 0
    folder = only_run(tmp_path)
    (row,) = json.loads((folder / "run.json").read_text())["results"]
    assert row["elicitation"] == "trace" and row["outcomes"]["error"] == row["outcomes"]["truncated"] == 0
    # It has seen how, and stops where the next string would begin. But it is too small for a trace of its own string,
    # and goes on about those of its shots, which counts for no read.
    for line in (folder / "trials.jsonl").read_text().splitlines():
        trial = json.loads(line)
        assert re.findall(r"^(\d)\. \w+ [01?] -> [01]$", trial["reply"], re.MULTILINE)[:5] == list("12345")
        assert trial["reason"] is None or "of the trace" in trial["reason"]
