"""Traces: what their lines say at the reads, and traces that say nothing that can be scored."""

from __future__ import annotations

from typing import Any

import pytest

from ffprompt.backends.base import Reply
from ffprompt.scoring.parse_reply import UNENDED
from ffprompt.scoring.parse_trace import Steps, Trace, bare, parse_trace
from ffprompt.scoring.response_records import record
from ffprompt.scoring.score import Judged, Outcome, Reading, judge

VALUES = ("off", "on")
WRITE, APPLE, READ = "Alice turns the light {}.", "Bob eats an apple.", "The light is turned ___."
ITEMS = [WRITE.format("on"), APPLE, READ, WRITE.format("off"), READ]
KNOWN = [*map(WRITE.format, VALUES), APPLE, "Bob eats a banana.", READ]
SOLVED = {f"The light is turned {value}.": symbol for symbol, value in enumerate(VALUES)}
STATES = ("on", "on", "on", "off", "off")
STEPS = Steps.of(ITEMS, [2, 4], [*KNOWN, *SOLVED], SOLVED)
TRUE = "1. Alice turns the light on. -> on\n2. Bob eats an apple. -> on\n3. The light is turned ___. -> on\n"
TRUE += "4. Alice turns the light off. -> off\n5. The light is turned ___. -> off\n"


def parse(text: str, **more: Any) -> Trace:
    return parse_trace(text, STEPS, VALUES, ignore_case=True, **more)


def judged(text: str, stop: Any = "stop", completes: bool = False) -> Judged:
    reading = Reading(VALUES, completes=completes, ignore_case=True, steps=STEPS)
    return judge(record(Reply(text, stop)), [1, 0], reading)


def laid_out(line: str) -> str:
    """The true trace with every line in one form."""
    lines = [
        line.format(n=n, item=item, state=state) for n, item, state in zip(range(1, 6), ITEMS, STATES, strict=True)
    ]
    return "\n".join([*lines, "Answers: on, off"])


