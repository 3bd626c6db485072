"""The flip-flop language (Liu et al. 2023, arXiv 2306.00946, section 3.1).

A string of ``T`` symbols is a run of ``T / 2`` (instruction, data symbol) pairs: ``w`` writes the symbol, ``i`` is to
be ignored, and the symbol after ``r`` repeats the one after the most recent ``w``::

    w 1  i 0  i 0  r 1  w 0  i 1  r 0
    ^ write        ^ read: 1      ^ read: 0

FFL(T, p) starts with ``w``, ends with ``r``; the instructions between are independent draws from
``(p_write, p_read, p_ignore)`` and the symbols after ``w`` and ``i`` are uniform. FFL(p_ignore) is the shorthand for
T = 512 and p_write = p_read = (1 - p_ignore) / 2.

Sampling is addressed, not sequential: string ``i`` is a function of (spec, seed, i), because a counter-based generator
(Philox) is set to the counter at which string ``i`` begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.numbers import is_number, is_whole
from ffprompt.errors import SpecError, StringError
from ffprompt.tasks import covariates, floors
from ffprompt.tasks.base import Rule, Task
from ffprompt.tasks.events import MAX_SYMBOLS, U8, Event, Ints
from ffprompt.tasks.strings import Strings

EVENTS = (
    Event("write", "w", "reset", arguments=None),
    Event("read", "r", "read"),
    Event("ignore", "i", "idle", arguments=None),
)
WRITE, READ, IGNORE = range(3)
LETTERS = "".join(event.letter for event in EVENTS)
# T beyond which no model reads and no machine draws.
MOST_LENGTH = 1_000_000
# Strings drawn at a time: small enough for the working arrays to stay in the second-level cache at T = 512.
_BLOCK = 128


@dataclass(frozen=True, slots=True)
class Spec:
    """FFL(T, p) over ``symbols`` data symbols.

    ``length`` is T, counted in symbols of text: twice the number of instructions. Raises SpecError when the length is
    odd or below 4, a probability is outside [0, 1], they do not sum to 1, or ``symbols`` is not in 2 … 256.
    """

    length: int
    p_write: float
    p_read: float
    p_ignore: float
    symbols: int = 2

    def __post_init__(self) -> None:
        for name in ("length", "symbols"):
            if not is_whole(getattr(self, name)):
                raise SpecError(f"{name} {getattr(self, name)!r}: expected a whole number")
        if self.length < 4 or self.length % 2:
            raise SpecError(f"length {self.length}: T counts symbols and must be even and at least 4")
        if self.length > MOST_LENGTH:
            raise SpecError(f"length {self.length}: at most {MOST_LENGTH:,} symbols are possible")
        for name in ("p_write", "p_read", "p_ignore"):
            value = getattr(self, name)
            if not is_number(value) or not 0.0 <= value <= 1.0:
                raise SpecError(f"{name} {value!r:.80}: expected a probability between 0 and 1")
        total = self.p_write + self.p_read + self.p_ignore
        if abs(total - 1.0) > 1e-9:
            raise SpecError(f"p_write + p_read + p_ignore is {total:.12g}: the three must sum to 1")
        if not 2 <= self.symbols <= MAX_SYMBOLS:
            raise SpecError(f"symbols {self.symbols}: between 2 and {MAX_SYMBOLS} data symbols are possible")

    @classmethod
    def ffl(cls, p_ignore: float, length: int = 512, symbols: int = 2) -> Spec:
        """Return the paper's FFL(p_ignore): writes and reads share what ignores leave.

        Args:
            p_ignore: The probability of an ignore among the inner instructions.
            length: T, the symbols of a string.
            symbols: M, the data symbols.

        Raises:
            SpecError: a value is out of range.
        """
        if not is_number(p_ignore) or not 0.0 <= p_ignore <= 1.0:
            raise SpecError(f"p_ignore {p_ignore!r:.80}: expected a probability between 0 and 1")
        # Rounded, so that FFL(0.8) has p_write 0.1 and not 0.09999999999999998 in every file and table.
        half = round((1.0 - p_ignore) / 2.0, 12)
        return cls(length, half, half, p_ignore, symbols)

    @classmethod
    def parse(cls, text: str, length: int = 512, symbols: int = 2) -> Spec:
        """Read ``FFL(0.8)``, ``FFL(100, 0.6)`` or ``FFL(100, 0.2, 0.2, 0.6)`` (write, read, ignore), each with ``M=3``.

        ``length`` and ``symbols`` are for a text that does not say them.

        Raises:
            SpecError: the text is none of these, or a value is out of range.
        """
        if not isinstance(text, str):
            raise SpecError(f"spec {text!r:.80}: expected a text such as FFL(100, 0.6)")
        match = re.fullmatch(r"\s*FFL\(([^()]*?)(?:,\s*M\s*=\s*([0-9]+)\s*)?\)\s*", text, flags=re.IGNORECASE)
        fields = [field.strip() for field in match[1].split(",")] if match else []
        symbols = int(match[2][:9]) if match and match[2] else symbols
        try:
            if len(fields) == 1:
                return cls.ffl(float(fields[0]), length, symbols)
            if len(fields) == 2:
                return cls.ffl(float(fields[1]), int(fields[0]), symbols)
            if len(fields) == 4:
                write, read, ignore = (float(field) for field in fields[1:])
                return cls(int(fields[0]), write, read, ignore, symbols)
        except ValueError:
            pass
        raise SpecError(f"spec {text!r}: write FFL(p_ignore), FFL(T, p_ignore) or FFL(T, p_write, p_read, p_ignore)")

    @property
    def task(self) -> FlipFlop:
        """The flip-flop."""
        return FLIP_FLOP

    @property
    def instructions(self) -> int:
        """n = T / 2, the number of (instruction, symbol) pairs."""
        return self.length // 2

    @property
    def expected_reads(self) -> float:
        """Expected reads in one string: the last instruction, and p_read of the T / 2 - 2 inner ones."""
        return 1.0 + (self.instructions - 2) * self.p_read

    @property
    def probabilities(self) -> Mapping[str, float]:
        """Of each instruction, by its name."""
        return {"write": self.p_write, "read": self.p_read, "ignore": self.p_ignore}

    @property
    def preset(self) -> str | None:
        """Which of the paper's three test sets it is but for length and number of symbols; None for another."""
        for name, p_ignore in _PRESETS.items():
            if self == Spec.ffl(p_ignore, self.length, self.symbols):
                return name
        return None

    def sample(self, seed: int, start: int, stop: int, stream: str = "strings") -> Strings:
        """Strings ``start`` … ``stop - 1`` of (spec, seed), as :func:`sample`."""
        return sample(self, seed, start, stop, stream)

    def with_length(self, length: int) -> Spec:
        """Return the same probabilities and symbols at another T.

        Raises:
            SpecError: the length is odd, below 4 or too large.
        """
        return Spec(length, self.p_write, self.p_read, self.p_ignore, self.symbols)

    def __str__(self) -> str:
        alphabet = "" if self.symbols == 2 else f", M={self.symbols}"
        if self == Spec.ffl(self.p_ignore, self.length, self.symbols):
            return f"FFL({self.length}, {self.p_ignore}{alphabet})"
        return f"FFL({self.length}, {self.p_write}, {self.p_read}, {self.p_ignore}{alphabet})"


