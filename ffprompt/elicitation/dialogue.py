"""``dialogue``: the string is handed out turn by turn, and the model's own earlier replies stand as it wrote them.

Every turn with a read is one ordinary request. Of a dialogue with the turns ``w1 i0 r?`` and ``i1 r?``, whose first
reply was the wrong "0", the second request is::

    user       w1 i0 r?
    assistant  0
    user       i1 r?

Backends see these requests only. A reply that is empty cannot stand in a conversation (most chat templates and APIs
refuse an empty turn), so the template's ``silence`` stands in its place, and the log says so. Of a reply that UTF-8
cannot hold, what can be sent stands there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from ffprompt._util.files import well_formed
from ffprompt.backends.base import Backend, Failure, Message, Reply, Request, Scores, Talk
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.elicitation.base import AskOne, Elicitation, Form
from ffprompt.elicitation.question import Prompt, PromptParts, Question, Turn
from ffprompt.elicitation.wording import Span, again, answers, events, system_message
from ffprompt.errors import AuditError, RunFailedError
from ffprompt.scoring.response_records import ResponseRecord
from ffprompt.scoring.score import Judged, Reading, judge
from ffprompt.tasks.events import Bools
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer

Complete = Callable[[Sequence[Request]], Awaitable[Sequence[Reply | Failure]]]

# Calls of a condition's dialogues that are counted in an audit: of whole dialogues, and of one at least.
_COUNTED = 256


class DialogueElicitation(Elicitation):
    """All reads, in as many calls as there are turns with a read."""

    name = "dialogue"
    has_turns = True
    settings = Elicitation.settings | {"turn_instructions"}

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the first turn's texts."""
        return again("chat.dialogue", shots)

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render the turns of a string. The form is chat, whatever the parts say."""
        words, string, shots, turn_instructions = parts.words, parts.string, parts.shots, parts.turn_instructions
        self.check_wording(words, "chat", bool(shots))
        messages = system_message(words)
        blanks: list[tuple[int, int, int]] = []
        for number, shot in enumerate(shots):
            frame = "dialogue_again" if number else "dialogue"
            for text, spans, answer in _user_turns(words, shot, frame, turn_instructions):
                blanks += [(len(messages), start, end) for start, end in spans]
                messages += [Message("user", text), Message("assistant", answer or words.template.chat.ack)]
        turns: list[Turn] = []
        waiting: list[Message] = []  # of the turn that is being made
        at = len(messages)
        frame = "dialogue_again" if shots else "dialogue"
        for text, spans, answer in _user_turns(words, string, frame, turn_instructions):
            blanks += [(at + len(waiting), start, end) for start, end in spans]
            waiting.append(Message("user", text))
            if answer:
                turns.append(Turn(tuple(waiting), len(spans), answer))
                at, waiting = at + len(waiting), []
            else:  # nothing is asked, so the model is not called
                waiting.append(Message("assistant", words.template.chat.ack))
        numbers = tuple(parts.asked or self.asked(string.read_count))
        return Prompt("", tuple(messages), (), numbers, (), tuple(blanks), tuple(turns))

    def max_tokens(self, form: Form, structured: bool, count: int) -> int:
        """Return the longest reply of one turn."""
        return 64 + (16 if structured else 8) * count  # a sentence

    def counts(self, prompt: Prompt) -> tuple[int, ...]:
        """Return how many reads each turn asks."""
        return tuple(turn.reads for turn in prompt.turns)

    def calls(self, question: Question) -> Sequence[Request]:
        """Return the calls of a model that is always right. Each sends the conversation before it again."""
        replies = self.right_replies(question)
        return [request_of_turn(question, replies[:number]) for number in range(len(replies))]

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return the true reply of each turn."""
        return [turn.answer for turn in question.prompt.turns]

    def check(self, backend: Backend, questions: Sequence[Question]) -> PromptAudit:
        """Check that dialogues fit with all their replies, and count their calls and what these send.

        Tokens and characters are those of one trial's calls together, each of which sends the conversation again. They
        are counted on the first trials, with the right answers in place of the model's own.
        """
        try:
            found = backend.check([fullest(question) for question in questions])
        except AuditError as error:
            raise AuditError(f"{error}; a dialogue needs room for all its replies: lower --max-tokens") from error
        counted: list[Sequence[Request]] = []
        for question in questions:
            if not counted or sum(map(len, counted)) + len(question.prompt.turns) <= _COUNTED:
                counted.append(question.calls)
        calls = [call for of_one in counted for call in of_one]
        each = backend.check(calls)
        sums: PromptAudit = {"mean_calls": sum(len(question.prompt.turns) for question in questions) / len(questions)}
        if (tokens := each.get("mean_prompt_tokens")) is not None:
            sums["mean_prompt_tokens"] = tokens * len(calls) / len(counted)
        if (characters := each.get("mean_prompt_characters")) is not None:
            sums["mean_prompt_characters"] = characters * len(calls) / len(counted)
        return {**found, **sums}

    async def ask(
        self, ask: AskOne, question: Question, heard: Sequence[Reply], keep: Callable[[Talk], None]
    ) -> Reply | Scores | Failure | Talk:
        """Hold one dialogue."""
        return await converse(ask, Dialogue(question, heard), keep)

    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        """Hold many dialogues, turn by turn.

        Raises:
            AuditError: where one may grow too long.
        """
        backend.check([fullest(question) for question in questions])  # so that none breaks off when it is too long
        dialogues = [Dialogue(question, replies) for question, replies in zip(questions, heard, strict=True)]
        return await converse_together(backend.complete, dialogues)

    def judge(self, response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
        """Return the outcomes: each reply answers for the reads of its own turn."""
        return judge(response, truth, reading)


class Dialogue:
    """One dialogue under way. ``heard`` are the replies to its first turns that are there already."""

    def __init__(self, question: Question, heard: Sequence[Reply] = ()) -> None:
        self.question = question
        self.turns = question.prompt.turns
        self.replies = list(heard)
        self.failure: Failure | None = None

    @property
    def request(self) -> Request | None:
        """The request of the turn that is to be asked now. None when the dialogue is over or a call failed."""
        if self.failure is not None or len(self.replies) == len(self.turns):
            return None
        return request_of_turn(self.question, [self._shown(reply) for reply in self.replies])

    def hear(self, response: Reply | Failure) -> None:
        """Take the answer to the request."""
        if isinstance(response, Failure):
            self.failure = response
        else:
            self.replies.append(response)

    def talk(self) -> Talk:
        """Return the dialogue as far as it has come."""
        reads = tuple(turn.reads for turn in self.turns[: len(self.replies)])
        shown = tuple(self._shown(reply) for reply in self.replies)
        return Talk(tuple(self.replies), reads, shown, self.failure)

    def _shown(self, reply: Reply) -> str:
        return well_formed(reply.text) if reply.text.strip() else self.question.silence


async def converse(ask: AskOne, dialogue: Dialogue, keep: Callable[[Talk], None]) -> Talk:
    """Hold one dialogue, over a function that answers one request.

    ``keep`` is handed the dialogue after every reply but the last, so that what is answered can be written down.

    Raises:
        RunFailedError: where the backend scored a request that it was to answer.
    """
    while (request := dialogue.request) is not None:
        response = await ask(request)
        if isinstance(response, Scores):
            raise RunFailedError(f"trial {request.key}: the backend scored what it was to answer")
        dialogue.hear(response)
        if dialogue.request is not None:
            keep(dialogue.talk())
    return dialogue.talk()


async def converse_together(complete: Complete, dialogues: Sequence[Dialogue]) -> list[Talk]:
    """Hold many dialogues, over a function that answers many requests: one turn of all that go on with each call.

    Raises:
        RunFailedError: where the backend answered more or fewer requests than it was handed.
    """
    while going := [(one, request) for one in dialogues if (request := one.request) is not None]:
        responses = await complete([request for _, request in going])
        if len(responses) != len(going):
            raise RunFailedError(f"the backend gave {len(responses)} answers to {len(going)} requests")
        for (one, _), response in zip(going, responses, strict=True):
            one.hear(response)
    return [one.talk() for one in dialogues]


def fullest(question: Question) -> Request:
    """Return a request that needs at least the room of any call of a dialogue, however long the replies are.

    It holds all turns, answered, and asks for as many tokens as all replies together may have.
    """
    replies = [max(turn.answer, question.silence, key=len) for turn in question.prompt.turns]
    last = request_of_turn(question, replies[:-1])
    return Request(question.key, "", last.messages, max_tokens=sum(question.limits))


def request_of_turn(question: Question, replies: Sequence[str]) -> Request:
    """Return the request of the turn that comes after these replies."""
    messages = list(question.prompt.messages)
    for turn, reply in zip(question.prompt.turns, replies, strict=False):
        messages += [*turn.messages, Message("assistant", reply)]
    number = len(replies)
    return question.call((*messages, *question.prompt.turns[number].messages), number)


def chunks(is_read: Bools, size: int | None) -> list[tuple[int, int]]:
    """Return (first, last + 1) of the instructions of each turn. Nothing is said after the last read.

    >>> import numpy as np
    >>> is_read = np.array([False, True, False, False, True, True])
    >>> chunks(is_read, None), chunks(is_read, 4)
    ([(0, 2), (2, 5), (5, 6)], [(0, 4), (4, 6)])
    """
    reads = np.flatnonzero(is_read)
    end = int(reads[-1]) + 1
    stops = (reads + 1).tolist() if size is None else [*range(size, end, size), end]
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _user_turns(words: Renderer, string: String, frame: str, size: int | None) -> Iterator[tuple[str, list[Span], str]]:
    """Yield (text, where blanks stand in it, true reply) of each user turn. ``frame`` is the first one's key."""
    for first, last in chunks(string.is_read, size):
        part = string[first:last]
        before, after = words.around(words.frame(f"chat.{'turn' if first else frame}"), part.read_count)
        text, spans = events(words, part, blank=True)
        shifted = [(start + len(before), end + len(before)) for start, end in spans]
        yield before + text + after, shifted, answers(words, part)


DIALOGUE = DialogueElicitation()