@pytest.mark.parametrize(
    "text",
    [
        TRUE + "Answers: on, off",
        "Let me go through it.\n\n" + TRUE + "\nAnswers: on, off",
        TRUE.replace("\n", "\n\n") + "**Answers:** on, off",
        TRUE.replace("___", "?").replace(".", ")", 1) + "Answers: on, off",
        TRUE.replace("->", "→").replace("on\n", "**on**\n") + "The answers are: on, off",
        "\n".join(f"{n}. {state}" for n, state in enumerate(STATES, 1)) + "\nAnswers: on, off",
        "\n".join(f"Step {n}: -> `{state}`" for n, state in enumerate(("on", "on", "On", "off", "off"), 1))
        + "\non, off",
        TRUE.replace("-> on", "-> the light is on").replace("-> off", "-> the light is off.") + "Answers: on, off",
        TRUE.replace("turned ___. -> on", "turned on. -> on").replace("___", "off") + "Answers: on, off",
        "| # | event | state |\n|---|---|---|\n"
        + "\n".join(f"| {n} | {item} | {state} |" for n, item, state in zip(range(1, 6), ITEMS, STATES, strict=True))
        + "\n\nAnswers: on, off",
        "<think>1. -> off. No, that is wrong.</think>" + TRUE + "Answers: on, off",
        TRUE + "Answers:\n1. on\n2. off",
        TRUE + TRUE + "Answers: on, off",  # twice the same
        TRUE.replace("Bob eats an apple", "Bob has some fruit") + "Answers: on, off",
        laid_out("({n}) {item} -> {state}"),
        laid_out("[{n}] {item} $\\rightarrow$ {state}"),
        laid_out("**Step {n}:** {item} → **{state}**"),
        laid_out("After step {n}: {state}"),
        laid_out("{n}. {item} (state: {state})"),
        laid_out("{n}. {item}\n   - State: {state}"),
        laid_out("{n}. {item}\n   -> {state}"),
        laid_out("{n}. {item} -> {state} (Alice did it)"),
        "0. The light is turned ___. -> off\n" + TRUE + "Answers: on, off",
    ],
)
def test_a_trace_is_read_whatever_its_layout(text: str) -> None:
    assert parse(text) == Trace((1, 0), (None, None), (1, 0))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no numbered lines"),
        ("Answers: on", "no numbered lines"),
        ("Answers: on, off\nWait.\nAnswers: off, off", "no numbered lines"),
        ("First it is on, and then off, so on, off", "no numbered lines"),
        ("The light is on, then off.", "no numbered lines"),
        (TRUE.rsplit("5.", 1)[0] + "Answers: on, off", "no line 5 in the trace of 5 events"),
        (TRUE.replace("2. Bob eats an apple. -> on\n", "") + "Answers: on, off", "no line 2 in the trace of 5 events"),
        (TRUE + "6. Bob eats an apple. -> off\n", "a line 6 in the trace of 5 events"),
        # One event left out, another made up: every line after it is about another event than its number says.
        (
            TRUE.replace("2. Bob eats an apple. -> on\n3.", "2.").replace("4.", "3.").replace("5.", "4.")
            + "5. Bob eats a banana. -> off\n",
            "line 2 of the trace is about another event",
        ),
        (TRUE.replace("4. Alice turns the light off.", "4. Alice turns the light on."), "line 4 of the trace is about"),
        (TRUE.replace("2. Bob eats an apple.", "2. The light is turned on."), "line 2 of the trace is about another"),
    ],
)  # fmt: skip
def test_what_is_no_trace_of_the_string_answers_nothing(text: str, reason: str) -> None:
    found = judged(text)
    assert found.outcomes == [Outcome.INVALID] * 2
    assert found.reason is not None and found.reason.startswith(reason)
    assert found.contradicts is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3. The light is turned ___.", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> ?", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> unknown", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> not on", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> on or off", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> on, but it was off", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> onward", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> on (or off)", "no answer in line 3 of the trace"),
        ("3. The light is turned ___. -> on (it was off)", "no answer in line 3 of the trace"),
        ("3. The light is turned ___.\n-> on or off", "no answer in line 3 of the trace"),
        ("3. The light is turned ___.\n\n-> on", "no answer in line 3 of the trace"),
        ("3. The light is turned off. -> on", "two different answers in line 3 of the trace"),
        ("3. The light is turned ___. -> on\n3. The light is turned ___. -> off", "two different answers in line 3"),
    ],
)
def test_a_line_without_one_answer_is_invalid_for_its_own_read(line: str, reason: str) -> None:
    found = judged(TRUE.replace("3. The light is turned ___. -> on", line) + "Answers: on, off")
    assert found.answers == (None, 0)
    assert found.outcomes == [Outcome.INVALID, Outcome.CORRECT]
    assert found.reason is not None and found.reason.startswith(reason)
    assert found.reasons[1] is None and found.contradicts is None


@pytest.mark.parametrize(
    "text",
    [
        laid_out('{{"step": {n}, "event": "{item}", "state": "{state}"}}'),
        laid_out("- {item} -> {state}"),
        laid_out("State {n}: {state}"),  # the first may be the state before any event
        f"<scratchpad>\n{TRUE}</scratchpad>\nAnswers: on, off",
        f"<think>\n{TRUE.replace('-> on', '-> off')}</think>\nAnswers: on, off",
    ],
)
def test_a_trace_in_another_form_is_counted_as_none_and_its_answers_are_scored(text: str) -> None:
    found = judged(text)
    assert (found.answers, found.is_free, found.contradicts) == ((1, 0), True, None)
    without = judged(text.rsplit("\n", 1)[0])
    assert found.outcomes == [Outcome.CORRECT] * 2 and without.outcomes == [Outcome.INVALID] * 2
    assert without.reason is not None and without.reason.startswith("no numbered lines")


def test_reasoning_in_free_words_is_scored_on_its_answers_and_counted() -> None:
    found = judged("Alice turned it on, and the apple does not matter. Later it was off.\n\n**Answers:** on, off")
    assert (found.answers, found.is_free, found.final, found.contradicts) == ((1, 0), True, None, None)
    assert not judged(TRUE + "Answers: on, off").is_free
    # A base model has seen how, and one that writes no lines does something else.
    assert judged("Answers: on, off\n", completes=True).outcomes == [Outcome.INVALID] * 2
    assert judged("Alice turned it on.\nAnswers: on, of", "length").outcomes == [Outcome.TRUNCATED] * 2