def as_strings(events: U8, values: U8, symbols: int = 2) -> Strings:
    """Strings from (N, n) events and the symbols behind them, which at a read are its answer."""
    return Strings(FLIP_FLOP, events, values, values, symbols)


def oracle(events: U8, values: U8, symbols: int = 2) -> U8:
    """The data symbol in memory at every instruction, (N, n): what a flip-flop that never fails would hold.

    Symbols that stand after reads in ``values`` are not looked at. ``events[:, 0]`` must be WRITE.

    >>> oracle(np.array([[0, 2, 1]], np.uint8), np.array([[1, 0, 0]], np.uint8)).tolist()
    [[1, 1, 1]]
    """
    n = events.shape[1]
    small = np.dtype(np.uint16 if n * symbols <= 1 << 16 else np.uint32)
    # (position, symbol) in one number: its running maximum over the writes is the most recent write and its symbol.
    key = (np.arange(n) * symbols).astype(small) + values
    key *= events == WRITE
    # A running maximum in log2(n) passes of doubling reach: each is vectorised, np.maximum.accumulate is not.
    reach = 1
    while reach < n:
        np.maximum(key[:, reach:], key[:, :-reach].copy(), out=key[:, reach:])
        reach *= 2
    memory = key & 1 if symbols == 2 else key % symbols
    return np.asarray(memory, np.uint8)


