"""From a flip-flop string, a template and an elicitation to the prompt a model is sent.

``forced`` solves every read in place and remembers where each answer stands; ``next`` stops where one answer would
begin; ``list`` leaves all reads blank; ``dialogue`` hands them out turn by turn. Base models get one text (completion
form), chat models get turns (chat form), where ``forced`` puts the true answers into the assistant's reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.backends.base import Message, Turn
from ffprompt.tasks.base import Bools, String
from ffprompt.templates.template import ANSWER, Elicitation, Form, Renderer


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model will see. ``text`` and ``messages`` as in Request.

    ``reads`` are the (start, end) characters of the answers in ``text``, for ``forced`` only; ``asked`` are the numbers
    (from 0) of the reads that the model is asked, in order; ``stop`` are texts at which a completion may end.
    """

    text: str
    messages: tuple[Message, ...]
    reads: tuple[tuple[int, int], ...]
    asked: tuple[int, ...]
    stop: tuple[str, ...] = ()
    blanks: tuple[tuple[int, int, int], ...] = ()  # (message, start, end) of what the model is to fill in; -1: ``text``
    turns: tuple[Turn, ...] = ()  # dialogue: what is said and asked after ``messages``; ``blanks`` counts on into them


def prompt(
    words: Renderer,
    elicitation: Elicitation,
    form: Form,
    string: String,
    shots: Sequence[String] = (),
    next_read: int = -1,
    turn_instructions: int | None = None,
) -> Prompt:
    """Render one question with its shots. ``next_read`` counts reads as a list index does; -1 is the last.

    ``turn_instructions`` is how many instructions a turn of a dialogue has, None for all up to the next read. A
    dialogue is in chat form whatever ``form`` says. Raises TemplateError where the template has no wording for it.
    """
    count = string.read_count
    asked = (range(count)[next_read],) if elicitation == "next" else tuple(range(count))
    if elicitation == "dialogue":
        return _dialogue(words, string, shots, asked, turn_instructions)
    if form == "chat":
        return _chat(words, elicitation, string, shots, asked)
    if elicitation == "list":
        return _completion_list(words, string, shots, asked)
    return _completion(words, elicitation, string, shots, asked)


def _completion(
    words: Renderer, elicitation: Elicitation, string: String, shots: Sequence[String], asked: tuple[int, ...]
) -> Prompt:
    text = words.intro
    for shot in shots:
        before, after = words.around(words.string, shot.read_count)
        text += before + _events(words, shot)[0] + after + words.template.completion.between
    before, after = words.around(words.string, string.read_count)
    text += before
    if elicitation == "next":
        # A trailing space would be a token of its own; models write it together with the word that follows.
        return Prompt((text + _events(words, string, until=asked[0])[0]).rstrip(" "), (), (), asked)
    events, spans = _events(words, string)
    reads = tuple((start + len(text), end + len(text)) for start, end in spans)
    # What would follow the last answer tells nothing about it and is left away.
    return Prompt(text + events[: spans[-1][1]], (), reads, asked)


def _completion_list(words: Renderer, string: String, shots: Sequence[String], asked: tuple[int, ...]) -> Prompt:
    between = words.template.completion.between
    text = words.intro
    for shot in shots:
        before, after = words.around(words.list_string, shot.read_count)
        text += before + _events(words, shot, blank=True)[0] + after.replace(ANSWER, answers(words, shot)) + between
    before, after = words.around(words.list_string, string.read_count)
    events, spans = _events(words, string, blank=True)
    blanks = tuple((-1, start + len(text + before), end + len(text + before)) for start, end in spans)
    text += before + events + after.removesuffix(ANSWER)
    return Prompt(text.rstrip(" "), (), (), asked, ("\n",), blanks)


