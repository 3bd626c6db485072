"""What rules without memory would score on the same reads: the numbers an accuracy has to stand beside.

The rules in ``predictions`` copy symbols. They are for tasks whose events carry the symbols that a read asks for. At a
read, a rule sees the string before it. ``see_reads`` says whether earlier reads show their symbols there (``forced``,
``next``) or not (``list``: blank, ``dialogue``: what the model itself has answered)::

    w1 i0 r? copy-last-bit 0 · first-write 1 · majority: a tie, so the last bit 0 · copy-last-read: none yet, so 0
"""

from __future__ import annotations

import numpy as np

from ffprompt.tasks.events import U8, Bools
from ffprompt.tasks.strings import Strings

NAMES = ("copy-last-bit", "copy-last-read", "first-write", "majority")


def predictions(strings: Strings, see_reads: bool = True) -> dict[str, U8]:
    """Return the symbol, (N, n), that each rule would answer at every instruction. Only reads matter.

    ``copy-last-bit`` repeats the latest visible symbol of any kind, ``copy-last-read`` that of the latest earlier read
    (before the first read: the latest of any kind), ``first-write`` the first symbol, ``majority`` the most frequent
    visible one (a tie goes to the latest), ``constant-k`` the symbol k.

    Args:
        strings: N strings of n events.
        see_reads: Whether the true answers to earlier reads are visible.

    Returns:
        Answers (N, n) by the name of the rule.
    """
    values, reads, symbols = strings.values, strings.is_read, strings.symbols
    visible = np.ones_like(reads) if see_reads else ~reads
    copied = copies(strings, see_reads)
    constant = {f"constant-{symbol}": np.full(values.shape, symbol, np.uint8) for symbol in range(symbols)}
    return copied | {"majority": majority(visible, values, copied["copy-last-bit"], symbols)} | constant


def copies(strings: Strings, see_reads: bool = True) -> dict[str, U8]:
    """The rules of ``predictions`` that copy one symbol, (N, n): the latest, the first, that of the latest read."""
    values, reads, symbols = strings.values, strings.is_read, strings.symbols
    latest, _ = _latest(np.ones_like(reads) if see_reads else ~reads, values, symbols)
    rules = {"copy-last-bit": latest, "first-write": np.broadcast_to(values[:, :1], values.shape)}
    if see_reads:
        read, is_there = _latest(reads, values, symbols)
        rules["copy-last-read"] = np.where(is_there, read, latest)
    return rules


def hits(strings: Strings, see_reads: bool = True) -> dict[str, Bools]:
    """Return where each rule of the strings' task would be right.

    Returns:
        Booleans (N, n) by the name of the rule, True at reads only.
    """
    return {
        name: np.asarray((answer == strings.answers) & strings.is_read)
        for name, answer in strings.task.floors(strings, see_reads).items()
    }


def _latest(mask: Bools, values: U8, symbols: int) -> tuple[U8, Bools]:
    """The symbol at the latest position before each one where ``mask`` holds, and whether there is such a position."""
    n = values.shape[1]
    key = np.where(mask, np.arange(1, n + 1) * symbols + values, 0)
    before = np.zeros_like(key)
    before[:, 1:] = np.maximum.accumulate(key, axis=1)[:, :-1]
    return (before % symbols).astype(np.uint8), before > 0


def majority(visible: Bools, values: U8, latest: U8, symbols: int) -> U8:
    """Return the most frequent visible symbol before each place; in a tie the latest, and ``latest`` where none is."""
    n = values.shape[1]
    best = latest.copy()
    most = np.zeros(values.shape, np.int64)
    for symbol in range(symbols):
        seen = visible & (values == symbol)
        # (how often, how recently) in one number: of symbols seen equally often the larger one is the latest.
        rank = np.zeros(values.shape, np.int64)
        rank[:, 1:] = (np.cumsum(seen, axis=1) * (n + 1))[:, :-1]
        rank[:, 1:] += np.maximum.accumulate(np.where(seen, np.arange(1, n + 1), 0), axis=1)[:, :-1]
        best = np.where(rank > most, np.uint8(symbol), best)
        most = np.maximum(most, rank)
    return best
