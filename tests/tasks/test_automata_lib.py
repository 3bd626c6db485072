"""A second opinion on what is true: automata-lib builds each automaton by its own means, and must agree.

Its means are counts modulo a number, regular expressions and pushdown automata. Where a task has only its table, the
library counts the words of each length that lead to an answer, and says how many states cannot be told apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import numpy as np
import pytest
from automata.fa.dfa import DFA
from automata.fa.nfa import NFA
from automata.pda.dpda import DPDA

from ffprompt.tasks import registry
from ffprompt.tasks.addition import Addition
from ffprompt.tasks.base import Task
from ffprompt.tasks.permutations import Symmetric
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton

LETTERS = "abcdefghijkl"


def dfa(task: TableAutomaton, answers: Iterable[int]) -> DFA:
    """The words of inputs, a letter each, after which a read has one of the answers."""
    moves = task.transitions.tolist()
    letters = LETTERS[: len(moves[0])]
    return DFA(
        states=set(range(len(moves))),
        input_symbols=set(letters),
        transitions={state: dict(zip(letters, row, strict=True)) for state, row in enumerate(moves)},
        initial_state=0,
        final_states=set(np.flatnonzero(np.isin(task.answers_of_states, list(answers))).tolist()),
    )


def table(name: str, *arguments: str) -> TableAutomaton:
    """A task that has a table."""
    task = registry.get(name, arguments)
    assert isinstance(task, TableAutomaton)
    return task


def counted(letters: str, modulo: int, remainder: int, these: str) -> DFA:
    """The words in which the number of these letters has a remainder."""
    return DFA.count_mod(set(letters), modulo, remainders={remainder}, symbols_to_count=set(these))


def test_parities_are_counts_modulo_two() -> None:
    assert dfa(table("parity"), [1]) == counted("ab", 2, 1, "a")
    for state in range(8):
        sides = [counted("abcd", 2, state >> shift & 1, coin) for coin, shift in (("a", 2), ("b", 1), ("c", 0))]
        assert dfa(table("c2-cubed"), [state]) == reduce(DFA.__and__, sides)
    # Cars have turned an even number of times when they face forward. Shifts of five cups are even, those of four odd.
    assert dfa(table("dihedral-8", "read=direction"), [0]) == counted("ab", 2, 0, "b")
    for size, odd in ((5, "b"), (4, "ab")):
        task = Symmetric(size=size)
        inversions = [sum(x > y for i, x in enumerate(order) for y in order[i:]) % 2 for order in task.orders]
        even = np.flatnonzero(np.array(inversions) == 0).tolist()
        assert dfa(task, even) == counted("abc", 2, 0, odd)


@pytest.mark.parametrize("size", [2, 3])
def test_counters_are_sums_of_counts(size: int) -> None:
    letters = LETTERS[:size]
    for rest in range(size):
        words = []
        for ones in range(size):
            # Letter k adds k; all but the first two are counted with their weight.
            first = counted(letters, size, ones, "b")
            for others in np.ndindex(*[size] * (size - 2)):
                if (ones + sum((k + 2) * n for k, n in enumerate(others))) % size == rest:
                    parts = [counted(letters, size, n, letters[k + 2]) for k, n in enumerate(others)]
                    words.append(reduce(DFA.__and__, parts, first))
        assert dfa(table(f"counter-{size}"), [rest]) == reduce(DFA.__or__, words)


@pytest.mark.parametrize(
    ("name", "states"),
    [("parity", 2), ("counter-5", 5), ("c2-cubed", 8), ("grid-9", 9), ("dihedral-6", 6), ("dihedral-8", 8), ("q8", 8),
     ("s4", 24), ("a5", 60), ("s5", 120)],
)  # fmt: skip
def test_no_two_states_are_the_same(name: str, states: int) -> None:
    assert len(dfa(table(name), [0]).minify().states) == states


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("parity", []), ("counter-3", []), ("c2-cubed", []), ("grid-9", []), ("grid-4", ["read=boundary"]), ("q8", []),
     ("dihedral-8", []), ("dihedral-6", ["read=place"]), ("s5", ["read=first"]), ("a5", ["read=first"])],
)  # fmt: skip
def test_probabilities_of_answers_are_shares_of_words(name: str, arguments: list[str]) -> None:
    task = table(name, *arguments)
    chances = task.answer_chances(9)
    for answer in range(task.answer_count):
        words = dfa(task, [answer])
        for inputs in (1, 2, 5, 9):
            share = words.count_words_of_length(inputs) / task.transitions.shape[1] ** inputs
            assert chances[inputs, answer] == pytest.approx(share, abs=1e-11), (answer, inputs)


def letters_of(strings: Strings, row: int) -> str:
    """A letter for each different event with its argument; reads are z."""
    task = strings.task
    sizes = np.cumsum([0, *(event.count(strings.symbols) for event in task.events)])
    numbers = sizes[strings.events[row]] + strings.arguments[row]
    return "".join("z" if read else LETTERS[n] for n, read in zip(numbers, strings.is_read[row], strict=True))


def wrong_reads(strings: Strings, words: DFA, answer: int) -> int:
    """At how many reads the words before them say something else than the answers do."""
    wrong = 0
    for row in range(len(strings)):
        states = list(words.read_input_stepwise(letters_of(strings, row), ignore_rejection=True))[1:]
        says = np.isin(states, list(words.final_states))
        wrong += int(((strings.answers[row] == answer) != says)[strings.is_read[row]].sum())
    return wrong


def regular(expression: str, letters: str) -> DFA:
    """The words of a regular expression."""
    return DFA.from_nfa(NFA.from_regex(expression, input_symbols=set(letters)))


def test_memories_are_regular_expressions() -> None:
    def sampled(task: Task) -> Strings:
        return task.spec(40).sample(5, 0, 25)

    # write 0, write 1, read, ignore 0, ignore 1: after a write of 1 there is no other write.
    flipflop = registry.get("flipflop").spec(80).sample(5, 0, 25)
    letters = [f"{'wri'[event]}{value}" for event in range(3) for value in range(2)]
    assert letters == ["w0", "w1", "r0", "r1", "i0", "i1"]
    shown = Strings(flipflop.task, flipflop.events, flipflop.values * ~flipflop.is_read, flipflop.answers)
    assert wrong_reads(shown, regular(".*b[^ab]*", "abcdefz"), 1) == 0
    # Two registers: write 00, 01, 10, 11. A read of name k sees the write of 1 after which k has no other.
    registers = sampled(registry.get("registers-2"))
    for name, expression in ((0, ".*b[^ab]*"), (1, ".*d[^cd]*")):
        asked = registers.is_read & (registers.arguments == name)
        texts = [letters_of(registers, row) for row in range(len(registers))]
        words = regular(expression, "abcdz")
        for row, text in enumerate(texts):
            for place in np.flatnonzero(asked[row]).tolist():
                assert words.accepts_input(text[:place]) == (registers.answers[row, place] == 1)


def test_the_carry_is_a_regular_expression() -> None:
    task = Addition()
    strings = task.spec(12, probabilities={"ignore": 0.5}).sample(5, 0, 40)
    carry = regular(".*ac*", "abc")  # a column of 10 or more, then only columns of 9
    first, second = np.divmod(strings.arguments[:, ::2], 10)
    for row, sums in enumerate((first + second).tolist()):
        text = "".join("a" if total >= 10 else "c" if total == 9 else "b" for total in sums)
        for column, total in enumerate(sums):
            into = carry.accepts_input(text[:column])
            assert strings.answers[row, 2 * column + 1] == (total + into) % 10


def test_brackets_and_undo_are_pushdown_automata() -> None:
    kinds = "abcd"
    stack = {"#", *kinds}
    moves = {kind: {top: ("q", (kind, top)) for top in stack} for kind in kinds}
    moves |= {"e": dict.fromkeys(kinds, ("q", ())), "z": {top: ("q", (top,)) for top in stack}}
    brackets = registry.get("dyck-4-8").spec(60).sample(5, 0, 25)
    assert wrong_tops(brackets, moves, "#" + kinds) == 0
    # The first write is a stack symbol of its own, A or B, which undo leaves where it is.
    stack = {"#", *"abAB"}
    moves = {kind: {top: ("q", (kind, top)) for top in "abAB"} | {"#": ("q", (kind.upper(),))} for kind in "ab"}
    moves |= {"c": {"a": ("q", ()), "b": ("q", ())} | {top: ("q", (top,)) for top in "AB#"}}
    moves |= {idle: {top: ("q", (top,)) for top in stack} for idle in "dez"}
    undo = registry.get("undo", ["p_undo=0.4"]).spec(60).sample(5, 0, 25)
    assert wrong_tops(undo, moves, "ab") == 0


def wrong_tops(strings: Strings, moves: dict[str, dict[str, tuple[str, tuple[str, ...]]]], answers: str) -> int:
    """At how many reads the top of the stack is not the answer."""
    symbols = {top for tops in moves.values() for top in tops}
    machine = DPDA(
        states={"q"}, input_symbols=set(moves), stack_symbols=symbols, transitions={"q": moves}, initial_state="q",
        initial_stack_symbol="#", final_states={"q"}, acceptance_mode="final_state",
    )  # fmt: skip
    wrong = 0
    for row in range(len(strings)):
        steps = list(machine.read_input_stepwise(letters_of(strings, row)))[1:]
        tops = [answers.index(step.stack.top().lower()) for step in steps]
        wrong += int((strings.answers[row] != tops)[strings.is_read[row]].sum())
    return wrong