def _chat(
    words: Renderer, elicitation: Elicitation, string: String, shots: Sequence[String], asked: tuple[int, ...]
) -> Prompt:
    messages = [Message("system", words.system)] if words.system else []
    turn = "next" if elicitation == "next" else "list"
    for number, shot in enumerate((*shots, string)):
        last = number == len(shots)
        frame = words.chat[turn if number == 0 else f"{turn}_again"]
        # For next, a shot shows its last read answered; the question stops at the read that is asked.
        until = asked[0] if last and turn == "next" else shot.read_count - 1
        before, after = words.around(frame, until + 1)
        if turn == "next":
            events = _events(words, shot, until=until)[0]
            spans = [(len(events), len(events) + len(words.template.instructions.blank))]
            events += words.template.instructions.blank + words.read_after
            reply = words.surfaces[shot.truth[until]]
        else:
            events, spans = _events(words, shot, blank=True)
            reply = answers(words, shot)
        blanks = tuple((len(messages), start + len(before), end + len(before)) for start, end in spans)
        messages.append(Message("user", before + events + after))
        if not last:
            messages.append(Message("assistant", reply))
    if elicitation != "forced":
        return Prompt("", tuple(messages), (), asked, (), blanks)
    text, spans = "", []
    for symbol in string.truth:
        text += words.template.reply.joiner if text else ""
        spans.append((len(text), len(text) + len(words.surfaces[symbol])))
        text += words.surfaces[symbol]
    return Prompt(text, tuple(messages), tuple(spans), asked, (), blanks)


def chunks(is_read: Bools, size: int | None) -> list[tuple[int, int]]:
    """(first, last + 1) of the instructions of each turn; nothing is said after the last read.

    >>> import numpy as np
    >>> is_read = np.array([False, True, False, False, True, True])
    >>> chunks(is_read, None), chunks(is_read, 4)
    ([(0, 2), (2, 5), (5, 6)], [(0, 4), (4, 6)])
    """
    reads = np.flatnonzero(is_read)
    end = int(reads[-1]) + 1
    stops = (reads + 1).tolist() if size is None else [*range(size, end, size), end]
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _dialogue(
    words: Renderer, string: String, shots: Sequence[String], asked: tuple[int, ...], size: int | None
) -> Prompt:
    words.can_talk()
    messages = [Message("system", words.system)] if words.system else []
    blanks: list[tuple[int, int, int]] = []
    for number, shot in enumerate(shots):
        for text, spans, answer in _said(words, shot, "dialogue_again" if number else "dialogue", size):
            blanks += [(len(messages), start, end) for start, end in spans]
            messages += [Message("user", text), Message("assistant", answer or words.template.chat.ack)]
    turns: list[Turn] = []
    said: list[Message] = []
    at = len(messages)
    for text, spans, answer in _said(words, string, "dialogue_again" if shots else "dialogue", size):
        blanks += [(at + len(said), start, end) for start, end in spans]
        said.append(Message("user", text))
        if answer:
            turns.append(Turn(tuple(said), len(spans), answer))
            at, said = at + len(said), []
        else:  # nothing is asked, so the model is not called
            said.append(Message("assistant", words.template.chat.ack))
    return Prompt("", tuple(messages), (), asked, (), tuple(blanks), tuple(turns))


def _said(
    words: Renderer, string: String, frame: str, size: int | None
) -> Iterator[tuple[str, list[tuple[int, int]], str]]:
    """(what the user says, where blanks stand in it, the true reply) of each turn; ``frame`` words the first one."""
    for first, last in chunks(string.is_read, size):
        part = string[first:last]
        before, after = words.around(words.chat["turn" if first else frame], part.read_count)
        events, spans = _events(words, part, blank=True)
        shifted = [(start + len(before), end + len(before)) for start, end in spans]
        yield before + events + after, shifted, answers(words, part)


def answers(words: Renderer, string: String) -> str:
    """The true answers of a string, as a reply would list them."""
    return words.template.reply.joiner.join(words.surfaces[symbol] for symbol in string.truth)


def _events(
    words: Renderer, string: String, blank: bool = False, until: int | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """The instructions in words, and where the answers stand. ``until`` stops before the answer of that read."""
    separator = words.template.instructions.separator
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for position, (event, value, is_read) in enumerate(string):
        if position:
            text.append(separator)
            length += len(separator)
        if not is_read:
            piece = words.pieces[event][value]
        elif until == len(spans):
            text.append(words.read_before)
            break
        else:
            answer = words.template.instructions.blank if blank else words.surfaces[value]
            start = length + len(words.read_before)
            spans.append((start, start + len(answer)))
            piece = words.read_before + answer + words.read_after
        text.append(piece)
        length += len(piece)
    return "".join(text), spans
