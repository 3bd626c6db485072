"""What stood before each read: the distractors that it had to survive, and what rules without memory make of them.

Example, the last read of ``w0 w1 i0 r1 i1 i0 r1``: two ignores contradict the stored 1, an earlier read has shown it,
and the rules answer copy-last-bit 0 · previous-write 0 · first-write 0 · copy-last-read 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.flipflop import IGNORE, U8, WRITE, Strings

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def contradictions(strings: Strings) -> Ints:
    """(N, n) ignores since the governing write whose symbol is not the stored one."""
    stored = np.take_along_axis(strings.bits, strings.last, 1)
    return _since_write((strings.ops == IGNORE) & (strings.bits != stored), strings)


def earlier_reads(strings: Strings) -> Ints:
    """(N, n) reads of the same stored symbol that stand before each instruction."""
    return _since_write(strings.reads, strings)


def _since_write(mask: Bools, strings: Strings) -> Ints:
    """How often ``mask`` holds between the governing write and each instruction, both left out."""
    before = np.cumsum(mask, 1, dtype=np.int64) - mask
    return np.asarray(before - np.take_along_axis(before, strings.last, 1))


@dataclass(frozen=True)
class Rule:
    """What a rule answers, (N, n), and where that is open, (N, n).

    Open are the reads at which the symbol that the rule copies was drawn independently of the stored one, whatever the
    instructions are. There it is a toss whether the rule is right, and nothing else about the read (its gap, its
    position, the number of distractors) has a part in it.
    """

    answers: U8
    open: Bools


def rules(strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
    """The rules that may explain wrong answers; only reads matter. ``see_reads`` as in :mod:`.floors`.

    ``copy-last-bit``, ``copy-last-read`` (only where reads are visible), ``first-write`` and ``constant-k`` are those
    of :mod:`.floors`; ``previous-write`` repeats the write before the one that counts (that one, if it is the first).
    """
    visible = np.ones_like(strings.reads) if see_reads else ~strings.reads
    latest = _latest(visible)
    ignored = np.take_along_axis(strings.ops, np.maximum(latest, 0), 1) == IGNORE
    found = {"copy-last-bit": Rule(_at(strings, latest), ignored)}
    if see_reads:
        read = _latest(strings.reads)
        # Without an earlier read the rule copies the latest symbol; that is another rule's doing, so it is not open.
        answers = _at(strings, np.where(read >= 0, read, latest))
        found["copy-last-read"] = Rule(answers, (read >= 0) & (read < strings.last))
    rewritten = strings.last > 0
    # The latest write before the governing one, which itself stands there where it is the first.
    previous = np.take_along_axis(_latest(strings.ops == WRITE), strings.last, 1)
    found["previous-write"] = Rule(_at(strings, previous), rewritten)
    found["first-write"] = Rule(np.broadcast_to(strings.bits[:, :1], strings.bits.shape), rewritten)
    for symbol in range(strings.symbols):
        everywhere = np.ones_like(strings.reads)
        found[f"constant-{symbol}"] = Rule(np.full(strings.bits.shape, symbol, np.uint8), everywhere)
    return found


def _latest(mask: Bools) -> Ints:
    """The latest position before each one where ``mask`` holds; -1 where there is none."""
    n = mask.shape[1]
    found = np.full(mask.shape, -1, np.int64)
    found[:, 1:] = np.maximum.accumulate(np.where(mask, np.arange(n), -1), axis=1)[:, :-1]
    return found


def _at(strings: Strings, position: Ints) -> U8:
    """The symbols at some positions; that of the first instruction where there is none (-1)."""
    return np.asarray(np.take_along_axis(strings.bits, np.maximum(position, 0), 1))
