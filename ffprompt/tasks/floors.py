"""What rules without memory would score on the same reads: the numbers an accuracy has to stand beside.

At a read, a rule sees the string before it. ``see_reads`` says whether earlier reads show their bits there (``forced``,
``next``) or not (``list``: blank; ``dialogue``: what the model itself has answered)::

    w1 i0 r? copy-last-bit 0 · first-write 1 · majority: a tie, so the last bit 0 · copy-last-read: none yet, so 0
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.flipflop import READ, U8, Strings


def predictions(strings: Strings, see_reads: bool = True) -> dict[str, U8]:
    """The symbol, (N, n), that each rule would answer at every instruction; only reads matter.

    ``copy-last-bit`` repeats the latest visible symbol of any kind, ``copy-last-read`` that of the latest earlier read
    (before the first read: the latest of any kind), ``first-write`` the first symbol, ``majority`` the most frequent
    visible one (a tie goes to the latest), ``constant-k`` the symbol k.
    """
    bits, reads, symbols = strings.bits, strings.reads, strings.symbols
    visible = np.ones_like(reads) if see_reads else ~reads
    latest, _ = _latest(visible, bits, symbols)
    rules = {"copy-last-bit": latest, "first-write": np.broadcast_to(bits[:, :1], bits.shape)}
    if see_reads:
        read, found = _latest(reads, bits, symbols)
        rules["copy-last-read"] = np.where(found, read, latest)
    rules["majority"] = _majority(visible, bits, latest, symbols)
    for symbol in range(symbols):
        rules[f"constant-{symbol}"] = np.full(bits.shape, symbol, np.uint8)
    return rules


def hits(strings: Strings, see_reads: bool = True) -> dict[str, NDArray[np.bool_]]:
    """Where each rule would be right, (N, n); True at reads only."""
    return {
        name: np.asarray((answer == strings.bits) & (strings.ops == READ))
        for name, answer in predictions(strings, see_reads).items()
    }


def _latest(mask: NDArray[np.bool_], bits: U8, symbols: int) -> tuple[U8, NDArray[np.bool_]]:
    """The symbol at the latest position before each one where ``mask`` holds, and whether there is such a position."""
    n = bits.shape[1]
    key = np.where(mask, np.arange(1, n + 1) * symbols + bits, 0)
    before = np.zeros_like(key)
    before[:, 1:] = np.maximum.accumulate(key, axis=1)[:, :-1]
    return (before % symbols).astype(np.uint8), before > 0


def _majority(visible: NDArray[np.bool_], bits: U8, latest: U8, symbols: int) -> U8:
    n = bits.shape[1]
    best = latest.copy()
    most = np.zeros(bits.shape, np.int64)
    for symbol in range(symbols):
        seen = visible & (bits == symbol)
        # (how often, how recently) in one number: of symbols seen equally often the larger one is the latest.
        rank = np.zeros(bits.shape, np.int64)
        rank[:, 1:] = (np.cumsum(seen, axis=1) * (n + 1))[:, :-1]
        rank[:, 1:] += np.maximum.accumulate(np.where(seen, np.arange(1, n + 1), 0), axis=1)[:, :-1]
        best = np.where(rank > most, np.uint8(symbol), best)
        most = np.maximum(most, rank)
    return best
