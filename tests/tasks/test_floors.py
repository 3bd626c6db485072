"""What rules without memory score: each against a loop, and at T = 512 against the numbers that are known."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.tasks.flipflop import IGNORE, READ, WRITE, Spec, as_strings, parse, sample
from ffprompt.tasks.floors import hits, predictions
from ffprompt.tasks.strings import Strings

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)

RULES = ["copy-last-bit", "first-write", "copy-last-read", "majority"]


def answer_of(rule: str, ops: list[int], bits: list[int], position: int, see_reads: bool) -> int:
    """What a rule says at a read, from nothing but the string before it."""
    visible = [bits[k] for k in range(position) if see_reads or ops[k] != READ]
    if rule == "copy-last-bit":
        return visible[-1]
    if rule == "first-write":
        return bits[0]
    if rule == "copy-last-read":
        reads = [bits[k] for k in range(position) if ops[k] == READ]
        return reads[-1] if reads else visible[-1]
    if rule == "majority":
        counts = Counter(visible)
        most = max(counts.values())
        return next(bit for bit in reversed(visible) if counts[bit] == most)
    return int(rule.removeprefix("constant-"))


@st.composite
def batches(draw: st.DrawFn, symbols: int | None = None) -> Strings:
    weights = draw(st.tuples(*[st.integers(1, 10)] * 3))
    write, read, ignore = (weight / sum(weights) for weight in weights)
    alphabet = symbols or draw(st.sampled_from([2, 3, 5, 16]))
    spec = Spec(2 * draw(st.integers(2, 30)), write, read, ignore, alphabet)
    return sample(spec, draw(st.integers(0, 1000)), 0, 3)


def check(rule: str, strings: Strings, see_reads: bool) -> None:
    said, right = predictions(strings, see_reads)[rule], hits(strings, see_reads)[rule]
    for row, (ops, bits) in enumerate(zip(strings.events.tolist(), strings.values.tolist(), strict=True)):
        for position in np.flatnonzero(strings.is_read[row]).tolist():
            answer = answer_of(rule, ops, bits, position, see_reads)
            assert said[row, position] == answer
            assert right[row, position] == (answer == bits[position])


@pytest.mark.parametrize("see_reads", [True, False])
@pytest.mark.parametrize("rule", ["copy-last-bit", "first-write", "constant-0", "constant-1"])
@quick
@given(strings=batches())
def test_a_rule_is_what_a_loop_over_the_string_says(rule: str, see_reads: bool, strings: Strings) -> None:
    check(rule, strings, see_reads)


@quick
@given(strings=batches())
def test_copying_the_last_read_is_what_a_loop_over_the_string_says(strings: Strings) -> None:
    check("copy-last-read", strings, see_reads=True)


@pytest.mark.parametrize("see_reads", [True, False])
@quick
@given(strings=batches(symbols=2))
def test_the_majority_of_bits_is_what_a_loop_over_the_string_says(see_reads: bool, strings: Strings) -> None:
    check("majority", strings, see_reads)


@pytest.mark.parametrize("see_reads", [True, False])
@quick
@given(strings=batches(symbols=3))
def test_a_tie_among_several_symbols_goes_to_the_latest_of_them(see_reads: bool, strings: Strings) -> None:
    check("majority", strings, see_reads)


@pytest.mark.parametrize(
    ("text", "see_reads", "expected"),
    [
        ("w1 i0 r1", True, {"copy-last-bit": 0, "first-write": 1, "majority": 0, "copy-last-read": 0}),
        ("w1 i0 r1", False, {"copy-last-bit": 0, "first-write": 1, "majority": 0}),
        ("w1 r1 i0 r1", True, {"copy-last-bit": 0, "first-write": 1, "majority": 1, "copy-last-read": 1}),
        ("w1 r1 i0 r1", False, {"copy-last-bit": 0, "first-write": 1, "majority": 0}),
        ("w1 r1 r1", True, {"copy-last-bit": 1, "first-write": 1, "majority": 1, "copy-last-read": 1}),
        ("w1 r1 w0 r0", True, {"copy-last-bit": 0, "first-write": 1, "majority": 1, "copy-last-read": 1}),
        ("w1 r1 w0 i0 r0", False, {"copy-last-bit": 0, "first-write": 1, "majority": 0}),
        ("w0 r0 w1 w1 r1", True, {"copy-last-bit": 1, "first-write": 0, "majority": 1, "copy-last-read": 0}),
    ],
)
def test_at_the_last_read_of_a_worked_example(text: str, see_reads: bool, expected: dict[str, int]) -> None:
    said = predictions(parse(text), see_reads)
    assert {rule: said[rule][0, -1] for rule in expected} == expected
    assert {rule: said[rule][0, -1] for rule in ("constant-0", "constant-1")} == {"constant-0": 0, "constant-1": 1}


def test_more_symbols_have_a_most_frequent_one_too() -> None:
    said = predictions(parse("w2 i0 i2 w1 i2 i1 r1", 3))
    assert said["majority"][0].tolist()[2:] == [0, 2, 2, 2, 2]


@pytest.mark.parametrize("symbols", [2, 3, 16])
def test_there_is_one_constant_rule_for_every_symbol_and_one_of_them_is_right(symbols: int) -> None:
    strings = sample(Spec.ffl(0.5, 64, symbols), 0, 0, 200)
    for see_reads, rules in [(True, RULES), (False, ["copy-last-bit", "first-write", "majority"])]:
        right = hits(strings, see_reads)
        constants = [f"constant-{symbol}" for symbol in range(symbols)]
        assert sorted(right) == sorted(rules + constants)
        assert np.array_equal(np.sum([right[rule] for rule in constants], axis=0), strings.is_read)


def test_hits_are_at_reads_only() -> None:
    strings = sample(Spec.ffl(0.5, 64), 0, 0, 200)
    for see_reads in (True, False):
        for right in hits(strings, see_reads).values():
            assert right.shape == strings.events.shape
            assert not right[strings.events != READ].any()
            assert right.any()


def test_blank_reads_tell_a_rule_nothing() -> None:
    strings = sample(Spec.ffl(0.3, 64), 0, 0, 100)
    spoilt = as_strings(strings.events, np.where(strings.is_read, 1 - strings.values, strings.values).astype(np.uint8))
    told, not_told = predictions(strings, see_reads=False), predictions(spoilt, see_reads=False)
    assert told.keys() == not_told.keys()
    for rule in told:
        assert np.array_equal(told[rule][strings.is_read], not_told[rule][strings.is_read])


# ------------------------------------------------------------------------------------- the paper's languages, T = 512


@cache
def paper(p_ignore: float) -> Strings:
    # As many reads in each, about 40 000: few strings of many reads vary more than many strings of few.
    return sample(Spec.ffl(p_ignore), 2023, 0, {0.1: 2000, 0.8: 3000, 0.98: 12000}[p_ignore])


@cache
def paper_hits(p_ignore: float) -> dict[str, np.ndarray]:
    return hits(paper(p_ignore))


def share(right: np.ndarray, of: np.ndarray) -> tuple[float, float]:
    """A share of reads and its standard error, reads of one string being no independent draws."""
    good, all_of_them = right.sum(axis=1), of.sum(axis=1)
    value = good.sum() / all_of_them.sum()
    return float(value), float(np.sqrt(((good - value * all_of_them) ** 2).sum()) / all_of_them.sum())


@pytest.mark.parametrize(
    ("rule", "p_ignore", "known"),
    [
        ("copy-last-bit", 0.1, 0.950),
        ("copy-last-bit", 0.8, 0.601),
        ("copy-last-bit", 0.98, 0.511),
        ("first-write", 0.1, 0.505),
        ("first-write", 0.8, 0.520),
        ("first-write", 0.98, 0.641),
    ],
)
def test_floors_on_the_languages_of_the_paper_are_those_known(rule: str, p_ignore: float, known: float) -> None:
    value, error = share(paper_hits(p_ignore)[rule], paper(p_ignore).is_read)
    assert error < 0.005
    assert value == pytest.approx(known, abs=4 * error + 0.0005)


@pytest.mark.parametrize(("p_ignore", "known"), [(0.1, 0.950), (0.8, 0.601), (0.98, 0.511)])
def test_copying_the_last_bit_fails_half_of_the_times_an_ignore_stands_before(p_ignore: float, known: float) -> None:
    strings, right = paper(p_ignore), paper_hits(p_ignore)["copy-last-bit"]
    after_ignore = np.zeros_like(strings.is_read)
    after_ignore[:, 1:] = strings.is_read[:, 1:] & (strings.events[:, :-1] == IGNORE)
    value, error = share(right & after_ignore, after_ignore)
    assert value == pytest.approx(0.5, abs=4 * error)
    assert right[strings.is_read & ~after_ignore].all()
    # The read at the second place has the first write before it, every other one an ignore with p_ignore.
    spec = Spec.ffl(p_ignore)
    expected = 1 - p_ignore / 2 * (spec.expected_reads - spec.p_read) / spec.expected_reads
    assert expected == pytest.approx(known, abs=0.001)


def test_half_of_the_reads_can_be_answered_by_copying_an_earlier_one() -> None:
    strings, right = paper(0.8), paper_hits(0.8)["copy-last-read"]
    again = np.zeros_like(strings.is_read)
    for row, ops in enumerate(strings.events.tolist()):
        read_since_write = False
        for position, op in enumerate(ops):
            again[row, position] = op == READ and read_since_write
            read_since_write = op != WRITE and (read_since_write or op == READ)
    value, error = share(again, strings.is_read)
    assert value == pytest.approx(0.5, abs=0.02)
    assert right[again].all()
    # At the first read since a write, the read before it tells nothing.
    first = strings.is_read & ~again
    value, error = share(right & first, first)
    assert value == pytest.approx(0.5, abs=4 * error + 0.02)


@pytest.mark.parametrize("p_ignore", [0.1, 0.8, 0.98])
def test_constants_are_right_half_of_the_time(p_ignore: float) -> None:
    value, error = share(paper_hits(p_ignore)["constant-1"], paper(p_ignore).is_read)
    assert value == pytest.approx(0.5, abs=4 * error)
