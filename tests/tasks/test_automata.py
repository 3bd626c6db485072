"""The automata: laws by exhaustion, strings against slow and obvious references, rules by counting."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.errors import SpecError, StringError
from ffprompt.tasks import datasets, registry
from ffprompt.tasks.dihedral import Dihedral
from ffprompt.tasks.draws import weighted
from ffprompt.tasks.floors import hits
from ffprompt.tasks.groups import Counter
from ffprompt.tasks.permutations import Alternating, Symmetric
from ffprompt.tasks.strings import Strings, concatenate
from ffprompt.tasks.table import TableAutomaton
from tests.support.hypothesis_profile import examples

NAMES = [name for name in registry.names() if name != "flipflop"]
TABLES = [name for name in NAMES if isinstance(registry.get(name), TableAutomaton)]


# ------------------------------------------------------------------------------------------------ laws of the groups


def generated(task: TableAutomaton) -> set[int]:
    """The states that can be reached."""
    reached, new = {0}, {0}
    while new:
        new = {int(state) for start in new for state in task.transitions[start]} - reached
        reached |= new
    return reached


@pytest.mark.parametrize(
    ("name", "order"),
    [("parity", 2), ("counter-7", 7), ("c2-cubed", 8), ("dihedral-6", 6), ("dihedral-8", 8), ("q8", 8), ("a4", 12),
     ("a5", 60), ("s3", 6), ("s4", 24), ("s5", 120), ("grid-9", 9)],
)  # fmt: skip
def test_every_state_is_reached_and_there_are_no_others(name: str, order: int) -> None:
    task = registry.get(name)
    assert isinstance(task, TableAutomaton)
    assert len(generated(task)) == len(task.transitions) == order


@pytest.mark.parametrize("name", [name for name in TABLES if name != "grid-9"])
def test_each_input_of_a_group_permutes_the_states(name: str) -> None:
    task = registry.get(name)
    assert isinstance(task, TableAutomaton)
    for column in task.transitions.T:
        assert sorted(column.tolist()) == list(range(len(column)))


def word(task: Any, *inputs: int, state: int = 0) -> int:
    for one in inputs:
        state = int(task.transitions[state, one])
    return state


@pytest.mark.parametrize("places", [3, 4, 5])
def test_relations_of_the_dihedral_groups(places: int) -> None:
    task = Dihedral(size=2 * places)
    drive, turn = 0, 1
    for state in range(2 * places):
        assert word(task, turn, turn, state=state) == state
        assert word(task, *[drive] * places, state=state) == state
        assert word(task, turn, drive, turn, drive, state=state) == state
    assert word(task, drive) != word(task, turn)


def test_relations_of_q8() -> None:
    task = registry.get("q8")
    one, i, j, k = range(4)
    minus = word(task, i, i)
    assert minus == word(task, j, j) == word(task, k, k) == word(task, i, j, k) == 1
    assert word(task, i, j) == word(task, k)
    assert word(task, j, i) == word(task, k, i, i)
    assert word(task, one) == 0


@pytest.mark.parametrize("size", [3, 4, 5])
def test_permutations_act_as_their_words_say(size: int) -> None:
    symmetric, alternating = Symmetric(size=size), Alternating(size=max(size, 4))
    cups = list("abcdefgh"[:size])
    state = 0
    for step in (0, 1, 0, 0, 1, 2, 1, 0):
        if step == 0:
            cups = [cups[-1], *cups[:-1]]
        elif step == 1:
            cups[0], cups[1] = cups[1], cups[0]
        state = word(symmetric, step, state=state)
        assert ["abcdefgh"[cup] for cup in symmetric.orders[state]] == cups
    cups = list("abcdefgh"[: alternating.size])
    state = 0
    for step in (0, 1, 0, 1, 1, alternating.size - 2, 0):
        if step < alternating.size - 2:
            place = step + 2
            first, second, third = cups[0], cups[1], cups[place]
            cups[1], cups[place], cups[0] = first, second, third
        state = word(alternating, step, state=state)
        assert ["abcdefgh"[cup] for cup in alternating.orders[state]] == cups


# ---------------------------------------------------------------------------------- slow references, event by event


def events_of(line: dict[str, Any]) -> Iterator[tuple[int, str, Any]]:
    return ((place, name, argument) for place, (name, argument) in enumerate(line["events"]))


def answers_of(name: str, line: dict[str, Any]) -> list[list[Any]]:
    """The true answers of a line as ``sample --task`` writes it, worked out from what the events say."""
    found: list[list[Any]] = []
    family = registry.get(name).family
    state: Any = {
        "parity": 0, "counter": 0, "c2-cubed": [0, 0, 0], "grid": 0, "dihedral": [0, 0], "q8": "1",
        "symmetric": [0, 1, 2, 3, 4], "alternating": [0, 1, 2, 3, 4], "dyck": [], "registers": {}, "undo": [],
        "flipflop": None, "addition": [0, 0],
    }[family]  # fmt: skip
    for place, event, argument in events_of(line):
        if event == "read":
            answer = state
            if family == "dyck":
                answer = state[-1] + 1 if state else 0
            elif family == "registers":
                answer = state[argument]
            elif family == "undo":
                answer = state[-1]
            elif family == "addition":
                answer = state[1]
            found.append([place, list(answer) if isinstance(answer, list) else answer])
        elif family == "parity":
            state ^= event == "flip"
        elif family == "counter":
            state = (state + argument) % 3
        elif family == "c2-cubed":
            state = [side ^ (event == "flip" and argument == coin) for coin, side in enumerate(state)]
        elif family == "grid":
            state = min(max(state + (1 if event == "right" else -1), 0), 8)
        elif family == "dihedral":
            direction, where = state
            state = [1 - direction, where] if event == "turn" else [direction, (where + (-1 if direction else 1)) % 4]
        elif family == "q8":
            state = quaternion(state, argument)
        elif event in ("shift", "swap", "cycle"):
            if event == "shift":
                state = [state[-1], *state[:-1]]
            elif event == "swap":
                state = [state[1], state[0], *state[2:]]
            else:
                state = state.copy()
                state[1], state[argument - 1], state[0] = state[0], state[1], state[argument - 1]
        elif event == "open":
            state.append(argument)
        elif event == "close":
            state.pop()
        elif family == "registers":
            state[argument[0]] = argument[1]
        elif event == "undo":
            state = state[:-1] if len(state) > 1 else state
        elif event == "write":
            state = argument if family == "flipflop" else [*state, argument]
        elif event == "add":
            total = sum(argument) + state[0]
            state = [total // 10, total % 10]
        else:
            assert event in ("keep", "ignore"), event
    return found


@functools.cache
def quaternion(left: str, right: str) -> str:
    """A product by the matrices of the units."""
    one, i = np.eye(2, dtype=complex), np.array([[1j, 0], [0, -1j]])
    j = np.array([[0, 1], [-1, 0]], dtype=complex)
    units = {"1": one, "i": i, "j": j, "k": i @ j}
    units |= {f"-{name}": -unit for name, unit in units.items()}
    product = units[left] @ units[right]
    return next(name for name, unit in units.items() if np.allclose(unit, product))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=examples(30), deadline=None, derandomize=True, database=None)
@given(seed=st.integers(0, 2**40), length=st.integers(6, 30), start=st.integers(0, 5000))
def test_answers_are_those_of_a_slow_reference(name: str, seed: int, length: int, start: int) -> None:
    spec = registry.get(name).spec(2 * length)
    for line in datasets.as_lists(spec.sample(seed, start, start + 8)):
        assert line["reads"] == answers_of(name, line)


@pytest.mark.parametrize("name", NAMES)
def test_strings_begin_and_end_as_they_should(name: str) -> None:
    spec = registry.get(name).spec(12)
    strings = spec.sample(0, 0, 300)
    assert strings.length == 12
    assert strings.instructions == spec.instructions
    assert not strings.is_read[:, 0].any()
    assert strings.is_read[:, -1].all()
    assert strings.symbols == spec.symbols
    assert spec.task.contains(strings)
    reads = strings.is_read.sum(1)
    assert abs(reads.mean() - spec.expected_reads) < 5 * reads.std() / np.sqrt(300) + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_string_depends_on_spec_seed_stream_and_number_alone(name: str) -> None:
    spec = registry.get(name).spec(16)
    whole = spec.sample(7, 0, 5000)
    assert whole[4000:4003].digests() == spec.sample(7, 4000, 4003).digests()
    first = whole[:20].digests()
    assert first != spec.sample(8, 0, 20).digests()
    assert first != spec.sample(7, 0, 20, "shots/0").digests()
    assert len(spec.sample(7, 3, 3)) == 0


# What the first string of each task has always been, with seed 0.
GOLDEN = {
    "a5": "c0kkr24r24c2r55c2kc1c0c0r1c2c0r42",
    "addition": "a68r4a21r4a69r5a11r3a41r5a61r7a93r2a60r7a90r9a65r1a16r8a46r0a23r6a22r4a91r0a42r7a0r0",
    "c2-cubed": "f1f0f2f2f1f1kf0kr2f2r3kf1f0r5",
    "counter-3": "a2a0a1a0a2r2r2a1r0a2r2a2a0a2a2r2",
    "dense-then-sparse": "w0r0i1w1i0i1i1r1",
    "dihedral-8": "tr4tddtddttdr7ttr7r7",
    "dyck-4-8": "o2co2co2o1o3o3o0o3r4ccr4r4r4",
    "grid-9": "lrrlr?2lr?2rllr?2r?3",
    "parity": "ffkkfkffkfr0fffr1r1",
    "q8": "t2t3t0t0r2t1t1t1r0t3t1t0t0r4t0r4",
    "registers-4": "w0w2w5w7r2:1w2w3w6w5w1r3:0w0w7w4w3r2:0",
    "s5": "skwkswr16wr76kkr76r76r76sr61",
    "undo": "w0r0i0i1ui0i0w1r1uur0i0r0r0r0",
}


@pytest.mark.parametrize("name", NAMES)
def test_strings_are_those_that_have_always_been_drawn(name: str) -> None:
    assert registry.get(name).spec(16).sample(0, 0, 1).texts() == [GOLDEN[name]]


@pytest.mark.parametrize("name", NAMES)
def test_specs_and_strings_are_printed_and_parsed_back(name: str) -> None:
    task = registry.get(name)
    known = task.all_arguments()
    value = {"p_read": "0.35", "p1": "0.98", "p_undo": "0.1", "p_ignore": "0.15", "dense": "0.2"}
    for key in known:
        if key in value:
            task = task.configured({key: value[key]})
    spec = task.spec(14)
    assert registry.get(name).parse_spec(str(spec)) == spec
    strings = spec.sample(3, 0, 20)
    for row, (text, spaced) in enumerate(zip(strings.texts(), strings.texts(" "), strict=True)):
        for written in (text, spaced):
            parsed = spec.task.parse(written, spec.symbols)
            assert parsed.digests() == strings[row : row + 1].digests()
            assert (parsed.arguments * ~parsed.is_read == strings.arguments[row] * ~parsed.is_read).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_answer_in_a_file_is_named_with_its_place(name: str, tmp_path: Path) -> None:
    spec = registry.get(name).spec(12)
    text = spec.sample(0, 0, 1).texts()[0]
    right = int(text.rpartition(":" if ":" in text else max("r?", key=text.rfind))[2])
    wrong = text[: -len(str(right))] + str((right + 1) % spec.symbols)
    path = tmp_path / "strings.jsonl"
    path.write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": wrong}) + "\n")
    assert len(datasets.read(str(path), 1, spec.symbols, spec.task)) == 1
    with pytest.raises(StringError, match=r"row 2: .*(answer is|contradicts)"):
        datasets.read(str(path), 2, spec.symbols, spec.task)


def test_reads_may_follow_every_input_which_t_counts_then() -> None:
    spec = registry.get("s5", ["reads=every"]).spec(10)
    strings = spec.sample(0, 0, 3)
    assert (strings.length, strings.instructions, spec.expected_reads) == (10, 20, 10)
    assert strings.is_read.tolist() == [[False, True] * 10] * 3
    assert str(spec) == "s5(10, reads=every)"
    assert registry.get("s5").parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("name", "function", "of_state"),
    [
        ("counter-3", "zero", lambda state: state == 0),
        ("grid-9", "boundary", lambda state: state in (0, 8)),
        ("dihedral-8", "place", lambda state: state % 4),
        ("dihedral-8", "direction", lambda state: state // 4),
        ("s5", "first", lambda state: Symmetric(size=5).orders[state][0]),
        ("a5", "first", lambda state: Alternating(size=5).orders[state][0]),
    ],
)
def test_reads_may_ask_for_a_function_of_the_state(name: str, function: str, of_state: Any) -> None:
    whole = registry.get(name).spec(40)
    part = registry.get(name, [f"read={function}"]).spec(40)
    strings = whole.sample(1, 0, 50)
    truth = part.task.run(strings.events, strings.arguments)  # type: ignore[attr-defined]
    assert truth.tolist() == [[int(of_state(state)) for state in row] for row in strings.answers.tolist()]
    assert part.symbols == int(truth.max()) + 1


def test_depth_and_emptiness_of_brackets() -> None:
    for function, of_depth in (("depth", int), ("empty", lambda depth: int(depth == 0))):
        strings = registry.get("dyck-2-3", [f"read={function}"]).spec(30).sample(0, 0, 20)
        for row in range(20):
            depth = 0
            for event, answer, is_read in zip(*(a[row] for a in (strings.events, strings.answers, strings.is_read)),
                                              strict=True):  # fmt: skip
                depth += {0: 1, 1: -1, 2: 0}[int(event)]
                assert 0 <= depth <= 3
                assert not is_read or answer == of_depth(depth)


def test_addition_has_the_columns_that_its_p_ignore_says() -> None:
    for p in (0.1, 0.5, 0.98):
        strings = registry.get("addition").spec(50, probabilities={"ignore": p}).sample(0, 0, 400)
        columns = strings.arguments[:, :-2:2]
        nines = (columns // 10 + columns % 10 == 9).mean()
        assert abs(nines - p) < 5 * np.sqrt(p * (1 - p) / columns.size)
    uniform = np.bincount(registry.get("addition").spec(100).sample(0, 0, 1000).arguments[:, :-2:2].ravel())
    assert uniform.min() > 800 and uniform.max() < 1200  # 100,000 columns of 100 kinds


# ---------------------------------------------------------------------------------------------------- rules, floors


def spliced(strings: Strings, other: Strings, at: int) -> Strings:
    """The strings up to ``at`` and the other ones from there on; what a read at ``at`` asks for stays."""
    arrays = []
    for mine, its in zip((strings.events, strings.arguments, strings.answers),
                         (other.events, other.arguments, other.answers), strict=True):  # fmt: skip
        made = its.copy()
        made[:, :at] = mine[:, :at]
        arrays.append(made)
    events, arguments, answers = arrays
    is_read = strings.is_read[:, at]
    events[is_read, at], arguments[is_read, at] = strings.events[is_read, at], strings.arguments[is_read, at]
    return Strings(strings.task, events, arguments, answers, strings.symbols)


@pytest.mark.parametrize("name", NAMES)
def test_no_rule_sees_the_answer_or_what_comes_after_it(name: str) -> None:
    spec = registry.get(name).spec(14)
    strings, other = spec.sample(0, 0, 200), spec.sample(1, 0, 200)
    for see_reads in (True, False):
        before = spec.task.floors(strings, see_reads)
        for at in range(spec.instructions - 1):
            rows = strings.is_read[:, at]
            after = spec.task.floors(spliced(strings, other, at), see_reads)
            for rule in before:
                assert (before[rule][rows, at] == after[rule][rows, at]).all(), (rule, at)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_that_sees_no_answers_does_not_depend_on_them(name: str) -> None:
    strings = registry.get(name).spec(14).sample(0, 0, 100)
    shared = strings.answers is strings.arguments
    changed = (strings.answers + strings.is_read) % strings.symbols
    changed = changed.astype(np.uint8)
    again = Strings(strings.task, strings.events, changed if shared else strings.arguments, changed, strings.symbols)
    blind, seeing = (strings.task.floors(strings, see) for see in (False, True))
    assert set(blind) <= set(seeing)
    assert all((answers == blind[rule]).all() for rule, answers in strings.task.floors(again, False).items())


@pytest.mark.parametrize("name", NAMES)
def test_rules_and_covariates_are_complete(name: str) -> None:
    task = registry.get(name)
    strings = task.spec(14).sample(0, 0, 30)
    floors, rules = task.floors(strings), task.rules(strings)
    assert set(task.rule_names) <= set(floors) | {"constant"}
    assert all(rule.answers.shape == rule.open.shape == strings.events.shape for rule in rules.values())
    assert all(answers.max() < strings.symbols for answers in floors.values())
    assert (task.covariates(strings)["gap"] >= 0).all()


def rates(name: str, length: int, *arguments: str, see_reads: bool = True, strings: int = 20_000) -> dict[str, float]:
    """How often each rule is right at the last read."""
    spec = registry.get(name, arguments).spec(length)
    found = concatenate([spec.sample(0, 0, strings)])
    return {rule: float(hit[:, -1].mean()) for rule, hit in hits(found, see_reads).items()}


def near(rate: float, expected: float, strings: int = 20_000) -> bool:
    return abs(rate - expected) <= 4.5 * np.sqrt(expected * (1 - expected) / strings) + 1e-12


@pytest.mark.parametrize(("p1", "inputs"), [(0.5, 1), (0.5, 9), (0.98, 5), (0.98, 6), (0.1, 3)])
def test_rates_of_the_rules_of_parity(p1: float, inputs: int) -> None:
    odd = (1 - (1 - 2 * p1) ** inputs) / 2
    found = rates("parity", inputs + 1, "p_read=0", f"p1={p1}")
    assert near(found["constant"], max(odd, 1 - odd))
    assert near(found["constant-1"], odd)
    assert near(found["last-answer"], 1 - odd)
    every = rates("parity", inputs, "reads=every", f"p1={p1}")
    assert near(every["flip-last-answer"], p1)
    assert near(every["last-answer"], 1 - p1)
    assert every["one-step"] == 1


def exact(task: TableAutomaton, inputs: int, rule: str) -> float:
    """How often a rule is right after so many inputs, over all sequences of them."""
    moves = list(itertools.product(range(task.transitions.shape[1]), repeat=inputs))
    places = np.array(moves)
    read = np.full((len(moves), 1), task.read_event)
    events = np.concatenate([task.input_events[places], read], axis=1).astype(np.uint8)
    arguments = np.concatenate([task.input_arguments[places], 0 * read], axis=1).astype(np.uint8)
    strings = task.strings(events, arguments, task.run(events, arguments))
    return float(hits(strings)[rule][:, -1].mean())


def test_rates_of_the_rules_of_s5() -> None:
    task = Symmetric(size=5)
    assert exact(task, 1, "constant") == pytest.approx(1 / 3)
    # After two inputs: keep twice, or swap twice, of nine.
    assert exact(task, 2, "constant") == pytest.approx(2 / 9)
    # After one input the order is odd only after a swap: then it is known, otherwise it is one of two.
    assert exact(task, 1, "parity-then-guess") == pytest.approx(2 / 3)
    assert exact(task, 1, "counts") == 1
    # After two, only shift then swap differs from swap then shift.
    assert exact(task, 2, "counts") == pytest.approx(8 / 9)
    assert near(rates("s5", 5, "p_read=0")["constant"], exact(task, 4, "constant"))
    assert near(rates("s5", 30, "reads=every")["last-answer"], 1 / 3)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_counting_solves_counters_and_nothing_less_does(size: int) -> None:
    task = Counter(size=size)
    strings = task.spec(30).sample(0, 0, 50)
    assert (task.counted(strings) == strings.answers).all()
    found = rates(task.name, 20, "reads=every")
    assert near(found["last-answer"], 1 / size)
    assert near(found["constant"], 1 / size)


def test_rates_of_the_rules_of_other_groups() -> None:
    q8 = rates("q8", 30, "p_read=0")
    assert near(q8["plus-sign"], 0.5)
    assert near(q8["axis-then-guess"], 0.5)
    assert near(q8["constant"], 1 / 8)
    # The direction and the number of inputs say whether the place is even; two of four places are left.
    assert near(rates("dihedral-8", 40, "p_read=0")["direction-then-guess"], 0.5)
    assert near(rates("dihedral-6", 40, "p_read=0")["direction-then-guess"], 1 / 3)
    # The number of inputs says how many coins are odd, or nothing: keep is among them.
    assert near(rates("c2-cubed", 60, "p_read=0")["constant"], 1 / 8)
    assert near(rates("a5", 60, "p_read=0")["constant"], 1 / 60)
    # Within nine tiles a robot that starts at the left end has met no end after it for four steps with chance 6/16.
    assert rates("grid-9", 5, "p_read=0")["counts"] == pytest.approx(
        exact(registry.get("grid-9"), 4, "counts"), abs=0.02
    )


def test_rates_of_the_rules_of_brackets() -> None:
    # After an odd number of inputs something is open, and any kind of it is equally probable.
    assert near(rates("dyck-4-8", 12, "p_read=0")["constant"], 1 / 4)
    found = rates("dyck-4-8", 3, "p_read=0")
    # open, then open or close with equal chance: the last that was opened is the top unless it was closed.
    assert near(found["last-open"], 0.5)
    assert near(found["constant"], 0.5)


def test_rates_of_the_rules_of_registers() -> None:
    found = rates("registers-4", 60, "p_read=0")
    assert near(found["last-write"], 1 / 4 + 3 / 8)
    # The first write stands if none of 55 later ones was to the name.
    stands = 0.75**55
    assert near(found["first-write"], stands + (1 - stands) / 2)
    assert near(rates("registers-4", 60, "p_read=0", "symbols=8")["last-write"], 1 / 4 + 3 / 4 / 8)


def test_rates_of_the_rules_of_addition() -> None:
    for p in (0.1, 0.6):
        task = registry.get("addition", [f"p_ignore={p}"])
        spec = task.spec(6)
        strings = spec.sample(0, 0, 20_000)
        hit = hits(strings, see_reads=True)
        # The carry out of c columns: 1 with chance (1 - p) / 2, or 9 with a carry before it.
        carry = [0.0]
        for _ in range(6):
            carry.append((1 - p) / 2 + p * carry[-1])
        for column in range(1, 7):
            read = 2 * column + 1
            assert near(float(hit["no-carry"][:, read].mean()), 1 - carry[column])
            assert near(float(hit["one-lookahead"][:, read].mean()), 1 - p * carry[column - 1])
        assert hit["one-step"][:, 1::2].all()
        assert "one-step" not in hits(strings, see_reads=False)


def test_the_gap_counts_what_has_to_be_kept() -> None:
    cases = {
        "parity": ("fkr1fr0", [2, 4], [1, 2]),
        "undo": ("w1w0ui0r1ur1", [4, 6], [4, 6]),
        "registers-2": ("w0w3w1r1:1r0:1", [3, 4], [2, 2]),
        "addition": ("a57r2a90r0a00r1", [1, 3, 5], [1, 1, 2]),
        "dyck-4-8": ("o2o0r1cr3cr0", [2, 4, 6], [0, 2, 4]),
    }
    for name, (text, reads, gaps) in cases.items():
        strings = registry.get(name).parse(text)
        assert np.flatnonzero(strings.is_read[0]).tolist() == reads, name
        assert strings.task.covariates(strings)["gap"][0, reads].tolist() == gaps, name


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("dihedral-7", [], "7 is out of range; dihedral-N (N states: N/2 places, two directions) takes an even number"),
        ("counter", [], "task counter: unknown task; one of counter-N?"),
        ("s9", [], "task s9: 9 is out of range; sN takes a number from 3 to 8"),
        ("s6", [], "task s6: its 720 states are more than the 256 answers there can be; use --task-arg read=first"),
        ("counter-1000", [], "task counter-1000: 1000 is out of range; counter-N takes a number from 2 to 256"),
        ("parity", ["p2=1"], "task-arg p2: task parity has no such setting"),
        ("parity", ["p1=2"], "task-arg p1=2: expected a number from 0 to 1"),
        ("parity", ["p1"], "task-arg p1: expected KEY=VALUE"),
        ("parity", ["p1=.1", "p1=.2"], "task-arg p1: given twice"),
        ("s5", ["read=last"], "task-arg read=last: expected state or first"),
        ("flipflop", ["p1=1"], "task-arg p1: task flipflop has no settings of its own"),
        ("undo", ["p_undo=0.9"], "task-arg p_undo 0.9 + p_ignore 0.2 + p_read 0.2: expected a sum of at most 1"),
        ("registers-64", ["symbols=5"], "task-arg symbols=5: 64 registers take at most 4 symbols"),
        ("prity", [], "task prity: unknown task; did you mean 'parity'?"),
    ],
)
def test_what_is_no_task_is_said_in_a_line(name: str, arguments: list[str], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        registry.get(name, arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("parity", "fxr1", "event 2 (character 2): 'x' is no event; expected f, k or r"),
        ("parity", "fr2", "event 2 (character 2): 2 is outside 0 … 1"),
        ("parity", "rr0", "event 1 (character 1): r stands without its answer"),
        ("parity", "fk", "a string ends with r and its answer"),
        ("parity", "r0fr1", "event 1: a string does not begin with r"),
        ("dyck-4-8", "o1ccr0", "event 3: nothing is open"),
        ("dyck-4-2", "o1o1o1r2", "event 3: 2 are open already, the most that task dyck-4-2 has"),
        ("registers-2", "w2w0r0:0", "event 1: a string begins with a write to each of 2 names in turn"),
        ("addition", "a55r0a11r3", "event 3: the last column is 0 + 0, for the carry"),
        ("addition", "a55a00r1", "every second event is a read"),
    ],
)
def test_what_is_no_string_is_said_in_a_line(name: str, text: str, said: str) -> None:
    with pytest.raises(StringError) as caught:
        registry.get(name).parse(text)
    assert said in str(caught.value)


def test_what_has_no_weight_is_never_drawn() -> None:
    weights = registry.get("addition", ["p_ignore=1"]).weights  # type: ignore[attr-defined]
    ends = np.array([0, 2**32 - 1], np.uint32)
    assert weights[weighted(ends, weights)].min() > 0
    assert weighted(ends, np.array([0.0, 1.0, 0.0])).tolist() == [1, 1]


def test_a_probability_out_of_range_is_told_as_one() -> None:
    for name, key, p, said in (
        ("addition", "ignore", 2, "p_ignore 2: expected a number from 0 to 1"),
        ("counter-3", "read", 1, "p_read 1: expected a number from 0 to 0.999"),
    ):
        with pytest.raises(SpecError, match=re.escape(said)):
            registry.get(name).spec(10, probabilities={key: p})


def test_a_run_that_says_no_length_has_room_for_the_first_writes() -> None:
    assert registry.get("registers-4").lengths == (10, 50, 100)
    assert registry.get("registers-26").lengths == (100,)
    assert registry.get("registers-64").lengths == (200,)


def test_aliases_are_the_same_tasks() -> None:
    for alias, name in (
        ("d8", "dihedral-8"),
        ("c4", "counter-4"),
        ("s-5", "s5"),
        ("a-5", "a5"),
        ("registers", "registers-4"),
    ):
        assert registry.get(alias) == registry.get(name)
        assert registry.get(alias).name == name


def test_a_spec_says_each_setting_once() -> None:
    with pytest.raises(SpecError, match="read is given twice"):
        registry.get("s5").parse_spec("s5(10, read=first, read=state)")
