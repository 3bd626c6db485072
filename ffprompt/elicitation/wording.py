"""A string in the words of a template: the pieces that the elicitations make their prompts of.

Base models get one text (completion form), chat models get turns (chat form). In either, the shots stand before the
string that is asked, in the same words, with all answers given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ffprompt.backends.base import Message
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer

Span = tuple[int, int]  # the first character of an answer, and the one after its last
Blank = tuple[int, int, int]  # a message's number, then a span of its text. -1: the text of a completion


@dataclass(frozen=True, slots=True)
class Exchange:
    """One string as a user's turn and the assistant's: its events, where blanks stand in them, and the true reply."""

    events: str
    blanks: Sequence[Span]
    reads: int  # those in the events
    reply: str


def again(key: str, shots: bool) -> list[str]:
    """Return the keys of the texts for a string and, with shots, for the ones after the first."""
    return [key, f"{key}_again"] if shots else [key]


def system_message(words: Renderer) -> list[Message]:
    """Return the conversation before its first turn."""
    return [Message("system", words.system)] if words.system else []


def conversation(words: Renderer, frame: str, exchanges: Sequence[Exchange]) -> tuple[tuple[Message, ...], list[Blank]]:
    """Return the messages up to the last exchange's reply, and the blanks in the last of them.

    ``frame`` is the template's key for the first user turn. The others have the key with ``_again``.
    """
    messages = system_message(words)
    blanks: list[Blank] = []  # of the last exchange alone
    for number, exchange in enumerate(exchanges):
        before, after = words.around(words.frame(f"chat.{frame}_again" if number else f"chat.{frame}"), exchange.reads)
        blanks = [(len(messages), start + len(before), end + len(before)) for start, end in exchange.blanks]
        messages.append(Message("user", before + exchange.events + after))
        if number < len(exchanges) - 1:
            messages.append(Message("assistant", exchange.reply))
    return tuple(messages), blanks


def solved_in_place(words: Renderer, string: String, shots: Sequence[String]) -> str:
    """Return a completion's text up to the events of the string. The answers stand in the events of the shots."""
    text = words.intro
    for shot in shots:
        before, after = words.around(words.frame("completion.string"), shot.read_count)
        text += before + events(words, shot)[0] + after + words.template.completion.between
    before, _ = words.around(words.frame("completion.string"), string.read_count)
    return text + before


def answers(words: Renderer, string: String) -> str:
    """Return the true answers of a string, as a reply lists them."""
    return words.template.reply.joiner.join(words.surfaces[symbol] for symbol in string.truth)


def events(words: Renderer, string: String, blank: bool = False, until: int | None = None) -> tuple[str, list[Span]]:
    """Return the instructions in words, and where the answers stand in them.

    ``blank``: the template's blank stands in place of each answer. ``until`` stops before the answer of that read.
    """
    separator = words.template.instructions.separator
    text: list[str] = []
    spans: list[Span] = []
    length = 0
    arguments = string.arguments.tolist() if len(words.reads) > 1 else None
    for position, (event, value, is_read) in enumerate(string):
        if position:
            text.append(separator)
            length += len(separator)
        if not is_read:
            piece = words.pieces[event][value]
        else:
            before, after = words.reads[arguments[position] if arguments else 0]
            if until == len(spans):
                text.append(before)
                break
            answer = words.template.instructions.blank if blank else words.surfaces[value]
            start = length + len(before)
            spans.append((start, start + len(answer)))
            piece = before + answer + after
        text.append(piece)
        length += len(piece)
    return "".join(text), spans


def value_of(piece: str, others: Sequence[str]) -> Span | None:
    """Return the characters of a piece of text that tell it from the same piece with another value.

    Words are never cut: where the difference begins or ends inside a word, the whole word is the value.

    >>> value_of("the light on.", ["the light on.", "the light off."])
    (10, 12)
    >>> value_of("w1", ["w0", "w1"])
    (1, 2)
    """
    others = [other for other in others if other != piece]
    if not others:
        return None
    every = [piece, *others]
    start = _alike(every)
    behind = min(min(map(len, every)) - start, _alike([text[::-1] for text in every]))
    # All have these ends in common, so the same is left away from each of them.
    while start and any(text[start - 1 : start + 1].isalpha() and len(text) > start for text in every):
        start -= 1
    while behind and any(text[len(text) - behind - 1 : len(text) - behind + 1].isalpha() for text in every):
        behind -= 1
    end = len(piece) - behind
    return (start, end) if end > start else None


def _alike(texts: Sequence[str]) -> int:
    """How many characters all texts begin with."""
    columns = zip(*texts, strict=False)
    return next((n for n, column in enumerate(columns) if len(set(column)) > 1), min(map(len, texts)))
