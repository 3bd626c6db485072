"""What a run says of a model in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ffprompt.analysis.condition_names import name_rows
from ffprompt.analysis.verdict import judge, sentences, verdicts, warnings
from ffprompt.scoring.aggregate import Tally
from ffprompt.scoring.condition_result import ConditionResult, Unread, ZeroErrorBound, ZeroErrorBounds

FLOORS = {"majority": 0.8, "constant-0": 0.55, "constant-1": 0.45}
CUT = Unread(outcome="truncated", trials=57, of=57, reasoning=False, limit=96, quote="Let me see")


def row(length: int = 10, accuracy: float | None = 0.9, margin: float = 0.05, **more: Any) -> ConditionResult:
    """A condition of 1,000 reads whose interval is ``accuracy`` with ``margin`` on either side."""
    right = round(1000 * (accuracy or 0.0))
    outcomes = {"correct": right, "wrong": 1000 - right, "invalid": 0, "refused": 0, "truncated": 0, "error": 0}
    settings: dict[str, Any] = {
        "template": "game",
        "elicitation": "list",
        "form": "chat",
        "language": f"FFL({length}, 0.6)",
        "reads": 1000,
        "strings": 100,
        "accuracy": accuracy,
        "interval_low": None if accuracy is None else max(0.0, accuracy - margin),
        "interval_high": None if accuracy is None else min(1.0, accuracy + margin),
        "floor": 0.8,
        "floors": FLOORS,
        "outcomes": outcomes,
    }
    made = replace(Tally().result(), **settings | more)
    return replace(made, condition=f"{made.template}/{made.shots}-shot/{made.elicitation}/{made.form}/{made.language}")


def said(*rows: ConditionResult) -> str:
    (found,) = verdicts([("m", one) for one in rows])
    return found.sentence


def test_below_from_a_length_on() -> None:
    found = said(row(10, 0.85), row(50, 0.8), row(100, 0.7), row(200, 0.6))
    assert found == "below the best memoryless rule from T = 100 on, nowhere above it"


def test_series_are_told_apart_by_what_differs() -> None:
    rows = [row(length, 0.7, shots=shots) for shots in (0, 1) for length in (10, 50, 100)]
    rows[0] = replace(rows[0], interval_high=0.9)
    assert said(*rows) == (
        "below the best memoryless rule from T = 50 on (0-shot) and at every T (1-shot), nowhere above it"
    )


def test_a_gap_between_lengths_is_listed() -> None:
    assert "at T = 10 and 100," in said(row(10, 0.6), row(50, 0.8), row(100, 0.6), row(200, 0.8))


def test_many_places_are_counted() -> None:
    rows = [row(10, 0.6 if n % 2 else 0.8, template=f"t{n}") for n in range(12)]
    assert "in 6 of 12 conditions" in said(*rows)


def test_some_above_and_some_below() -> None:
    assert said(row(10, 0.95), row(50, 0.8), row(100, 0.6)) == (
        "above the best memoryless rule at T = 10, below it from T = 100 on, not told apart from it at T = 50"
    )


def test_above_everywhere_names_the_worst_place() -> None:
    found = said(row(10, 0.99, 0.01), row(50, 0.9))
    assert found == ("above the best memoryless rule in all 2 conditions, with errors (least accuracy 0.9000 at T=50)")


def bounds(high: float) -> ZeroErrorBounds:
    bound = ZeroErrorBound(high=high, n=100, level=0.95, needs="strings are independent")
    return ZeroErrorBounds(strings=bound, reads=bound)


def test_perfect_says_what_that_shows() -> None:
    found = said(row(10, 1.0, zero_error_bounds=bounds(0.03)), row(50, 1.0, zero_error_bounds=bounds(0.02)))
    rate = "error rate at most 0.0300 in each (95% confidence, one-sided)"
    assert found == f"all 2,000 reads right in 2 conditions, {rate}"


def test_perfect_on_few_strings_is_not_told_apart_from_the_floor() -> None:
    found = said(row(10, 1.0, 0.3, zero_error_bounds=bounds(0.3)), row(50, 1.0, zero_error_bounds=bounds(0.02)))
    assert found.endswith("Too few strings to tell it from the best memoryless rule at T = 10")


def test_one_condition_shows_both_numbers() -> None:
    assert said(row(10, 0.82)) == "not told apart from the best memoryless rule (0.8200 against 0.8000)"
    assert said(row(10, 0.9)) == "with errors, but above the best memoryless rule (0.9000 against 0.8000)"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"unread": CUT, "accuracy": 0.0}, '57 of 57 trials were cut off at the limit of 96 tokens a reply ("Let me'),
        ({"mean_answer_mass": 0.01}, "answer mass 0.01"),
        ({"accuracy": None, "outcomes": {"error": 1000}}, "no read was answered"),
        ({"outcomes": {"refused": 900, "correct": 100}, "accuracy": 0.1}, "900 of 1,000 reads were refused"),
    ],
)
def test_a_result_that_means_nothing_says_so(changes: dict[str, Any], reason: str) -> None:
    (found,) = verdicts([("m", row(**changes))])
    assert found.answer == "no result"
    assert found.sentence.startswith(f"no result: {reason}")
    assert found.conditions[0].word == "no result"
    assert any(reason in text for text in warnings([("m", row(**changes))]))


def test_a_condition_without_a_result_is_counted_and_judged_apart() -> None:
    found = said(row(10, 0.7), row(50, 0.0, unread=CUT))
    assert found == "below the best memoryless rule at T=10 (0.7000 against 0.8000). 1 of 2 conditions has no result"


def test_far_below_chance_gets_a_word() -> None:
    low = row(10, 0.06)
    assert judge(low).word == "below chance"
    assert any(text.startswith("below chance: 60 of 1,000 reads right") for text in warnings([("m", low)]))
    # What is low because nothing could be read is not below chance.
    unreadable = row(10, 0.06, outcomes={"correct": 60, "invalid": 940})
    assert not judge(unreadable).below_chance


def test_warnings_are_grouped_over_rows() -> None:
    rows = [("m", row(length, 0.7, warnings=["few strings: 20; more would help"])) for length in (10, 50, 100)]
    assert warnings(rows) == ["few strings: 20; more would help (all 3 rows)"]
    rows[0] = ("m", row(10, 0.7, warnings=["few strings: 12; more would help"]))
    assert warnings(rows[:2]) == ["few strings: 12; more would help (both rows, with other numbers)"]
    assert warnings([*rows[1:], ("m", row(200, 0.7))]) == ["few strings: 20; more would help (T=50 and 1 more)"]


def test_what_only_explains_an_interval_is_no_warning() -> None:
    assert warnings([("m", row(warnings=["every read was right: how errors cluster is unknown"]))]) == []


def test_names_say_what_differs_within_a_model_and_the_rest_is_said_once() -> None:
    rows = [("a", row(length, shots=shots)) for shots in (0, 1) for length in (10, 50)]
    found = name_rows(rows)
    assert found.rows == ("0-shot, T=10", "0-shot, T=50", "1-shot, T=10", "1-shot, T=50")
    assert found.shared == "game, list, FFL, p=0.6"
    both = name_rows([*rows, *(("b", replace(one, template="door")) for _, one in rows)])
    assert both.rows[:4] == both.rows[4:] == found.rows
    assert both.shared == "list, FFL, p=0.6; game (a); door (b)"


def test_a_lone_row_is_named_by_its_language() -> None:
    assert name_rows([("a", row()), ("b", row())]).rows == ("FFL(10, 0.6)", "FFL(10, 0.6)")


def test_the_form_is_named_where_the_elicitation_does_not_tell_it() -> None:
    forms = [("a", row(form="chat")), ("a", row(form="completion"))]
    assert name_rows(forms).rows == ("chat", "completion")
    kinds = [("a", row(form="chat")), ("a", row(elicitation="forced", form="completion"))]
    assert name_rows(kinds).rows == ("list", "forced")


def test_sentences_have_the_model_in_front() -> None:
    assert sentences(verdicts([("a", row(10, 0.9)), ("b", row(10, 0.6))]))[1].startswith("b: below")
