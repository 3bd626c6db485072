"""The tokens that a server counts in a prompt, beside the prompt's size: some servers cut prompts and do not say so.

Counts that look odd are no proof: tokenizers differ, and strings of one language can have the same number of tokens.
They are a reason to ask once more with a longer prompt, which costs as much as one question.
"""

from __future__ import annotations

import dataclasses
import math
import re

from ffprompt.backends.base import Message, Request

# The longest text that a token stands for on average. Measured: at most 4 characters in prompts of all bundled
# templates; 5 are usual for English, and tokenizers whose tokens span words get to about 8.
_LONGEST = 12
# Contexts are of such sizes. Where only whole lines are cut, a little less is left.
_ROUND, _SLACK = 1024, 32
_ROUNDER, _SMALLEST = 256, 500
# Different prompts with the same count, and how much larger a prompt is that must have more tokens.
_SAME, _LARGER = 3, 1.25
_SHORT = "Say 1."
_WORDS = "one two three four five six seven eight nine ten"
_REPEATED = 8
# A longer prompt is longer by this share at least, so that a dialogue that grows is not asked about at every turn.
_SHARE = 0.25


def size(request: Request) -> int:
    """Characters of a prompt."""
    return len(request.text) + sum(len(message.text) for message in request.messages)


def least(text: str) -> int:
    """Return the number of tokens that a text has at least, in any tokenizer.

    A run of one character, as of spaces, may be one token. Digits are hardly ever in one token with what is around.

    >>> least("w 1 i 0 r 1"), least("The cat sat on the mat. " * 10), least("=" * 100)
    (1, 20, 0)
    """
    plain = re.sub(r"(.)\1+", r"\1", text)
    return max(len(plain) // _LONGEST, len(re.findall(r"\d+", plain)) // 2)


def extended(request: Request, number: int) -> tuple[Request, int]:
    """Return a request with more words in front, where no cache of an earlier prompt holds them, and how many more."""
    times = max(_REPEATED, math.ceil(_SHARE * size(request) / len(_WORDS)))
    words = f"Note {number}: {' '.join([_WORDS] * times)}.\n\n"
    return _asked(request, words + request.text, request.messages, words), times * len(_WORDS.split())


def short(request: Request) -> Request:
    """A request of two words."""
    turns = (Message("user", _SHORT),) if request.messages else ()
    return _asked(request, _SHORT, turns, "")


def _asked(request: Request, text: str, turns: tuple[Message, ...], words: str) -> Request:
    if turns:
        text, turns = "", (Message(turns[0].role, words + turns[0].text), *turns[1:])
    return dataclasses.replace(request, key="probe", text=text, messages=turns, max_tokens=16, schema=None, stop=())


class PromptTokens:
    """Looks for counts that a server which cuts prompts would report."""

    def __init__(self) -> None:
        self.proven = 0  # so many tokens arrive whole
        self.remarks: list[str] = []
        self._sizes: dict[int, set[int]] = {}  # of prompts with the same count
        self._smallest: dict[str, tuple[int, int]] = {}  # size and count of a kind's smallest prompt
        self._trusted = True

    def suspicion(self, request: Request, count: int | None) -> str:
        """What is odd about the tokens that are reported for a prompt. Empty where nothing is."""
        if not count or not self._trusted or count <= self.proven:
            return ""  # 0 is what servers say that do not count
        characters = size(request)
        sizes = self._sizes.setdefault(count, set())
        sizes.add(characters)
        kind = re.sub(r"\(.*", "", request.key)
        smallest = self._smallest.setdefault(kind, (characters, count))
        said = f"it reports {count:,} tokens for a prompt of {characters:,} characters"
        text = request.text + "\n".join(message.text for message in request.messages)
        if count < least(text):
            return f"{said}, which has at least {least(text):,} in any tokenizer"
        if characters >= _LARGER * smallest[0] and count <= smallest[1]:
            return f"{said} and {smallest[1]:,} for one of {smallest[0]:,}"
        self._smallest[kind] = min(smallest, (characters, count))
        if count < _SMALLEST:
            return ""
        if len(sizes) >= _SAME:
            return f"{said} and for {len(sizes) - 1} of other lengths"
        if count % _ROUNDER == 0 or count % 1000 == 0 or (count > _ROUND and -count % _ROUND < _SLACK):
            return f"{said}, which is the size of a context"
        return ""

    def grows(self, count: int, longer: int, words: int) -> bool:
        """Note that a prompt with so many more words has more tokens. Returns whether it has."""
        if grown := longer - count >= words // 2:
            self.proven = max(self.proven, longer)
        return grown

    def constant(self, count: int, shorter: int) -> bool:
        """Note that the counts are of no use, where two words have as many tokens. Returns whether they have."""
        if made_up := shorter >= count:
            self._trusted = False
            self.remarks.append(
                "the server reports the same number of tokens for prompts of any length, so that nobody knows whether "
                "it cut any"
            )
        return made_up
