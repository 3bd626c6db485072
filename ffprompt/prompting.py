"""From a flip-flop string, a template and an elicitation to the prompt a model is sent.

``forced`` solves every read in place and remembers where each answer stands; ``next`` stops where one answer would
begin; ``list`` leaves all reads blank. Base models get one text (completion form), chat models get turns (chat form),
where ``forced`` puts the true answers into the assistant's reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.language import IGNORE, READ, U8, WRITE
from ffprompt.requests import Message
from ffprompt.templates import ANSWER, Elicitation, Form, Renderer


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


Solved = tuple[U8, U8]  # one string: its instructions (n,) and data symbols (n,)


def prompt(
    words: Renderer,
    elicitation: Elicitation,
    form: Form,
    string: Solved,
    shots: Sequence[Solved] = (),
    next_read: int = -1,
) -> Prompt:
    """Render one question with its shots. ``next_read`` counts reads as a list index does; -1 is the last."""
    ops, _ = string
    count = int(np.count_nonzero(ops == READ))
    asked = (range(count)[next_read],) if elicitation == "next" else tuple(range(count))
    if form == "chat":
        return _chat(words, elicitation, string, shots, asked)
    if elicitation == "list":
        return _completion_list(words, string, shots, asked)
    return _completion(words, elicitation, string, shots, asked)


def _completion(
    words: Renderer, elicitation: Elicitation, string: Solved, shots: Sequence[Solved], asked: tuple[int, ...]
) -> Prompt:
    text = words.intro
    for shot in shots:
        before, after = words.around(words.string, _reads(shot))
        text += before + _events(words, shot)[0] + after + words.template.completion.between
    before, after = words.around(words.string, _reads(string))
    text += before
    if elicitation == "next":
        # A trailing space would be a token of its own; models write it together with the word that follows.
        return Prompt((text + _events(words, string, until=asked[0])[0]).rstrip(" "), (), (), asked)
    events, spans = _events(words, string)
    reads = tuple((start + len(text), end + len(text)) for start, end in spans)
    # What would follow the last answer tells nothing about it and is left away.
    return Prompt(text + events[: spans[-1][1]], (), reads, asked)


def _completion_list(words: Renderer, string: Solved, shots: Sequence[Solved], asked: tuple[int, ...]) -> Prompt:
    between = words.template.completion.between
    text = words.intro
    for shot in shots:
        before, after = words.around(words.list_string, _reads(shot))
        text += before + _events(words, shot, blank=True)[0] + after.replace(ANSWER, answers(words, shot)) + between
    before, after = words.around(words.list_string, _reads(string))
    events, spans = _events(words, string, blank=True)
    blanks = tuple((-1, start + len(text + before), end + len(text + before)) for start, end in spans)
    text += before + events + after.removesuffix(ANSWER)
    return Prompt(text.rstrip(" "), (), (), asked, ("\n",), blanks)


def _chat(
    words: Renderer, elicitation: Elicitation, string: Solved, shots: Sequence[Solved], asked: tuple[int, ...]
) -> Prompt:
    messages = [Message("system", words.system)] if words.system else []
    turn = "next" if elicitation == "next" else "list"
    for number, shot in enumerate((*shots, string)):
        last = number == len(shots)
        frame = words.chat[turn if number == 0 else f"{turn}_again"]
        # For next, a shot shows its last read answered; the question stops at the read that is asked.
        until = asked[0] if last and turn == "next" else _reads(shot) - 1
        before, after = words.around(frame, until + 1)
        if turn == "next":
            events = _events(words, shot, until=until)[0]
            spans = [(len(events), len(events) + len(words.template.instructions.blank))]
            events += words.template.instructions.blank + words.read_after
            reply = words.surfaces[shot[1][shot[0] == READ][until]]
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
    for symbol in string[1][string[0] == READ]:
        text += words.template.reply.joiner if text else ""
        spans.append((len(text), len(text) + len(words.surfaces[symbol])))
        text += words.surfaces[symbol]
    return Prompt(text, tuple(messages), tuple(spans), asked, (), blanks)


def answers(words: Renderer, string: Solved) -> str:
    """The true answers of a string, as a reply would list them."""
    ops, bits = string
    return words.template.reply.joiner.join(words.surfaces[symbol] for symbol in bits[ops == READ])


def _reads(string: Solved) -> int:
    return int(np.count_nonzero(string[0] == READ))


def _events(
    words: Renderer, string: Solved, blank: bool = False, until: int | None = None
) -> tuple[str, list[tuple[int, int]]]:
    """The instructions in words, and where the answers stand. ``until`` stops before the answer of that read."""
    ops, bits = string
    separator = words.template.instructions.separator
    pieces = {WRITE: words.write, IGNORE: words.ignore}
    text: list[str] = []
    spans: list[tuple[int, int]] = []
    length = 0
    for position, (op, bit) in enumerate(zip(ops.tolist(), bits.tolist(), strict=True)):
        if position:
            text.append(separator)
            length += len(separator)
        if op != READ:
            piece = pieces[op][bit]
        elif until == len(spans):
            text.append(words.read_before)
            break
        else:
            answer = words.template.instructions.blank if blank else words.surfaces[bit]
            start = length + len(words.read_before)
            spans.append((start, start + len(answer)))
            piece = words.read_before + answer + words.read_after
        text.append(piece)
        length += len(piece)
    return "".join(text), spans
