"""Does the model know? Linear probes of the stored bit, layer by layer.

A probe is trained on the states of one half of the strings to tell the stored bit, and tested on the other half, at
three places of each read: the write's value, up to four tokens between, and the token from which the answer is
predicted. Two probes are trained for each state: on the tokens of all places, and on those at reads alone.

Its *control* is the same probe trained and tested on the bits of another string, which no function of the text tells.
*Selectivity* is the share of bits told right, less that of the control. A rule that takes the last symbol shown stands
beside them, since a state may hold that symbol and no memory.

Where the answer is wrong and the probe still tells the stored bit, the bit is there and not read. Where it does not,
the bit is lost, or held in a form that is not linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.collect import Asked
from ffprompt.analysis.diagnosis.estimates import Bools, Estimate, Floats, Ints, means, share
from ffprompt.analysis.diagnosis.places import token_events
from ffprompt.analysis.diagnosis.ridge import chosen_strength, train
from ffprompt.analysis.diagnosis.table import AttentionTable
from ffprompt.backends.local.attention import Look, StatesModel
from ffprompt.errors import ConfigError
from ffprompt.tasks.flipflop import WRITE
from ffprompt.tasks.strings import String

PLACES = ("write", "between", "read")
READ = PLACES.index("read")
THERE, LOST, UNCLEAR, NONE = "there and not read", "lost", "not told apart", "no wrong reads"

_BETWEEN = 4  # tokens between a write and a read that are looked at
_CONTROLS = 5  # strings whose bits are taken in turn
_SEED = 0


@dataclass(frozen=True)
class ProbeState(Plain):
    """Shares of bits told right on the strings of the test half, by state.

    Attributes:
        state: Its number, and ``name`` what it is called.
        everywhere: At all places, by the probe of all places. ``write`` to ``read`` are its parts.
        control: The same with the bits of other strings. ``selectivity`` is the difference.
        at_reads: At reads, by the probe of reads alone.
        at_reads_control: Its control.
        at_wrong: At wrong reads, by the better probe. ``at_right`` at right ones.
    """

    state: int
    name: str
    everywhere: Estimate | None
    control: Estimate | None
    selectivity: Estimate | None
    write: Estimate | None
    between: Estimate | None
    read: Estimate | None
    at_reads: Estimate | None
    at_reads_control: Estimate | None
    at_wrong: Estimate | None
    at_right: Estimate | None


@dataclass(frozen=True)
class Probed(Plain):
    """What probes show in one condition.

    Attributes:
        trained_on: Strings. ``tested_on`` likewise.
        chance: One over the number of symbols.
        states: By state.
        best_state: The state that tells the bit best at reads of the training half, left out in turn.
        best_probe: ``everywhere`` or ``at_reads``: the tokens that its better probe was trained on.
        at_wrong: What it tells at wrong reads of the test half. ``at_right`` at right ones.
        last_symbol: What a rule that takes the last symbol shown tells at wrong reads; ``last_symbol_right`` at right.
        verdict: ``there and not read``, ``lost``, ``not told apart`` or ``no wrong reads``.
    """

    trained_on: int
    tested_on: int
    chance: float
    states: list[ProbeState]
    best_state: int
    best_probe: str
    at_wrong: Estimate | None
    at_right: Estimate | None
    last_symbol: Estimate | None
    last_symbol_right: Estimate | None
    verdict: str


@dataclass(frozen=True, eq=False)
class Samples:
    """States at the places of reads: fields (n,), ``values`` (S, n, d), ``controls`` (n, C) bits of other strings."""

    values: Floats
    trial: Ints
    string: Ints
    read: Ints
    place: Ints
    label: Ints
    controls: Ints
    last: Ints
    wrong: Bools

    def where(self, rows: Bools) -> Samples:
        """Return some of the samples."""
        return Samples(self.values[:, rows], *(getattr(self, name)[rows] for name in _FIELDS))


_FIELDS = ("trial", "string", "read", "place", "label", "controls", "last", "wrong")


@dataclass(frozen=True, eq=False)
class ProbeTable:
    """What the probes told in the test half: ``right`` and ``control`` (S, n) by the probe of all places."""

    samples: Samples
    right: Bools
    control: Floats
    at_reads: Floats  # (S, n) 1.0 where the probe of reads is right, NaN at other places


def probe(asked: Asked, model: StatesModel, table: AttentionTable) -> tuple[Probed, ProbeTable]:
    """Probe the states of one condition.

    Raises:
        ConfigError: There are fewer than four strings.
    """
    if len(asked.strings) < 4:
        raise ConfigError(f"--strings {len(asked.strings)}: --probe needs at least 4, half of them to train on")
    samples = _samples(asked, model, table)
    number = {string: place for place, string in enumerate(asked.strings.tolist())}
    half = np.array([number[string] % 2 == 0 for string in samples.string.tolist()])
    training, testing = samples.where(half), samples.where(~half)
    symbols = len(asked.looks[0].tokens.candidates[0])
    told = [
        _told(training.values[state], testing.values[state], training, testing, symbols)
        for state in range(len(samples.values))
    ]
    found = ProbeTable(
        testing,
        np.stack([one.right for one in told]),
        np.stack([one.control for one in told]),
        np.stack([one.at_reads for one in told]),
    )
    rows = [_state(model, state, one, testing) for state, one in enumerate(told)]
    best = int(np.argmax([max(one.score, one.score_reads) for one in told]))
    at_wrong, at_right = rows[best].at_wrong, rows[best].at_right
    last = (testing.last == testing.label).astype(np.float64)
    sides = [_at(last, testing, testing.wrong == side) for side in (True, False)]
    return (
        Probed(
            len(set(training.string.tolist())),
            len(set(testing.string.tolist())),
            1 / symbols,
            rows,
            best,
            "everywhere" if told[best].score >= told[best].score_reads else "at_reads",
            at_wrong,
            at_right,
            sides[0],
            sides[1],
            verdict(at_wrong, at_right, 1 / symbols),
        ),
        found,
    )


def verdict(at_wrong: Estimate | None, at_right: Estimate | None, chance: float) -> str:
    """Return whether the bit is there at wrong reads, from what a probe tells at wrong and at right ones."""
    if at_wrong is None:
        return NONE
    if at_wrong.low is None or at_wrong.high is None:
        return UNCLEAR
    if at_wrong.low > chance:
        return THERE
    if at_right is not None and at_right.low is not None and at_wrong.high < at_right.low:
        return LOST
    return UNCLEAR


@dataclass(frozen=True, eq=False)
class _Told:
    """What the two probes of one state tell of the test half, and their scores at reads of the training half."""

    right: Bools
    control: Floats
    at_reads: Floats
    at_reads_control: Floats
    score: float
    score_reads: float

    @property
    def better(self) -> Floats:
        return self.right.astype(np.float64) if self.score >= self.score_reads else self.at_reads


def _told(own: Floats, other: Floats, training: Samples, testing: Samples, symbols: int) -> _Told:
    """Train both probes on the states ``own`` (n, d), and test them on ``other``."""
    parts = []
    for only in (False, True):
        rows = (training.place == READ) | (not only)
        asked = (testing.place == READ) | (not only)
        at_read = training.place[rows] == READ
        strength, score = chosen_strength(own[rows], training.label[rows], symbols, training.string[rows], at_read)
        labels = np.column_stack([training.label[rows], training.controls[rows]])
        truth = np.column_stack([testing.label, testing.controls])
        right = np.full(truth.shape, np.nan)
        right[asked] = train(own[rows], labels, symbols, strength).labels(other[asked]) == truth[asked]
        parts.append((right[:, 0], right[:, 1:].mean(1), score))
    (right, control, score), (at_reads, at_reads_control, score_reads) = parts
    return _Told(right > 0, control, at_reads, at_reads_control, score, score_reads)


def _state(model: StatesModel, state: int, told: _Told, testing: Samples) -> ProbeState:
    right = told.right.astype(np.float64)
    write, between, read = (_share(right, testing, testing.place == place) for place in range(len(PLACES)))
    return ProbeState(
        state,
        model.states_are[state],
        _share(right, testing),
        means(told.control, testing.string, 1.0)[0],
        means(right - told.control, testing.string)[0],
        write,
        between,
        read,
        _share(told.at_reads, testing, testing.place == READ),
        means(told.at_reads_control, testing.string, 1.0)[0],
        _at(told.better, testing, testing.wrong),
        _at(told.better, testing, ~testing.wrong),
    )


def _at(values: Floats, samples: Samples, where: Bools) -> Estimate | None:
    """The share of ones at reads ``where``, None without one."""
    return _share(values, samples, where & (samples.place == READ))


def _share(values: Floats, samples: Samples, where: Bools | slice = slice(None)) -> Estimate | None:
    """The share of ones among some of the samples, None without one."""
    return share(values[where] > 0, samples.string[where])


def _samples(asked: Asked, model: StatesModel, table: AttentionTable) -> Samples:
    rng = np.random.default_rng(_SEED)
    wrong = dict(zip(zip(table.string.tolist(), table.read.tolist(), strict=True), table.wrong.tolist(), strict=True))
    parts: list[Samples] = []
    for row, (states, look) in enumerate(zip(model.states(asked.looks), asked.looks, strict=True)):
        number = int(asked.strings[row])
        known = [read for read in range(len(asked.truths[row])) if (number, read) in wrong]
        places = [_places(asked.events[row], look, read, rng) for read in known]
        token, place, read = (
            np.concatenate([np.array([entry[n] for entry in one], np.int64) for one in places])
            if places else np.zeros(0, np.int64)
            for n in range(3)
        )  # fmt: skip
        truths = np.array(asked.truths[row], np.int64)
        parts.append(
            Samples(
                states.values[:, token].astype(np.float32),
                np.full(len(token), asked.trials[row]),
                np.full(len(token), number),
                read,
                place,
                truths[read],
                _controls(asked, row, read),
                _last_symbol(asked.events[row], look, token),
                np.array([wrong[number, one] for one in read.tolist()], np.bool_),
            )
        )
    return Samples(
        np.concatenate([part.values for part in parts], 1),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS),
    )


def _places(string: String, look: Look, read: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """The tokens of a read that are looked at, each with its place and the read."""
    event = int(np.flatnonzero(string.is_read)[read])
    writes = np.flatnonzero(string.events[:event] == WRITE)
    query = int(look.tokens.queries[read])
    held = [token for token in look.tokens.values[int(writes[-1])] if token < query]
    if not held:
        return [(query, READ, read)]
    between = np.arange(held[-1] + 1, query)
    if len(between) > _BETWEEN:
        between = np.sort(rng.choice(between, _BETWEEN, replace=False))
    return [(held[-1], 0, read), *((int(token), 1, read) for token in between), (query, READ, read)]


def _controls(asked: Asked, row: int, read: Ints) -> Ints:
    """Bits (n, C) of reads with the same numbers in other strings of the same half."""
    others: Sequence[int] = range(row % 2, len(asked.strings), 2)
    at = others.index(row)
    found = []
    for step in range(1, min(_CONTROLS, len(asked.strings) // 2 - 1) + 1):
        truths = np.array(asked.truths[others[(at + step) % len(others)]], np.int64)
        found.append(truths[read % len(truths)] if len(truths) else np.zeros(len(read), np.int64))
    return np.stack(found, 1)


def _last_symbol(string: String, look: Look, token: Ints) -> Ints:
    """The value that was shown last, up to and with each token."""
    event = token_events(look.tokens, np.flatnonzero(string.is_read))
    shown = np.maximum.accumulate(np.where(event >= 0, np.arange(len(event)), -1))
    at = shown[token]
    return np.where(at >= 0, string.values.astype(np.int64)[event[np.maximum(at, 0)]], -1)


def columns(table: ProbeTable) -> dict[str, object]:
    """Return the columns of ``probe.parquet``: a row for each read of the test half, state and place."""
    samples, S = table.samples, len(table.right)  # noqa: N806
    keys = np.column_stack([samples.trial, samples.string, samples.read, samples.place])
    names, rows, tokens = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    rows = rows.reshape(-1)
    wrong = np.zeros(len(names), np.bool_)
    wrong[rows] = samples.wrong

    def shares(values: Floats) -> Floats:
        return np.concatenate([np.bincount(rows, one, minlength=len(names)) / tokens for one in values])

    return {
        "trial": np.tile(names[:, 0], S),
        "string_index": np.tile(names[:, 1], S),
        "read_index": np.tile(names[:, 2], S).astype(np.int32),
        "wrong": np.tile(wrong, S),
        "state": np.repeat(np.arange(S), len(names)).astype(np.int16),
        "place": [PLACES[place] for place in names[:, 3].tolist()] * S,
        "tokens": np.tile(tokens, S).astype(np.int16),
        "right": shares(table.right.astype(np.float64)),
        "control": shares(table.control),
        "at_reads": shares(table.at_reads),
    }
