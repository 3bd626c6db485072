"""From the text of a prompt to tokens, one per symbol, and back to the characters they stand at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import ModelError
from ffprompt.tasks.flipflop import LETTERS

Ints = NDArray[np.int64]

INSTRUCTIONS = len(LETTERS)
HOW = "reference models read raw symbols zero-shot; use --template raw-compact --shots 0"
_TOKEN = re.compile(rf"[{LETTERS}]|[0-9]+")


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as T tokens. Token k is the characters ``starts[k]`` to ``ends[k]``, the end not included.

    ``w1 r1`` is ids ``[0, 4, 1, 4]``, starts ``[0, 1, 3, 4]``, ends ``[1, 2, 4, 5]``.
    """

    ids: Ints  # (T,)
    starts: Ints  # (T,)
    ends: Ints  # (T,)

    def __len__(self) -> int:
        return len(self.ids)


def tokenise(texts: Sequence[str], symbols: int) -> list[Tokens]:
    """Read texts of flip-flop notation, ``w1i0r1`` or ``w 1 i 0 r 1``, each with or without its last symbol.

    What the symbols say is not judged: an r may contradict its w.

    Raises:
        ModelError: for a text that is not one string of instructions and data symbols 0 … ``symbols`` - 1 in turn.
    """
    found: dict[int, Tokens] = {}
    by_length: dict[int, list[int]] = {}
    for index, text in enumerate(texts):
        by_length.setdefault(len(text), []).append(index)
    for members in by_length.values():
        some = [texts[index] for index in members]
        found.update(zip(members, _aligned(some, symbols) or [_one(text, symbols) for text in some], strict=True))
    return [found[index] for index in range(len(texts))]


def read_positions(tokens: Tokens, reads: Sequence[tuple[int, int]], text: str) -> Ints:
    """The index (R,) of the token that each (start, end) of ``reads`` covers. Spaces before it may be inside.

    Raises:
        ModelError: when a span is not exactly one data symbol.
    """
    if not reads:
        return np.empty(0, np.int64)
    start, end = np.asarray(reads, np.int64).T  # (R,) each
    index = np.minimum(np.searchsorted(tokens.ends, end), len(tokens) - 1)
    before = np.where(index > 0, tokens.ends[index - 1], 0)
    good = (tokens.ends[index] == end) & (before <= start) & (start <= tokens.starts[index])
    good &= tokens.ids[index] >= INSTRUCTIONS
    if not good.all():
        low, high = reads[int(np.argmin(good))]
        raise ModelError(f"characters {low} to {high} of the prompt, {text[low:high]!r}, are not one data symbol")
    return np.asarray(index, np.int64)


def _aligned(texts: Sequence[str], symbols: int) -> list[Tokens] | None:
    """The texts, all of one length, without a loop over characters; None where one is not in the plainest form.

    That form is one character a symbol, with no spaces or with exactly one after every symbol.
    """
    width, joined = len(texts[0]), "".join(texts)
    if symbols > 10 or not width or not joined.isascii():
        return None
    chars = np.frombuffer(joined.encode("ascii"), np.uint8).reshape(len(texts), width)
    stride = 2 if texts[0][1:2] == " " else 1
    ids = _table(symbols)[chars[:, ::stride]]  # (B, T)
    spaced = stride == 1 or bool((chars[:, 1::2] == ord(" ")).all())
    instructions, data = ids[:, 0::2], ids[:, 1::2]
    good = spaced and instructions.min() >= 0 and instructions.max() < INSTRUCTIONS
    if not (good and (data >= INSTRUCTIONS).all()):
        return None
    starts = np.arange(0, width, stride)
    return [Tokens(row, starts, starts + 1) for row in ids]


def _table(symbols: int) -> Ints:
    """The token of each ASCII character, -1 where it has none."""
    table = np.full(128, -1, np.int64)
    for token, char in enumerate(LETTERS + "".join(map(str, range(symbols)))):
        table[ord(char)] = token
    return table


def _one(text: str, symbols: int) -> Tokens:
    """Any text, one token after the other. Every refusal is worded here."""
    core = text.strip()
    rest = _TOKEN.sub("", core).replace(" ", "")
    if rest:
        raise ModelError(f"prompt {_short(core)} has {rest[0]!r} in it: {HOW}")
    matches = list(_TOKEN.finditer(text))
    if not matches:
        raise ModelError(f"the prompt is empty: {HOW}")
    known = {name: token for token, name in enumerate([*LETTERS, *map(str, range(symbols))])}
    ids = []
    for number, match in enumerate(matches):
        token = match[0]
        if (token in LETTERS) == (number % 2 == 1):
            wanted = "a data symbol" if number % 2 else "an instruction"
            raise ModelError(f"prompt {_short(core)}: expected {wanted} at character {match.start() + 1}: {HOW}")
        # Templates write more than ten symbols with equally many digits each, 00 to 11.
        name = token.lstrip("0") or "0" if symbols > 10 and token.isdecimal() else token
        if name not in known:
            raise ModelError(f"data symbol {_short(token)}: this reference model knows 0 … {symbols - 1}")
        ids.append(known[name])
    spans = np.array([match.span() for match in matches], np.int64)
    return Tokens(np.array(ids, np.int64), spans[:, 0], spans[:, 1])


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
