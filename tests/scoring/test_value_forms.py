"""Answers in other forms than the task's: minus signs, leading zeros, letters with marks."""

from __future__ import annotations

import pytest

from ffprompt.scoring.parse_reply import parse_list
from ffprompt.scoring.parse_trace import Steps, parse_trace

UNITS = ["1", "-1", "i", "-i", "j", "-j", "k", "-k"]
TWELVE = [f"{number:02d}" for number in range(12)]


@pytest.mark.parametrize(
    "text",
    ["−k", "Answer: −k", "–k", "$-k$", r"$-\mathbf{k}$", r"The product is $-\,k$.", "**−k**", "It is - k.",
     "It is minus k.", "The product is negative k", "Answer: - k", "i·j = k, so it is −k"],
)  # fmt: skip
def test_a_minus_sign_of_any_kind_belongs_to_its_answer(text: str) -> None:
    assert parse_list(text, UNITS, 1).answers in ((7,), None)
    if "=" not in text:
        assert parse_list(text, UNITS, 1).answers == (7,)


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("i, −j, k", (2, 5, 6)),
        ("i, - j, k", (2, 5, 6)),
        ("1. i\n2. –j\n3. k", (2, 5, 6)),
        ("- i\n- −j\n- k", (2, 5, 6)),
        ("- i\n- j\n- k", (2, 4, 6)),
        ("* i\n* -j\n* minus one", (2, 5, 1)),
        ("Read 1: i\nRead 2: −j\nRead 3: −1", (2, 5, 1)),
    ],
)
def test_lists_with_minus_signs(text: str, answers: tuple[int, ...]) -> None:
    assert parse_list(text, UNITS, 3).answers == answers


def test_a_bar_over_a_letter_makes_another_one() -> None:
    assert parse_list("k\u0304", UNITS, 1).answers is None


@pytest.mark.parametrize("text", ["counter–clockwise", "counter‑clockwise", "anti-clockwise"])
def test_a_dash_within_a_word_parts_it_no_more_than_a_hyphen(text: str) -> None:
    assert parse_list(text, ["clockwise", "anticlockwise"], 1, ignore_case=True).answers is None


def test_a_hyphen_that_does_not_break_lines_is_a_hyphen() -> None:
    values = ["heads-tails", "tails-heads"]
    assert parse_list("heads‑tails, tails−heads", values, 2).answers == (0, 1)


@pytest.mark.parametrize(
    ("text", "count", "answers"),
    [
        ("7", 1, (7,)),
        ("7, 11, 0", 3, (7, 11, 0)),
        ("1. 7\n2. 11\n3. 0", 3, (7, 11, 0)),
        ("There are 3 blanks. The answers in order are: 7, 11, 0.", 3, (7, 11, 0)),
        ("07, 11, 0", 3, (7, 11, 0)),
        ("1.5", 1, None),
        ("-7", 1, None),
        ("12", 1, None),
    ],
)
def test_a_number_needs_no_leading_zeros(text: str, count: int, answers: tuple[int, ...] | None) -> None:
    assert parse_list(text, TWELVE, count).answers == answers


def test_numbers_within_answers_need_no_leading_zeros() -> None:
    values = [f"place {place:02d} heading {way}" for way in ("clockwise", "anticlockwise") for place in range(12)]
    assert parse_list("place 7 heading anticlockwise", values, 1).answers == (19,)


def test_bits_are_no_numbers_with_leading_zeros() -> None:
    values = ["000", "001", "010", "011", "100", "101", "110", "111"]
    assert parse_list("11", values, 1).answers is None


def _traced(text: str, values: list[str], asked: list[int], item: str) -> tuple[int | None, ...]:
    items = ["times j", "times i", "read ___"]
    solved = {item.format(value): answer for answer, value in enumerate(values)}
    return parse_trace(text, Steps.of(items, asked, [*items, *solved], solved), values).answers


def test_the_states_of_a_trace_keep_their_minus_signs() -> None:
    text = "1. times j -> j\n2. times i -> −k\n3. read ___ -> −k\nAnswers: −k"
    assert _traced(text, UNITS, [2], "read {}") == (7,)


@pytest.mark.parametrize(("value", "answer"), [("i", 2), ("-i", 3), ("−i", 3), ("1", 0), ("-1", 1)])
def test_a_read_that_is_filled_in_says_its_own_answer(value: str, answer: int) -> None:
    text = f"1. times j -> j\n2. times i -> -k\n3. read {value}\nAnswers: {value}"
    assert _traced(text, UNITS, [2], "read {}") == (answer,)
    assert _traced(text.replace(f"read {value}", f"read {value} -> {value}"), UNITS, [2], "read {}") == (answer,)


def test_reads_that_cannot_be_told_apart_say_no_answer() -> None:
    text = "1. times j -> a\n2. times i -> a\n3. read A\nAnswers: A"
    assert _traced(text, ["a", "A"], [2], "read {}") == (None,)


def test_the_states_of_a_trace_need_no_leading_zeros() -> None:
    text = "1. times j -> 1\n2. times i -> 10\n3. read ___ -> 7\nAnswers: 7"
    assert _traced(text, TWELVE, [2], "read {}") == (7,)