def sample(spec: Spec, seed: int, start: int, stop: int, stream: str = "strings") -> Strings:
    """Return the strings ``start`` … ``stop - 1`` of a spec and a seed.

    A string depends on its own number, the spec, the seed and the stream, and on nothing that was drawn before it.

    >>> sample(Spec.ffl(0.6, length=12), seed=0, start=0, stop=2).texts()
    ['w0i0w1i1r1r1', 'w0w0r0i0i1r0']

    Args:
        spec: The language.
        seed: A whole number from 0 on.
        start: The number of the first string.
        stop: The number after that of the last one.
        stream: Separates families of strings that must not share randomness, such as questions and shots.

    Returns:
        ``stop - start`` strings of T / 2 events each.

    Raises:
        SpecError: an argument is out of range, or there are too many strings for one batch.
    """
    if not isinstance(spec, Spec):
        raise SpecError(f"spec {spec!r:.80}: expected a Spec, such as Spec.ffl(0.6, length=100)")
    if not is_whole(seed) or seed < 0:
        raise SpecError(f"seed {seed!r:.80}: expected a whole number from 0 on")
    if not (is_whole(start) and is_whole(stop)) or not 0 <= start <= stop:
        raise SpecError(f"strings {start} to {stop}: expected a range from 0 on")
    n = spec.instructions
    if (stop - start) * n > MOST_LENGTH * _BLOCK:
        raise SpecError(f"strings {start} to {stop}: too many at once; draw {MOST_LENGTH * _BLOCK // n:,} at most")
    draw = _Draw(spec, _key(spec, seed, stream), start)
    events, values = np.empty((stop - start, n), np.uint8), np.empty((stop - start, n), np.uint8)
    for low in range(start, stop, _BLOCK):
        high = min(low + _BLOCK, stop)
        rows = slice(low - start, high - start)
        events[rows], values[rows] = draw(high - low)
    return as_strings(events, values, spec.symbols)


def _key(spec: Spec, seed: int, stream: str) -> NDArray[np.uint64]:
    """A 128-bit Philox key for one family of strings; a change here changes every string ever drawn."""
    # Equal specs give one name: 0, -0.0 and np.float64(0) are all written 0.0.
    p = "|".join(repr(float(value) + 0.0) for value in (spec.p_write, spec.p_read, spec.p_ignore))
    name = f"ffprompt/1|{stream}|{seed}|{spec.length}|{p}|{spec.symbols}"
    return np.frombuffer(hashlib.sha256(name.encode()).digest()[:16], np.uint64)


