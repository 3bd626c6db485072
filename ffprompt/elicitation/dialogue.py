"""Hold a dialogue: one ordinary request a turn, in which the model's own earlier replies stand as it wrote them.

Of a dialogue with the turns ``w1 i0 r?`` and ``i1 r?``, whose first reply was the wrong "0", the second request is::

    user       w1 i0 r?
    assistant  0
    user       i1 r?

Backends see these requests only. A reply that is empty cannot stand in a conversation (most chat templates and APIs
refuse an empty turn), so the request's ``silence`` stands in its place, and the log says so. Of a reply that UTF-8
cannot hold, what can be sent stands there.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable, Sequence

from ffprompt._util.files import well_formed
from ffprompt.backends.base import Failure, Message, Reply, Request, Scores, Talk
from ffprompt.errors import RunFailedError

Ask = Callable[[Request], Awaitable[Reply | Scores | Failure]]
Complete = Callable[[Sequence[Request]], Awaitable[Sequence[Reply | Failure]]]


class Dialogue:
    """One dialogue under way. ``heard`` are the replies to its first turns that are there already."""

    def __init__(self, request: Request, heard: Sequence[Reply] = ()) -> None:
        self.request = request
        self.replies = list(heard)
        self.failure: Failure | None = None

    @property
    def question(self) -> Request | None:
        """What is to be asked now; None when the dialogue is over, or a call of it failed."""
        number = len(self.replies)
        if self.failure is not None or number == len(self.request.turns):
            return None
        return _question(self.request, [self._shown(reply) for reply in self.replies])

    def hear(self, response: Reply | Failure) -> None:
        """Take the answer to the question."""
        if isinstance(response, Failure):
            self.failure = response
        else:
            self.replies.append(response)

    def talk(self) -> Talk:
        """The dialogue as far as it has come."""
        reads = tuple(turn.reads for turn in self.request.turns[: len(self.replies)])
        shown = tuple(self._shown(reply) for reply in self.replies)
        return Talk(tuple(self.replies), reads, shown, self.failure)

    def _shown(self, reply: Reply) -> str:
        return well_formed(reply.text) if reply.text.strip() else self.request.silence


async def converse(ask: Ask, dialogue: Dialogue, keep: Callable[[Talk], None]) -> Talk:
    """Hold one dialogue, over a function that answers one request.

    ``keep`` is handed the dialogue after every reply but the last, so that what is answered can be written down.
    """
    while (question := dialogue.question) is not None:
        response = await ask(question)
        if isinstance(response, Scores):
            raise RunFailedError(f"trial {question.key}: the backend scored what it was to answer")
        dialogue.hear(response)
        if dialogue.question is not None:
            keep(dialogue.talk())
    return dialogue.talk()


async def converse_together(complete: Complete, dialogues: Sequence[Dialogue]) -> list[Talk]:
    """Hold many dialogues, over a function that answers many requests: one turn of all that go on with each call."""
    while going := [(one, question) for one in dialogues if (question := one.question) is not None]:
        responses = await complete([question for _, question in going])
        if len(responses) != len(going):
            raise RunFailedError(f"the backend gave {len(responses)} answers to {len(going)} requests")
        for (one, _), response in zip(going, responses, strict=True):
            one.hear(response)
    return [one.talk() for one in dialogues]


def calls_of(request: Request) -> Sequence[Request]:
    """Every call that a request makes, with the right answers standing for the model's own; itself, if no dialogue.

    What a dialogue costs can be counted on them: each call sends the conversation before it again.
    """
    if not request.turns:
        return [request]
    answers = [turn.answer for turn in request.turns]
    return [_question(request, answers[:number]) for number in range(len(answers))]


def fullest(request: Request) -> Request:
    """A request that needs at least the room of any call of this dialogue, however long the model's replies are.

    It holds all turns, answered, and asks for as many tokens as all replies together may have.
    """
    answers = [max(turn.answer, request.silence, key=len) for turn in request.turns]
    last = _question(request, answers[:-1])
    return Request(request.key, "", last.messages, max_tokens=sum(turn.max_tokens for turn in request.turns))


def _question(request: Request, replies: Sequence[str]) -> Request:
    """The request of the turn that comes after these replies."""
    messages = list(request.messages)
    for turn, reply in zip(request.turns, replies, strict=False):
        messages += [*turn.messages, Message("assistant", reply)]
    number = len(replies)
    turn = request.turns[number]
    first = sum(earlier.reads for earlier in request.turns[:number])
    key = f"{request.key}/turn-{number}"
    return Request(
        key=key,
        text="",
        messages=(*messages, *turn.messages),
        surfaces=request.surfaces,
        max_tokens=turn.max_tokens,
        temperature=request.temperature,
        seed=int.from_bytes(hashlib.sha256(f"{request.seed}/{number}".encode()).digest()[:8]),
        hints={name: answers[first : first + turn.reads] for name, answers in request.hints.items()},
        schema=request.schema and dataclasses.replace(request.schema, count=turn.reads),
    )
