"""Each rule without memory in one line, under the names that tasks give their rules."""

from __future__ import annotations

from collections.abc import Mapping

_MEANINGS: Mapping[str, str] = {
    "copy-last-bit": "repeats the latest symbol that is seen, whatever it belongs to",
    "copy-last-read": "repeats the answer to the latest read",
    "previous-write": "repeats the write before the one that counts",
    "first-write": "repeats the first write",
    "last-write": "repeats the latest write, whatever came after it and whatever it was for",
    "majority": "answers the symbol that was seen most often",
    "last-answer": "repeats the answer to the latest read",
    "flip-last-answer": "gives the other answer than the latest read has",
    "last-input": "applies the latest input to the start state",
    "one-step": "applies the latest input to the latest answer",
    "last-event": "looks at the event before the read alone",
    "last-open": "forgets what has been closed",
    "counts": "counts each input and forgets their order",
    "direction-then-guess": "knows the direction and guesses the place",
    "parity-then-guess": "knows whether the permutation is odd and guesses the rest",
    "axis-then-guess": "knows the axis and answers the likelier sign",
    "plus-sign": "forgets the sign",
    "no-carry": "adds the digits of the column alone",
    "one-lookahead": "takes the carry from the digits of the column before",
    "constant": "answers what is likeliest after so many inputs",
}


def meaning(rule: str) -> str:
    """Return what a rule does, in one line. A rule of a task that is not known here has its name alone.

    >>> meaning("constant-1")
    'always answers 1'
    >>> meaning("my-rule")
    'a rule of its task'
    """
    if rule.startswith("constant-"):
        return f"always answers {rule.removeprefix('constant-')}"
    return _MEANINGS.get(rule, "a rule of its task")
