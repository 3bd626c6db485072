"""What stood before each read: the distractors that it had to survive, and what rules without memory make of them.

Example, the last read of ``w0 w1 i0 r1 i1 i0 r1``: two ignores contradict the stored 1, an earlier read has shown it,
and the rules answer copy-last-bit 0 · previous-write 0 · first-write 0 · copy-last-read 1.
"""

from __future__ import annotations

import numpy as np

from ffprompt.tasks import floors
from ffprompt.tasks.base import Rule
from ffprompt.tasks.events import U8, Bools, Ints
from ffprompt.tasks.strings import Strings, latest


def contradictions(strings: Strings) -> Ints:
    """(N, n) ignores since the governing write whose symbol is not the stored one."""
    stored = np.take_along_axis(strings.values, strings.anchors, 1)
    return _since_write((strings.having("idle")) & (strings.values != stored), strings)


def earlier_reads(strings: Strings) -> Ints:
    """(N, n) reads of the same stored symbol that stand before each instruction."""
    return _since_write(strings.is_read, strings)


def _since_write(mask: Bools, strings: Strings) -> Ints:
    """How often ``mask`` holds between the governing write and each instruction, both left out."""
    before = np.cumsum(mask, 1, dtype=np.int64) - mask
    return np.asarray(before - np.take_along_axis(before, strings.anchors, 1))


def rules(strings: Strings, see_reads: bool = True) -> dict[str, Rule]:
    """Return the rules that may explain wrong answers. Only reads matter. ``see_reads`` as in :mod:`.floors`.

    ``copy-last-bit``, ``copy-last-read`` (only where reads are visible), ``first-write`` and ``constant-k`` answer as
    :mod:`.floors` says. ``previous-write`` repeats the write before the one that counts (that one, if it is the first).
    """
    copied = floors.copies(strings, see_reads)
    shown = latest(np.ones_like(strings.is_read) if see_reads else ~strings.is_read)
    ignored = np.take_along_axis(strings.having("idle"), np.maximum(shown, 0), 1)
    explanations = {"copy-last-bit": Rule(copied["copy-last-bit"], ignored)}
    if see_reads:
        read = latest(strings.is_read)
        # Without an earlier read the rule copies the latest symbol. That is another rule's doing, so it is not open.
        explanations["copy-last-read"] = Rule(copied["copy-last-read"], (read >= 0) & (read < strings.anchors))
    rewritten = strings.anchors > 0
    # The latest write before the governing one, which itself stands there where it is the first.
    previous = np.take_along_axis(latest(strings.having("reset")), strings.anchors, 1)
    explanations["previous-write"] = Rule(_at(strings, previous), rewritten)
    explanations["first-write"] = Rule(copied["first-write"], rewritten)
    for symbol in range(strings.symbols):
        everywhere = np.ones_like(strings.is_read)
        explanations[f"constant-{symbol}"] = Rule(np.full(strings.values.shape, symbol, np.uint8), everywhere)
    return explanations


def _at(strings: Strings, position: Ints) -> U8:
    """The symbols at some positions; that of the first instruction where there is none (-1)."""
    return np.asarray(np.take_along_axis(strings.values, np.maximum(position, 0), 1))
