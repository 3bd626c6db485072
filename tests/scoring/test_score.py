"""Outcomes, and the numbers made from them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from ffprompt.backends.base import Capabilities, Failure, Reply, Scores
from ffprompt.config.run_config import make
from ffprompt.evaluation.plan import Plan
from ffprompt.report.wording import legend, notes
from ffprompt.scoring.aggregate import Tally
from ffprompt.scoring.condition_result import ConditionResult, StringsWithAnError
from ffprompt.scoring.response_records import ReplyRecord, ResponseRecord, ScoresRecord, record
from ffprompt.scoring.score import Judged, Outcome, Reading, judge, margin, mass
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import clopper_pearson, korn_graubard

BITS = ["0", "1"]


def outcomes(
    response: Reply | Scores | Failure, truth: list[int], completes: bool = False, one: bool = False
) -> list[str]:
    judged = judge(record(response), truth, Reading(BITS, completes=completes, one=one))
    assert len(judged.answers) == len(truth)
    return [str(outcome) for outcome in judged.outcomes]


def scores(*reads: tuple[float, float]) -> Scores:
    answers = np.array(reads)
    return Scores(answers, answers.argmax(1), answers.argmax(1))


def test_each_read_of_a_list_is_judged_by_itself() -> None:
    assert outcomes(Reply("1, 0, 0", "stop"), [1, 1, 0]) == ["correct", "wrong", "correct"]


def test_a_refusal_is_not_a_wrong_answer() -> None:
    assert outcomes(Reply("1, 0", "refusal"), [1, 0]) == ["refused", "refused"]


def test_a_failed_call_is_not_a_wrong_answer() -> None:
    assert outcomes(Failure("reset"), [1, 0]) == ["error", "error"]


def test_a_list_of_another_length_is_invalid_for_every_read() -> None:
    assert outcomes(Reply("1, 0", "stop"), [1, 0, 1]) == ["invalid"] * 3


def test_a_reply_cut_off_at_the_limit_is_truncated_even_if_a_list_stands_in_it() -> None:
    assert outcomes(Reply("1, 0", "length"), [1, 0]) == ["truncated", "truncated"]
    assert outcomes(Reply("1", "length"), [1], one=True) == ["truncated"]


def test_a_base_model_goes_on_writing_and_its_first_word_counts() -> None:
    assert outcomes(Reply(" 1 i 0 r", "length"), [1], completes=True, one=True) == ["correct"]
    assert outcomes(Reply(" 10 i 0 r", "length"), [1], completes=True, one=True) == ["invalid"]


def test_a_base_models_list_is_truncated_when_its_line_does_not_end() -> None:
    assert outcomes(Reply("1, 0, 1, 1", "length"), [1, 0], completes=True) == ["truncated"] * 2


def test_the_more_probable_answer_decides_whatever_its_probability() -> None:
    assert outcomes(scores((-9.0, -9.1), (-0.7, -0.69)), [0, 0]) == ["correct", "wrong"]


def test_equal_probabilities_are_no_answer() -> None:
    assert outcomes(scores((-1.0, -1.0), (-1.0, -2.0)), [0, 0]) == ["invalid", "correct"]


def test_a_difference_below_what_the_log_keeps_is_a_tie() -> None:
    assert outcomes(scores((-1.0, -1.0000001)), [0]) == ["invalid"]


def test_margin_and_mass_of_one_read() -> None:
    assert margin([-3.0, -1.0, -2.5]) == 1.5
    assert mass([math.log(0.5), math.log(0.25)]) == pytest.approx(0.75)


REPLY = ReplyRecord(reply="", stop="stop")


def tally(judgements: list[list[Outcome]], responses: list[ResponseRecord] | None = None) -> ConditionResult:
    """The row of a condition whose first strings were judged so; each has that many reads."""
    plan = Plan(
        make({"backend": "scripted", "model": "oracle", "length": 30, "trials": 200, "p_ignore": 0.5}),
        Capabilities(scores=True, completes=True, chats=True),
    )
    batch = plan.batch(plan.conditions[0], 0, 200)
    counted = Tally()
    row = 0
    for outcomes, response in zip(judgements, responses or [REPLY] * len(judgements), strict=True):
        while len(batch.asked[row]) != len(outcomes):
            row += 1
        counted.add(batch.string(row), Judged([None] * len(outcomes), outcomes), response, batch.floor_counts[row])
        row += 1
    return counted.result()


def test_errors_leave_the_accuracy_and_its_n_alone() -> None:
    good, bad = Outcome.CORRECT, Outcome.WRONG
    without = tally([[good, good, bad], [good, bad, bad]])
    row = tally([[good, good, bad], [Outcome.ERROR] * 3, [good, bad, bad]])
    assert row.accuracy == without.accuracy == 0.5
    assert row.strings == 2
    assert (row.interval_low, row.interval_high) == (without.interval_low, without.interval_high)
    assert row.outcomes["error"] == 3


def test_the_interval_has_the_read_as_unit_and_the_string_as_cluster() -> None:
    good, bad = Outcome.CORRECT, Outcome.WRONG
    row = tally([[good] * 6, [bad, bad], [good, bad, bad], [good] * 3])
    found = korn_graubard(Clusters(np.array([0, 2, 2, 0]), np.array([6, 2, 3, 3])))
    assert found is not None
    assert row.accuracy == 10 / 14
    assert (row.interval_low, row.interval_high) == (1 - found.high, 1 - found.low)
    assert (row.n_effective, row.deff, row.interval_method) == (found.n_effective, found.deff, "Korn-Graubard")
    assert any("few strings: 4" in warning for warning in row.warnings)
    hit = clopper_pearson(2, 4)
    assert hit is not None
    assert row.strings_with_an_error == StringsWithAnError(count=2, share=0.5, low=hit.low, high=hit.high)
    assert row.zero_error_bounds is None
    assert row.perfect_strings == 2


def test_no_error_is_bounded_by_strings_and_by_reads() -> None:
    row = tally([[Outcome.CORRECT] * 4] * 5)
    bounds = row.zero_error_bounds
    assert bounds is not None
    # 1 - 0.05 ** (1 / n): the rate at which no error at all has a chance of 5 %.
    assert bounds.strings.high == pytest.approx(1 - 0.05 ** (1 / 5))
    assert bounds.reads.high == pytest.approx(1 - 0.05 ** (1 / 20))
    assert row.interval_low == pytest.approx(0.025 ** (1 / 5))
    assert row.interval_high == 1.0
    json.dumps(row.to_json(), allow_nan=False)  # run.json holds it


def test_notes_say_in_words_what_no_error_shows_and_needs() -> None:
    row = replace(tally([[Outcome.CORRECT] * 4] * 5), condition="c")
    first, *others = notes([("m", row)])
    assert first.startswith(
        "m c: every read of 5 strings is right. At 95% confidence, one-sided, the error rate is at most 0.4507 "
    )
    assert "if strings are independent" in first
    assert "at most 0.1391 if all reads are independent" in first
    assert any("few strings: 5" in other for other in others)


def test_notes_count_the_strings_that_are_hit() -> None:
    row = replace(tally([[Outcome.CORRECT] * 2, [Outcome.WRONG, Outcome.INVALID]]), condition="c")
    assert notes([("m", row)])[0] == (
        "m c: 1 of 2 strings has a read not answered correctly, 0.5000 (0.0126–0.9874, exact)"
    )


def test_a_row_of_an_earlier_version_is_shown_with_the_interval_that_it_has() -> None:
    row = tally([[Outcome.CORRECT] * 4] * 5).to_json()
    later = ("interval_method", "strings_with_an_error", "zero_error_bounds", "warnings")
    old = ConditionResult.from_json({name: value for name, value in row.items() if name not in later})
    assert "Wilson over strings (computed by an earlier version" in legend([old])
    assert notes([("m", old)]) == []


def test_invalid_refused_and_truncated_count_against_but_not_in_the_glitch_rate() -> None:
    row = tally([[Outcome.CORRECT, Outcome.WRONG, Outcome.INVALID, Outcome.REFUSED, Outcome.TRUNCATED]])
    assert row.accuracy == 0.2
    assert row.glitch_rate == 0.5
    assert row.perfect_strings == 0


def test_a_string_without_an_answer_is_one_with_an_error() -> None:
    row = tally([[Outcome.INVALID] * 3, [Outcome.REFUSED] * 3, [Outcome.CORRECT] * 3])
    assert row.strings_with_an_error.count == 2
    assert row.interval_low < row.accuracy == 1 / 3 < row.interval_high
    assert row.zero_error_bounds is None


def test_no_data_is_none() -> None:
    row = tally([[Outcome.ERROR, Outcome.ERROR]])
    assert row.accuracy is row.interval_low is row.glitch_rate is row.floor is None
    assert row.strings_with_an_error is row.zero_error_bounds is row.n_effective is row.deff is None
    assert tally([]).accuracy is None


def test_a_bound_decides_the_answer_and_is_no_probability() -> None:
    answers = np.array([[-0.1, -3.0], [-0.0002, -0.0001]])
    response = Scores(answers, answers.argmax(1), answers.argmax(1), bounds=((0, 1),))
    line = record(response)
    assert outcomes(response, [0, 1]) == ["correct", "correct"]
    assert isinstance(line, ScoresRecord)
    assert line.known == [[-0.1, None], [-0.0002, -0.0001]]
    row = tally([[Outcome.CORRECT] * 2], [line])
    assert row.mean_answer_mass == pytest.approx(mass([-0.0002, -0.0001]))  # the other read has no known mass
    assert row.near_ties == 1  # 0.0001 apart


# ------------------------------------------------------------------------------------------ reasoning, marks, schemas


@pytest.mark.parametrize("text", ["[THINK]so 1, 0", "<think>1, 0", "analysis1, 0"])
def test_an_open_block_of_reasoning_is_truncated_where_the_reply_is_and_invalid_elsewhere(text: str) -> None:
    assert outcomes(Reply(text, "length"), [1, 0]) == ["truncated"] * 2
    assert outcomes(Reply(text, "stop"), [1, 0]) == ["invalid"] * 2
    assert outcomes(Reply(text, "length"), [1], completes=True, one=True) == ["truncated"]
    assert outcomes(Reply(text, "stop"), [1], completes=True, one=True) == ["invalid"]


def test_marks_at_the_end_and_reasoning_go_whatever_is_asked() -> None:
    assert outcomes(Reply("[THINK]0, 0[/THINK]1, 0</s>", "stop"), [1, 0]) == ["correct"] * 2
    assert outcomes(Reply(" 1, 0<|endoftext|>", "stop"), [1, 0], completes=True) == ["correct"] * 2
    assert outcomes(Reply("1<|im_end|>", "stop"), [1], one=True) == ["correct"]
    assert outcomes(Reply("<think>0</think>1</s>", "stop"), [1], completes=True, one=True) == ["correct"]
    assert outcomes(Reply("1. Then <think>", "length"), [1], completes=True, one=True) == ["correct"]


def test_a_users_tags_count_where_they_are_given() -> None:
    line = record(Reply("((0, 0))1, 0", "stop"))
    assert judge(line, [1, 0], Reading(BITS, tags=("((", "))"))).answers == (1, 0)
    assert judge(line, [1, 0], Reading(BITS)).answers == [None, None]


def test_a_structured_reply_is_json_and_nothing_else() -> None:
    reading = Reading(BITS, structured=True)
    good = '{"answers": ["1", "0"]}'
    assert judge(record(Reply(good, "stop")), [1, 0], reading).answers == (1, 0)
    assert judge(record(Reply(f"<think>hm</think>{good}<|im_end|>", "stop")), [1, 0], reading).answers == (1, 0)
    assert outcomes_of("1, 0", reading) == ["invalid"] * 2
    assert outcomes_of(f"<think>{good}", reading) == ["invalid"] * 2
    assert outcomes_of(f"Here: {good}", reading) == ["invalid"] * 2
    assert outcomes_of(good[:-1], reading, stop="length") == ["truncated"] * 2


def outcomes_of(text: str, reading: Reading, stop: str = "stop") -> list[str]:
    return [str(one) for one in judge(record(Reply(text, stop)), [1, 0], reading).outcomes]  # type: ignore[arg-type]


def test_the_log_keeps_how_a_reply_ended_and_its_reasoning_where_they_are_known() -> None:
    line = record(Reply("1", "stop", ended="end_turn", reasoning="hm"))
    assert isinstance(line, ReplyRecord)
    assert (line.ended, line.reasoning) == ("end_turn", "hm")
    assert not {"ended", "reasoning"} & record(Reply("1", "stop")).to_json().keys()
