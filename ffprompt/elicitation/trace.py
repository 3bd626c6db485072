"""``trace``: the model writes down the state after every event, and then the answers.

All reads are left blank, as in ``list``, but the model may keep the state on paper::

    user       w1 i0 r? i1 r?
    assistant  1. w1 -> 1
               2. i0 -> 1
               3. r? -> 1
               4. i1 -> 1
               5. r? -> 1
               Answers: 1, 1

The line about a read is its answer. The answers at the end are read too: a model that contradicts its own trace there
is counted, and scored on its trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ffprompt.elicitation.base import Form, use_replies
from ffprompt.elicitation.list_reads import LIST
from ffprompt.elicitation.question import Prompt, PromptParts, Question
from ffprompt.elicitation.replies import ReplyElicitation
from ffprompt.elicitation.wording import Exchange, conversation, events
from ffprompt.errors import TemplateError
from ffprompt.scoring.parse_trace import Steps
from ffprompt.tasks.strings import String, Strings
from ffprompt.templates.frame import ANSWER
from ffprompt.templates.renderer import Renderer

ARROW = " -> "
CLOSING = "Answers: "
_MOST_NAMED = 8  # answers that are named to a chat model
# What a chat model is told where its template has no wording of its own: the list of the answers is asked for first.
_HOW = (
    "\n\nDo not reply at once: work it out step by step. For each of the {events} items above, in order, write one "
    'numbered line: its number, the item, "->" and the answer that would be right at that point{answers}, also where '
    'nothing is missing. Then write a last line that begins with "Answers:" and holds the answers.'
)
_HOW_AGAIN = '\n\nAgain, write a numbered line for each of the {events} items first, and then the line "Answers:".'


@dataclass(frozen=True, slots=True)
class _Solved:
    """How the trace of a string is worded around its states, and what they truly are."""

    frame: tuple[str | int, ...]
    states: tuple[int, ...]


class Trace(ReplyElicitation):
    """All reads, in a reply that says what a read would answer after every event."""

    name = "trace"
    prefers_chat = True
    writes_every_answer = True
    settings = frozenset({"temperature", "max_tokens"})

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a schema, which is one of a list of answers."""
        return False

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the texts that it needs, where the template words no traces itself."""
        return LIST.texts(form, shots)

    def check_wording(self, words: Renderer, form: Form, shots: bool) -> None:
        """Raise TemplateError for a template that lacks a text, and for a task in which no one answer is the state."""
        if form == "chat" and words.has("chat.trace"):
            if shots and not words.has("chat.trace_again"):
                raise TemplateError(
                    f"template {words.template.name!r} has chat.trace and no chat.trace_again, which trace needs with "
                    "shots; add it"
                )
        else:
            super().check_wording(words, form, shots)

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string with all reads left blank, after shots whose traces are written out.

        Raises:
            TemplateError: for a task in which no one answer is the state.
        """
        asked = tuple(parts.asked or self.asked(parts.string.read_count))
        prompt = (_chat if parts.form == "chat" else _completion)(parts.words, parts.string, parts.shots)
        return replace(prompt, asked=asked)

    def trace_tokens(self, words: Renderer, events: int) -> int:
        """Return the tokens that a line for each event may need: one for two bytes, and some for its number."""
        longest = max(len(piece.encode()) for pieces in words.pieces for piece in pieces)
        longest += max(len(surface.encode()) for surface in words.surfaces)
        return 32 + events * (8 + longest // 2)

    def steps(self, words: Renderer, string: String, asked: Sequence[int]) -> Steps:
        """Return what the lines of a trace are about."""
        closing = CLOSING.strip(), _after(words, string)[0].strip()
        reads = np.flatnonzero(string.is_read)[list(asked)].tolist()
        return replace(_known(words), items=_bare_items(words, string), asked=tuple(reads), closings=closing)

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return the true trace and the true answers."""
        return [question.reply(question.prompt.states)]


def _chat(words: Renderer, string: String, shots: Sequence[String]) -> Prompt:
    exchanges, solved = [], []
    for one in (*shots, string):
        text, spans = events(words, one, blank=True)
        made = _solved(words, one, CLOSING)
        solved.append(made)
        exchanges.append(Exchange(text, spans, one.read_count, _filled(words, made)))
    own = words.has("chat.trace")
    messages, blanks = conversation(words, "trace" if own else "list", exchanges)
    if not own:
        asking = [number for number, message in enumerate(messages) if message.role == "user"]
        texts = [message.text for message in messages]
        for turn, (number, one) in enumerate(zip(asking, (*shots, string), strict=True)):
            texts[number] += (_HOW_AGAIN if turn else _HOW).format(events=len(one.events), answers=_named(words))
        messages = tuple(replace(message, text=text) for message, text in zip(messages, texts, strict=True))
    return Prompt("", messages, (), (), (), tuple(blanks), (), solved[-1].frame, solved[-1].states)


def _named(words: Renderer) -> str:
    return f" ({' or '.join(words.surfaces)})" if len(words.surfaces) <= _MOST_NAMED else ""


def _completion(words: Renderer, string: String, shots: Sequence[String]) -> Prompt:
    heading = "\n" + words.template.completion.steps
    between = words.template.completion.between
    text = words.intro
    for shot in shots:
        before, _ = words.around(words.frame("completion.list_string"), shot.read_count)
        closing, end = _after(words, shot)
        text += before + events(words, shot, blank=True)[0] + heading + "\n"
        text += _filled(words, _solved(words, shot, closing)) + end + between
    before, _ = words.around(words.frame("completion.list_string"), string.read_count)
    text += before
    blank_events, spans = events(words, string, blank=True)
    blanks = [(-1, start + len(text), end + len(text)) for start, end in spans]
    solved = _solved(words, string, _after(words, string)[0])
    # The text that stands between two strings ends the answers, unless it stands between two lines as well.
    stop = (between,) if between.strip("\n") or between.count("\n") > 1 else ()
    frame = ("\n", *solved.frame)
    return Prompt(text + blank_events + heading, (), (), (), stop, tuple(blanks), (), frame, solved.states)


def _after(words: Renderer, string: String) -> tuple[str, str]:
    """What a completion says before its list of answers, on a line of its own, and after it."""
    _, after = words.around(words.frame("completion.list_string"), string.read_count)
    closing, end = after.split(ANSWER)
    return closing.lstrip("\n"), end


def _solved(words: Renderer, string: String, closing: str) -> _Solved:
    states = _states(words, string)
    frame: list[str | int] = []
    for place, item in enumerate(_items(words, string)):
        frame += [f"{place + 1}. {item}{ARROW}", place, "\n"]
    frame.append(closing)
    for number, place in enumerate(np.flatnonzero(string.is_read).tolist()):
        frame += [words.template.reply.joiner, place] if number else [place]
    return _Solved(tuple(frame), states)


def _filled(words: Renderer, solved: _Solved) -> str:
    pieces = (piece if isinstance(piece, str) else words.surfaces[solved.states[piece]] for piece in solved.frame)
    return "".join(pieces)


def _states(words: Renderer, string: String) -> tuple[int, ...]:
    """The true state after every event, as the answer to a read there."""
    one = Strings(
        words.task, string.events[None], string.arguments[None], string.answers[None], symbols=len(words.surfaces)
    )
    states = words.task.answers_everywhere(one)
    if states is None:
        raise TemplateError(
            f"template {words.template.name!r}: the reads of task {words.task.name} ask for different things, so no "
            f"one answer is its state and trace cannot be asked; {use_replies(schema=True)}"
        )
    return tuple(states[0].tolist())


def _items(words: Renderer, string: String) -> list[str]:
    """Each event in words, reads left blank, on one line."""
    texts = (events(words, string[place : place + 1], blank=True)[0] for place in range(len(string.events)))
    return [" ".join(text.split("\n")) for text in texts]


def _bare_items(words: Renderer, string: String) -> tuple[str, ...]:
    return Steps.of(_items(words, string), ()).items


@lru_cache(256)
def _known(words: Renderer) -> Steps:
    """What the lines of any string in these words may be about."""
    solved = {words.read_before + surface + words.read_after: answer for answer, surface in enumerate(words.surfaces)}
    blank = words.read_before + words.template.instructions.blank + words.read_after
    texts = [piece for pieces in words.pieces for piece in pieces]
    return Steps.of((), (), [*texts, *solved, blank], solved)


TRACE = Trace()