class _Draw:
    """Draws strings in order from one on. Each takes a fixed number of words: its instructions, then its symbols."""

    def __init__(self, spec: Spec, key: NDArray[np.uint64], start: int) -> None:
        n = spec.instructions
        self.spec = spec
        self.op_words = -(-n // 2)
        self.bit_words = -(-n // 64) if spec.symbols == 2 else self.op_words
        self.steps = -(-(self.op_words + self.bit_words) // 4)  # a Philox counter step yields four words
        self.philox = np.random.Philox(key=key, counter=start * self.steps)

    def __call__(self, rows: int) -> tuple[U8, U8]:
        spec, n = self.spec, self.spec.instructions
        words = np.asarray(self.philox.random_raw(rows * self.steps * 4)).reshape(rows, -1)

        uniform = words[:, : self.op_words].view(np.uint32)[:, :n]
        events = _at_least(uniform, spec.p_write) + _at_least(uniform, spec.p_write + spec.p_read)
        events[:, 0], events[:, -1] = WRITE, READ

        raw = words[:, self.op_words : self.op_words + self.bit_words]
        if spec.symbols == 2:
            values = np.unpackbits(np.ascontiguousarray(raw).view(np.uint8), axis=1, count=n)
        else:
            wide = raw.view(np.uint32)[:, :n].astype(np.uint64)
            values = ((wide * np.uint64(spec.symbols)) >> np.uint64(32)).astype(np.uint8)
        np.copyto(values, oracle(events, values, spec.symbols), where=events == READ)
        return events, values


def _at_least(uniform: NDArray[np.uint32], probability: float) -> U8:
    """1 where a 32-bit uniform draw lies at or above ``probability``: exact to 2**-32, and exact at 0 and 1."""
    threshold = round(probability * 2**32)
    if threshold >= 2**32:
        return np.zeros(uniform.shape, np.uint8)
    return (uniform >= np.uint32(threshold)).view(np.uint8)


_PAIR = re.compile(r"\s*(\S)\s*([0-9]*)")


def parse(text: str, symbols: int = 2) -> Strings:
    """Read one string, ``w1i0r1`` or ``w 1 i 0 r 1``, and check that it is in the language.

    Returns a batch of one.

    Raises:
        StringError: the message names the first offending position (counted in instructions, from 1) and the
            character where it starts.
    """
    if not isinstance(text, str):
        raise StringError(f"string {text!r:.80}: expected a text such as w1i0r1")
    if not is_whole(symbols) or not 2 <= symbols <= MAX_SYMBOLS:
        raise StringError(f"symbols {symbols!r:.80}: between 2 and {MAX_SYMBOLS} data symbols are possible")
    text = text.rstrip()
    events: list[int] = []
    values: list[int] = []
    memory = -1
    for number, match in enumerate(_pairs(text), start=1):
        where = f"instruction {number} (character {match.start(1) + 1})"
        letter, digits = match[1], match[2]
        if letter not in LETTERS:
            raise StringError(f"{where}: {letter!r} is not an instruction; expected w, r or i")
        if not digits:
            raise StringError(f"{where}: no data symbol after {letter!r}")
        op, bit = LETTERS.index(letter), int(digits[:9])
        if bit >= symbols or len(digits) > 9:
            raise StringError(f"{where}: data symbol {digits[:20]} is outside 0 … {symbols - 1}")
        if number == 1 and op != WRITE:
            raise StringError(f"{where}: a string starts with w, not {letter}")
        if op == WRITE:
            memory = bit
        elif op == READ and bit != memory:
            raise StringError(f"{where}: r{bit} contradicts the last write, w{memory}")
        events.append(op)
        values.append(bit)
    if len(events) < 2:
        raise StringError(f"{text!r}: a string has at least two instructions, such as w1r1")
    if events[-1] != READ:
        raise StringError(f"instruction {len(events)}: a string ends with r, not {LETTERS[events[-1]]}")
    return as_strings(np.array([events], np.uint8), np.array([values], np.uint8), symbols)


def _pairs(text: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        assert match is not None  # the text is stripped on the right, so a non-space is left
        yield match
        position = match.end()


# p_ignore of the paper's three test sets (appendix B.2).
_PRESETS = MappingProxyType({"in distribution": 0.8, "sparse tail": 0.98, "dense tail": 0.1})
# Of strings whose probabilities are not said: enough writes and reads in a short one.
_USUAL_P_IGNORE = 0.6


class FlipFlop(Task):
    """The flip-flop as a task. ``spec`` takes p_ignore, or p_write and p_read, or all three, or none."""

    name = "flipflop"
    events = EVENTS
    stride = 2
    presets: Mapping[str, Spec] = MappingProxyType({name: Spec.ffl(p) for name, p in _PRESETS.items()})
    rule_names = floors.NAMES

    def spec(self, length: int, symbols: int = 2, probabilities: Mapping[str, float] | None = None) -> Spec:
        """FFL(T, p); without ``read`` as FFL(T, p_ignore), and without anything FFL(T, 0.6). Raises SpecError."""
        given = dict(probabilities or {})
        if "read" not in given:
            return Spec.ffl(given.get("ignore", _USUAL_P_IGNORE), length, symbols)
        write, read = given["write"], given["read"]
        if write + read > 1 and "ignore" not in given and 0 <= write <= 1 and 0 <= read <= 1:
            raise SpecError(f"p_write {write:g} and p_read {read:g}: expected a sum of at most 1")
        return Spec(length, write, read, given.get("ignore", round(1.0 - write - read, 12)), symbols)

    def parse_spec(self, text: str, symbols: int | None = None) -> Spec:
        """Read ``FFL(0.8)`` and its longer forms. Raises SpecError."""
        return Spec.parse(text, symbols=2 if symbols is None else symbols)

    def parse(self, text: str, symbols: int = 2) -> Strings:
        """Read one string in the paper's notation, as :func:`parse`."""
        return parse(text, symbols)

    def contains(self, strings: Strings) -> bool:
        """Whether all strings begin with a write and end with a read, and each read repeats its write."""
        events, values = strings.events, strings.values
        if not ((events[:, 0] == WRITE).all() and (events[:, -1] == READ).all()):
            return False
        return not (strings.is_read & (values != oracle(events, values, strings.symbols))).any()

    def floors(self, strings: Strings, see_reads: bool = True) -> dict[str, U8]:
        """What rules without memory answer: :func:`.floors.predictions`."""
        return floors.predictions(strings, see_reads)

    def rules(self, strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
        """The rules that may explain wrong answers: :func:`.covariates.rules`."""
        return covariates.rules(strings, see_reads)

    def answers_everywhere(self, strings: Strings) -> U8:
        """The symbol in memory after every event."""
        return oracle(strings.events, strings.values, strings.symbols)

    def covariates(self, strings: Strings) -> dict[str, Ints]:
        """The gap of each read, the ignores that contradict it and the earlier reads of the same symbol."""
        return {
            "gap": strings.gaps,
            "contradictions": covariates.contradictions(strings),
            "earlier_reads": covariates.earlier_reads(strings),
        }


FLIP_FLOP = FlipFlop()
