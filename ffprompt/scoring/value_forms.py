"""Answers that a model writes in another form than the task: other minus signs, numbers without leading zeros.

Both are changes of the answer where nothing corrects them. The quaternion ``−i`` with the minus sign of typography is
the answer ``i`` behind a foreign character, and ``7`` is no answer at all where the answers are ``00`` … ``11``::

    >>> with_signs("It is −i.", ["i", "-i"])
    'It is -i.'
    >>> padded("7, 11", tuple(f"{number:02d}" for number in range(12)))
    '07, 11'
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# A command that only sets a letter in another type, between a sign and the letter.
_TYPE = r"(?:\\(?:text|math)\w*[^\S\n]*\{?|\\[,;! ]|\{)"
_STATES = r"\b(?:is|are|be|becomes|equals|gives|returns|yields)\b|[:=→⇒,;]|->|=>"
_NUMBER = re.compile(r"[0-9]+")


def with_signs(text: str, values: Sequence[str]) -> str:
    """Return a text in which answers that differ by a minus sign have it in front of them, as ``-``.

    A dash at the head of a line may be that of a list, and stays as it is.
    """
    if "–" in text and not any("–" in value for value in values):
        text = re.sub(r"(?<=[^\W_])–(?=[^\W_])", "-", text)  # a hyphen within a word
    patterns = _signs(tuple(values))
    for pattern, by in patterns:
        text = pattern.sub(by, text)
    return text


@lru_cache(1024)
def _signs(values: tuple[str, ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    """What turns each way to write a minus sign into the one of the values; nothing where no two differ by it."""
    positive = sorted((value for value in values if f"-{value}" in values), key=len, reverse=True)
    if not positive:
        return ()
    value = rf"(?=(?:{'|'.join(map(re.escape, positive))})(?![^\W_]))"
    steps = [
        (rf"(?<![^\W_])–{value}", "-"),
        (rf"[-–][^\S\n]*{_TYPE}+[^\S\n]*{value}", "-"),
        (rf"(?i:\b(?:minus|negative)[^\S\n]+){value}", "-"),
        (rf"(?i:({_STATES})[^\S\n]*)[-–][^\S\n]+{value}", r"\1 -"),
    ]
    if "1" in positive:
        steps.append((r"(?i:\b(?:minus|negative)[^\S\n]+one\b)", "-1"))
    return tuple((re.compile(pattern), by) for pattern, by in steps)


def padded(text: str, values: tuple[str, ...]) -> str:
    """Return a text whose numbers have the leading zeros of the answers, where those count from 0 on."""
    forms = _forms(values)
    return forms[0].sub(lambda at: forms[1][at[0]], text) if forms else text


@lru_cache(1024)
def _forms(values: tuple[str, ...]) -> tuple[re.Pattern[str], dict[str, str]] | None:
    """Answers without their leading zeros, and what each stands for. None where they are no numbers in order."""
    found = [_NUMBER.findall(value) for value in values]
    if any(len(numbers) != 1 for numbers in found):
        return None
    counted = {int(numbers[0]) for numbers in found}
    width = len(str(len(counted) - 1))
    if width < 2 or counted != set(range(len(counted))) or any(len(numbers[0]) != width for numbers in found):
        return None
    forms = {_NUMBER.sub(lambda at: str(int(at[0])), value): value for value in values}
    short = sorted((form for form, value in forms.items() if form != value), key=len, reverse=True)
    return re.compile(rf"(?<![\w.+-])(?:{'|'.join(map(re.escape, short))})(?![^\W_]|[.,][0-9])"), forms
