"""What stood before a read, against loops over the instructions and against the floors."""

from __future__ import annotations

import numpy as np
import pytest

from ffprompt.tasks.covariates import contradictions, earlier_reads, rules
from ffprompt.tasks.flipflop import IGNORE, READ, WRITE, Spec, parse, sample
from ffprompt.tasks.floors import predictions

STRINGS = sample(Spec.ffl(0.5, length=60), seed=3, start=0, stop=200)
MANY = sample(Spec.ffl(0.5, length=60), seed=3, start=0, stop=4000)
THREE = sample(Spec.ffl(0.5, length=60, symbols=3), seed=3, start=0, stop=4000)


def test_the_example_of_the_module() -> None:
    string = parse("w0 w1 i0 r1 i1 i0 r1")
    assert contradictions(string)[0, [3, 6]].tolist() == [1, 2]
    assert earlier_reads(string)[0, [3, 6]].tolist() == [0, 1]
    found = {name: int(rule.answers[0, 6]) for name, rule in rules(string).items()}
    assert (found.pop("constant-0"), found.pop("constant-1")) == (0, 1)
    assert found == {"copy-last-bit": 0, "copy-last-read": 1, "previous-write": 0, "first-write": 0}


def test_counts_since_the_write_are_those_of_a_loop() -> None:
    against, shown = contradictions(STRINGS), earlier_reads(STRINGS)
    for ops, bits, against_row, shown_row in zip(STRINGS.events, STRINGS.values, against, shown, strict=True):
        stored = ignored = read = 0
        for k, (op, bit) in enumerate(zip(ops, bits, strict=True)):
            if op == READ:
                assert (against_row[k], shown_row[k]) == (ignored, read)
                read += 1
            elif op == WRITE:
                stored, ignored, read = bit, 0, 0
            else:
                ignored += bit != stored


@pytest.mark.parametrize("see_reads", [True, False])
@pytest.mark.parametrize("strings", [STRINGS, THREE], ids=["two symbols", "three"])
def test_rules_that_are_floors_answer_as_the_floors_do(strings: object, see_reads: bool) -> None:
    assert isinstance(strings, type(STRINGS))
    floors, found = predictions(strings, see_reads), rules(strings, see_reads)
    shared = floors.keys() & found.keys()
    assert {"copy-last-bit", "first-write", "constant-0"} <= shared
    assert ("copy-last-read" in shared) == see_reads
    for name in shared:
        assert (found[name].answers == floors[name])[strings.is_read].all(), name


def test_the_previous_write_is_the_one_before_the_one_that_counts() -> None:
    for ops, bits, answers in zip(
        STRINGS.events, STRINGS.values, rules(STRINGS)["previous-write"].answers, strict=True
    ):
        writes: list[int] = []
        for op, bit, answer in zip(ops, bits, answers, strict=True):
            if op == WRITE:
                writes.append(bit)
            elif op == READ:
                assert answer == writes[-2 if len(writes) > 1 else -1]


@pytest.mark.parametrize("see_reads", [True, False])
@pytest.mark.parametrize("strings", [MANY, THREE], ids=["two symbols", "three"])
def test_where_a_rule_is_open_it_is_a_toss_and_elsewhere_it_is_right(strings: object, see_reads: bool) -> None:
    assert isinstance(strings, type(STRINGS))
    # Where there is no earlier read, copy-last-read does what copy-last-bit does.
    fallback = strings.is_read & (np.cumsum(strings.is_read, 1) == 1)
    for name, rule in rules(strings, see_reads).items():
        differs = rule.answers != strings.values
        here = rule.open & strings.is_read
        assert abs(differs[here].mean() - (1 - 1 / strings.symbols)) < 0.03, name
        closed = ~rule.open & strings.is_read
        if name == "copy-last-read":
            closed &= ~fallback
        assert not differs[closed].any(), name
        # A toss of the symbols alone: as often after a short gap as after a long one.
        near = strings.gaps <= np.median(strings.gaps[here])
        assert abs(differs[here & near].mean() - differs[here & ~near].mean()) < 0.03, name


def test_an_ignore_is_what_opens_copying_the_last_bit() -> None:
    rule = rules(STRINGS)["copy-last-bit"]
    before = np.roll(STRINGS.events, 1, axis=1)
    assert (rule.open == (before == IGNORE))[STRINGS.is_read].all()
