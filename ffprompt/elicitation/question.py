"""A question: one trial of a run, which is asked in one call or in several.

A plan makes questions, and a question makes the requests that a backend is sent. What would be right stands in the
question. A request holds none of it but the hints of a scripted model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ffprompt.backends.base import AnswerSchema, Message, Request
from ffprompt.elicitation.base import Form
from ffprompt.elicitation.condition import Condition
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer


@dataclass(frozen=True, slots=True)
class PromptParts:
    """What a prompt is made of.

    Attributes:
        words: The template.
        form: Whether it is one text or messages.
        string: The string that is asked.
        shots: Solved strings before it.
        asked: The numbers, from 0, of the reads that are asked. Empty: as the elicitation says.
        turn_instructions: Instructions a turn. None: all up to the next read.
        number: The number of the string in its language.
    """

    words: Renderer
    form: Form
    string: String
    shots: Sequence[String] = ()
    asked: Sequence[int] = ()
    turn_instructions: int | None = None
    number: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a dialogue: what is said since the model's last reply, and what is asked of it now.

    ``messages`` are one or more and the last is the user's. ``reads`` is how many answers the reply is to hold.
    ``answer`` is the reply that would be right. No model is sent it: it stands in where a dialogue is checked or
    counted before it is held.
    """

    messages: tuple[Message, ...]
    reads: int
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model will see. ``text`` and ``messages`` as in Request.

    ``reads`` are the (start, end) characters of the answers in ``text`` that are to be scored. ``asked`` are the
    numbers (from 0) of the reads that the model is asked, in order. ``stop`` are texts at which a completion may end.
    """

    text: str
    messages: tuple[Message, ...]
    reads: tuple[tuple[int, int], ...]
    asked: tuple[int, ...]
    stop: tuple[str, ...] = ()
    blanks: tuple[tuple[int, int, int], ...] = ()  # (message, start, end) of what the model fills in. -1: ``text``
    turns: tuple[Turn, ...] = ()  # what is said and asked after ``messages``. ``blanks`` counts on
    frame: tuple[str | int, ...] = ()  # of a reply that is more than a list of answers, as in Request
    states: tuple[int, ...] = ()  # the true answers to fill in there


@dataclass(frozen=True, slots=True)
class Question:
    """One trial: a prompt of a condition, with what would be right.

    ``key`` names the trial. ``limits`` are the longest replies in tokens, one for each call. ``counts`` are the
    answers that each call is asked for. ``silence`` stands in a conversation where the model's own reply was empty.
    """

    condition: Condition
    key: str
    prompt: Prompt
    truth: tuple[int, ...]  # the symbols that answer the asked reads
    surfaces: tuple[str, ...]  # how each data symbol is written, in symbol order
    counts: tuple[int, ...]
    limits: tuple[int, ...]
    temperature: float | None = 0.0  # None: the model's own
    silence: str = ""
    hints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # what rules would answer, for scripted models

    @property
    def seed(self) -> int:
        """The seed of the replies, which belongs to this trial alone."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8])

    @property
    def is_chat(self) -> bool:
        """Whether it is asked by messages."""
        return bool(self.prompt.messages or self.prompt.turns)

    @property
    def request(self) -> Request:
        """The call that asks it, for a question that takes one."""
        return self.call(self.prompt.messages, text=self.prompt.text)

    @property
    def calls(self) -> Sequence[Request]:
        """Every call that it makes, with the right answers in place of the model's own."""
        return self.condition.elicitation.calls(self)

    @property
    def right_replies(self) -> Sequence[str]:
        """What a model that is always right writes in each call. "" where that is not counted."""
        return self.condition.elicitation.right_replies(self)

    def reply(self, answers: Sequence[int]) -> str:
        """Return a reply with these answers, in a prompt that has a frame for it."""
        pieces = (piece if isinstance(piece, str) else self.surfaces[answers[piece]] for piece in self.prompt.frame)
        return "".join(pieces)

    def call(self, messages: tuple[Message, ...], turn: int = 0, text: str = "") -> Request:
        """Return the request of one call: its messages and text, and the number of its turn from 0."""
        first, count = sum(self.counts[:turn]), self.counts[turn]
        part = slice(first, first + count if not self.prompt.frame else None)
        in_turns = self.condition.elicitation.has_turns
        key = f"{self.key}/turn-{turn}" if in_turns else self.key
        seed = int.from_bytes(hashlib.sha256(f"{self.seed}/{turn}".encode()).digest()[:8]) if in_turns else self.seed
        return Request(
            key=key,
            text=text,
            messages=messages,
            reads=self.prompt.reads,
            surfaces=self.surfaces,
            max_tokens=self.limits[turn],
            temperature=self.temperature,
            seed=seed,
            stop=self.prompt.stop,
            hints={name: answers[part] for name, answers in self.hints.items()},
            frame=self.prompt.frame,
            schema=AnswerSchema(self.surfaces, count) if self.condition.structured else None,
        )
