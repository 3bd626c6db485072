"""Tokens are made from a task's events: each string against a slow loop over its events, and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ffprompt.errors import ConfigError
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks import registry
from ffprompt.tasks.base import Spec, Task
from ffprompt.tasks.events import Event
from ffprompt.tasks.flipflop import FLIP_FLOP, parse
from ffprompt.tasks.strings import Strings

TASKS = ["flipflop", "parity", "counter-3", "c2-cubed", "dihedral-8", "q8", "a5", "s5", "grid-9", "dyck-4-8"]
TASKS += ["registers-4", "undo", "dense-then-sparse", "addition"]
IN_PAIRS = ("flipflop", "dense-then-sparse")


class Shelf(Task):
    """Three named places; a read names the one that it asks about. Only its events matter here."""

    name = "shelf"
    events = (Event("put", "p", "reset", arguments=(3, None)), Event("read", "r", "read", arguments=3))


def spec_of(name: str) -> Spec:
    task = registry.get(name)
    return task.spec(task.lengths[0] if name == "addition" else 14)


def strings_of(name: str, seed: int, count: int = 4) -> Strings:
    return spec_of(name).sample(seed, 0, count)


def slowly(vocabulary: Vocabulary, strings: Strings, row: int) -> tuple[list[str], list[tuple[int, str]]]:
    """The names of the tokens of a string and its reads (tokens before it, answer), event by event."""
    tokens: list[str] = []
    reads: list[tuple[int, str]] = []
    events = vocabulary.task.events
    for number, argument, answer in zip(
        *(x[row] for x in (strings.events, strings.arguments, strings.answers)), strict=True
    ):
        event = events[number]
        if vocabulary.in_pairs:
            tokens.append(event.letter)
        elif event.has_argument:
            tokens.append(f"{event.letter}{argument}")
        elif not event.is_read:
            tokens.append(event.letter)
        if event.is_read:
            reads.append((len(tokens), str(answer)))
        if vocabulary.in_pairs:
            tokens.append(str(answer if event.is_read else argument))
        elif event.is_read and vocabulary.scratchpad:
            tokens.append(str(answer))
    return tokens, reads


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(TASKS), st.integers(0, 999), st.booleans())
def test_tokens_and_reads_are_those_of_a_loop_over_the_events(name: str, seed: int, scratchpad: bool) -> None:
    strings = strings_of(name, seed)
    vocabulary = Vocabulary(strings.task, strings.symbols, scratchpad and name not in IN_PAIRS)
    made = vocabulary.encode(strings)
    names = vocabulary.names
    for row in range(len(strings)):
        tokens, reads = slowly(vocabulary, strings, row)
        assert [names[token] for token in made.tokens[row, : len(tokens)]] == tokens
        assert not made.tokens[row, len(tokens) :].any()
        mine = made.rows == row
        assert [(p, names[a]) for p, a in zip(made.positions[mine], made.answers[mine], strict=True)] == reads
    assert made.tokens.shape[1] <= vocabulary.longest(spec_of(name))
    assert len(names) == vocabulary.events + strings.symbols
    assert (strings.is_read[made.rows, made.events]).all()


def test_a_flip_flop_has_a_token_for_each_symbol() -> None:
    made = Vocabulary(FLIP_FLOP).encode(parse("w1i0r1"))
    assert made.tokens.tolist() == [[0, 4, 2, 3, 1, 4]]
    assert (made.positions.tolist(), made.answers.tolist(), made.events.tolist()) == ([5], [4], [2])
    assert Vocabulary(FLIP_FLOP).names == ["w", "r", "i", "0", "1"]


def test_reads_without_an_answer_are_no_tokens() -> None:
    counter = registry.get("counter-3")
    strings = counter.parse("a2a1r0a2r2")
    plain, pad = Vocabulary(counter, 3), Vocabulary(counter, 3, scratchpad=True)
    assert [plain.names[token] for token in plain.encode(strings).tokens[0]] == ["a2", "a1", "a2"]
    assert plain.encode(strings).positions.tolist() == [2, 3]
    assert [pad.names[token] for token in pad.encode(strings).tokens[0]] == ["a2", "a1", "0", "a2", "2"]
    assert pad.encode(strings).positions.tolist() == [2, 4]


def test_a_read_that_names_what_it_asks_about_is_a_token() -> None:
    shelf = Shelf()
    events, arguments = np.array([[0, 1, 0, 1]], np.uint8), np.array([[5, 2, 0, 0]], np.uint8)
    strings = Strings(shelf, events, arguments, np.array([[1, 1, 0, 0]], np.uint8))
    vocabulary = Vocabulary(shelf, 2)
    made = vocabulary.encode(strings)
    assert [vocabulary.names[token] for token in made.tokens[0]] == ["p5", "r2", "p0", "r0"]
    assert (made.positions.tolist(), (made.answers - vocabulary.events).tolist()) == ([2, 4], [1, 0])
    assert Vocabulary(shelf, 2, scratchpad=True).encode(strings).positions.tolist() == [2, 5]


def test_a_flip_flop_leaves_no_choice_of_a_scratchpad() -> None:
    with pytest.raises(ConfigError, match="scratchpad: a model of task flipflop always sees"):
        Vocabulary(FLIP_FLOP, 2, scratchpad=True)


@pytest.mark.parametrize("scratchpad", [False, True])
def test_the_longest_string_has_a_token_for_each_input_and_each_answer_that_is_seen(scratchpad: bool) -> None:
    spec = registry.get("q8", ["reads=every"]).spec(7)
    vocabulary = Vocabulary(spec.task, 8, scratchpad)
    assert vocabulary.encode(spec.sample(0, 0, 3)).tokens.shape[1] == vocabulary.longest(spec) == 7 * (1 + scratchpad)