def test_a_second_trace_that_differs_makes_its_reads_invalid() -> None:
    again = TRUE.replace("5. The light is turned ___. -> off", "5. The light is turned ___. -> on")
    found = judged(f"{TRUE}Wait, once more.\n{again}Answers: on, on")
    assert (found.outcomes, found.answers) == ([Outcome.CORRECT, Outcome.INVALID], (1, None))


def test_the_trace_counts_and_a_final_answer_against_it_is_noted() -> None:
    found = judged(TRUE + "Answers: on, on")
    assert found.outcomes == [Outcome.CORRECT] * 2
    assert (found.final, found.contradicts) == ((1, 1), True)
    found = judged(TRUE.replace("-> off\n", "-> on\n") + "Answers: on, off")
    assert found.outcomes == [Outcome.CORRECT, Outcome.WRONG]
    assert found.contradicts is True
    assert judged(TRUE + "Answers: on, off").contradicts is False


@pytest.mark.parametrize("end", ["", "Answers: on", "Answers: on, off, on", "That was all."])
def test_without_readable_final_answers_nothing_is_said_of_contradictions(end: str) -> None:
    found = judged(TRUE + end)
    assert found.outcomes == [Outcome.CORRECT] * 2
    assert (found.final, found.contradicts) == (None, None)


@pytest.mark.parametrize("cut", [0, 10, 60, len(TRUE) - 1, len(TRUE) + 12])
def test_a_trace_that_was_cut_off_is_truncated_and_not_wrong(cut: int) -> None:
    text = (TRUE + "Answers: on, off")[:cut]
    assert judged(text, "length").outcomes == [Outcome.TRUNCATED] * 2
    assert judged("\n" + text, "length", completes=True).outcomes == [Outcome.TRUNCATED] * 2


def test_reasoning_that_never_ends_is_truncated_and_a_refusal_is_refused() -> None:
    assert parse("<think>" + TRUE).reason == UNENDED
    assert judged("<think>" + TRUE).outcomes == [Outcome.TRUNCATED] * 2
    assert judged("", "refusal").outcomes == [Outcome.REFUSED] * 2


def test_a_base_model_that_goes_on_is_read_up_to_its_answers() -> None:
    more = "\n\nAlice turns the light off.\nStep by step:\n1. Alice turns the light off. -> off\n2."
    for text in (f"\n{TRUE}The missing words, in order: on, off{more}", f"\n{TRUE}on, off\n"):
        found = judged(text, "length", completes=True)
        assert found.outcomes == [Outcome.CORRECT] * 2
        assert found.final == (1, 0)


def test_values_that_are_numbers_are_told_from_the_numbers_of_lines() -> None:
    steps = Steps.of(
        ["write 1", "read ?", "read ?"], [1, 2], ["write 0", "read 0", "read 1"], {"read 0": 0, "read 1": 1}
    )
    text = "1. write 1 -> 1\n2. read ? -> 0\n3. read ? -> 1\n0, 1"
    assert parse_trace(text, steps, ["0", "1"]).answers == (0, 1)
    assert parse_trace("1: 1\n2: 0\n3: 1", steps, ["0", "1"]).answers == (0, 1)
    assert parse_trace("1 -> 1\n2 -> 0\n3 -> 1", steps, ["0", "1"]).answers == (0, 1)
    assert parse_trace("0, 1, 1", steps, ["0", "1"]).reason == "no numbered lines"
    assert parse_trace("1. write 1\n2. read 0\n3. read 1", steps, ["0", "1"]).answers == (0, 1)


def test_the_longest_of_values_that_begin_alike_is_meant() -> None:
    values = ["tile 1", "tile 12", "not here"]
    steps = Steps.of(["go", "where"], [1])
    assert parse_trace("1. go -> tile 1\n2. where -> tile 12", steps, values).answers == (1,)
    assert parse_trace("1. go -> tile 1\n2. where -> not here", steps, values).answers == (2,)


def test_a_hostile_reply_takes_linear_time() -> None:
    for text in (
        "1. " * 50_000,
        "1" * 100_000,
        "->" * 50_000,
        "| " * 50_000,
        "1. a -> on\n" * 20_000,
        "so so " * 40_000,
    ):
        assert parse(text).reason is not None


def test_bare_words_are_compared() -> None:
    assert bare("assert x == ___") == "assert x"
    assert bare("Ж2 -> ПОКА") == "ж2 пока"
