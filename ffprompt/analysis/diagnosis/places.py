"""Where the values of a string's events stand in the words of a template, and what each token is to each read.

Example, light switch, ``w1 i0 r1``::

    Alice turns the light on. Bob eats a banana. The light is turned on
                          ──           ──────                        ──
    values of the events in characters; the answer of a read is the value of its event
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.local.attention import ANSWERS, FIRST, IGNORED, REST, STALE, WRITE, Place, Span, Tokens
from ffprompt.elicitation.wording import events, value_of
from ffprompt.tasks.flipflop import IGNORE
from ffprompt.tasks.flipflop import WRITE as WRITES
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer

Ints = NDArray[np.int64]


def place(words: Renderer, string: String, blank: bool) -> Place:
    """Return the words of a string's events with where their values stand.

    Args:
        words: The template.
        string: The string.
        blank: Whether the answers of reads stand elsewhere, and a blank in their place.

    Returns:
        The text up to the last answer, or whole with ``blank``.
    """
    whole, answers = events(words, string, blank=blank)
    separator = words.template.instructions.separator
    values: list[Span | None] = []
    position, reads = 0, 0
    for number, (event, value, is_read) in enumerate(string):
        position += len(separator) if number else 0
        if is_read:
            start, end = answers[reads]
            values.append(None if blank else (start, end))
            before, after = words.reads[0]
            position += len(before) + (end - start) + len(after)
            reads += 1
            continue
        piece = words.pieces[event][value]
        span = value_of(piece, words.pieces[event])
        values.append((span[0] + position, span[1] + position) if span else None)
        position += len(piece)
    return Place(whole if blank else whole[: answers[-1][1]], values)


def roles(tokens: Tokens, string: String) -> NDArray[np.int8]:
    """Return what each token is to each read, (R, T), as places in ``attention.ROLES``."""
    reads = np.flatnonzero(string.is_read)
    event = token_events(tokens, reads)  # (T,)
    kinds = np.full(len(tokens), REST, np.int8)
    held = event >= 0
    written = np.zeros(len(tokens), np.bool_)
    for number, role in ((WRITES, STALE), (IGNORE, IGNORED)):
        mine = held & (string.events[event] == number)
        kinds[mine] = role
        written |= mine & (number == WRITES)
    kinds[held & string.is_read[event]] = ANSWERS
    if not held[0]:
        kinds[0] = FIRST
    writes = np.flatnonzero(string.events == WRITES)
    governing = writes[np.searchsorted(writes, reads) - 1]  # (R,)
    found = np.tile(kinds, (len(reads), 1))
    found[written[None] & (event[None] == governing[:, None])] = WRITE
    return found


def token_events(tokens: Tokens, reads: Ints) -> Ints:
    """Return the event whose value each token holds, (T,): a read's own event for its answer, -1 for other tokens."""
    found = np.full(len(tokens), -1, np.int64)
    holders = [*enumerate(tokens.values), *zip(reads.tolist(), tokens.answers, strict=True)]
    for event, held in reversed(holders):
        for token in held:
            if token < len(found):
                found[token] = event
    return found
