"""What an elicitation is, and the elicitations there are, by name.

An elicitation is a way of asking the reads of a string. Everything that depends on it is said by one object: which
reads are asked, what the prompt looks like, how a model is asked and how its response is scored. All other code asks
the object and never looks at its name.

This module names types alone and stands below the settings, which need the names. The modules of the elicitations
stand above scoring, and are imported when one of them is looked up.

A new elicitation is a module with one object and a line in ``_BUNDLED``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from pkgutil import resolve_name
from typing import TYPE_CHECKING, ClassVar, Literal

from ffprompt.errors import ConfigError, ModelError, TemplateError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend, Capabilities, Failure, Reply, Request, Scores, Talk
    from ffprompt.backends.prompt_audit import PromptAudit
    from ffprompt.config.run_config import RunConfig
    from ffprompt.elicitation.question import Prompt, PromptParts, Question
    from ffprompt.scoring.parse_trace import Steps
    from ffprompt.scoring.response_records import ResponseRecord
    from ffprompt.scoring.score import Judged, Reading
    from ffprompt.tasks.strings import String
    from ffprompt.templates.renderer import Renderer

Form = Literal["completion", "chat"]
AskOne = Callable[["Request"], Awaitable["Reply | Scores | Failure"]]

# Where the object of each bundled elicitation stands.
_BUNDLED = {
    "forced": "ffprompt.elicitation.forced:FORCED",
    "next": "ffprompt.elicitation.next_read:NEXT",
    "list": "ffprompt.elicitation.list_reads:LIST",
    "dialogue": "ffprompt.elicitation.dialogue:DIALOGUE",
    "trace": "ffprompt.elicitation.trace:TRACE",
    "verify": "ffprompt.elicitation.verify:VERIFY",
    "verify-reply": "ffprompt.elicitation.verify:VERIFY_REPLY",
    "prior": "ffprompt.elicitation.prior:PRIOR",
}
_REGISTERED: dict[str, Elicitation] = {}


class Elicitation(ABC):
    """One way of asking reads. The attributes are what other code may decide by."""

    name: ClassVar[str]
    # The model writes nothing: given answers are scored by their log-probabilities.
    scored_by_logprobs: ClassVar[bool] = False
    # The string is handed out turn by turn, and each turn is a call of its own.
    has_turns: ClassVar[bool] = False
    # One read of each string is asked, and not all of them.
    asks_one_read: ClassVar[bool] = False
    # The true answers to earlier reads stand before a read, where a rule could copy them.
    sees_answers: ClassVar[bool] = False
    # Messages are used with a model that can both answer messages and continue a text.
    prefers_chat: ClassVar[bool] = False
    # The model writes what a read would answer after every event, and not at the reads alone.
    writes_every_answer: ClassVar[bool] = False
    # The model answers reads of the string as it stands. Where it does not, outcomes say nothing of its memory alone.
    answers_reads: ClassVar[bool] = True
    # All values are blanked, so that the answer is what the words around them suggest.
    blanks: ClassVar[bool] = False
    # Settings that change what is asked or answered here, of those that not every elicitation has.
    settings: ClassVar[frozenset[str]] = frozenset({"temperature", "max_tokens", "answers"})

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<elicitation {self.name}>"

    @property
    def batchable(self) -> bool:
        """Whether a provider's batch can ask it: all calls must be known beforehand."""
        return not self.has_turns

    @property
    def takes_schema(self) -> bool:
        """Whether a reply can be held to a schema."""
        return not self.scored_by_logprobs

    def form(self, config: RunConfig, can: Capabilities) -> Form:
        """Return the form of the prompt with this model.

        Raises:
            ConfigError: where the settings ask for a schema that cannot be had.
            ModelError: where the model cannot be asked in this way.
        """
        if self.scored_by_logprobs and not can.scores:
            raise ModelError(
                f"{config.backend} model {config.model} gives no log-probabilities, which {self.name} needs"
                f"{f' ({can.unscored})' if can.unscored else ''}; {use_replies()}"
            )
        if config.answers == "schema":
            self._check_schema(config, can)
        if self.has_turns:
            if not can.chats:
                raise ModelError(
                    f"{config.backend} model {config.model} answers no messages (no chat template), which {self.name} "
                    "needs"
                )
            return "chat"
        form: Form
        if config.form != "auto":
            form = config.form
        else:
            chat = self.prefers_chat or config.answers == "schema" or not can.completes
            form = "chat" if can.chats and chat else "completion"
        if form == "chat" and not can.chats:
            raise ModelError(f"{config.backend} model {config.model} has no chat template; use --form completion")
        if form == "completion" and not can.completes:
            raise ModelError(f"{config.backend} model {config.model} answers messages only; use --form chat")
        return form

    def _check_schema(self, config: RunConfig, can: Capabilities) -> None:
        if not self.takes_schema:
            why = "scores given answers and has no reply" if self.scored_by_logprobs else "writes more than its answers"
            raise ConfigError(f"--answers schema: {self.name} {why}; {use_replies(schema=True)}")
        if config.form == "completion" or not can.chats:
            why = "--form completion" if config.form == "completion" else f"{config.model} answers no messages, and it"
            raise ConfigError(f"--answers schema: {why} continues a text; use --form chat and a chat model")
        if not can.schemas:
            raise ModelError(
                f"--answers schema: {config.backend} model {config.model} cannot be held to a schema here; "
                "leave --answers out"
            )

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the texts of a template that it needs, such as ``chat.list``.

        Args:
            form: The form of the prompt.
            shots: Whether solved strings are shown before the question.
        """
        return ()

    def check_wording(self, words: Renderer, form: Form, shots: bool) -> None:
        """Raise TemplateError for a template that lacks a text that this elicitation needs."""
        if missing := [key for key in self.texts(form, shots) if not words.has(key)]:
            raise TemplateError(
                f"template {words.template.name!r} has no {' and no '.join(missing)}, which {self.name} in {form} form "
                f"needs{' with shots' if shots else ''}; add {'it' if len(missing) == 1 else 'them'} or use another "
                "--elicitation"
            )

    def asked(self, count: int, which: str = "last", digest: str = "0") -> tuple[int, ...]:
        """Return the numbers, from 0, of the reads that are asked of a string with ``count`` of them.

        ``which`` is the setting ``next_read``, and ``digest`` is the string's, which stands for a draw.
        """
        return tuple(range(count))

    def proposed(self, string: String, read: int, number: int) -> int | None:
        """Return the answer that is shown to be judged, at a read of the string with a number. None without one."""
        return None

    def surfaces(self, words: Renderer, string: String, asked: Sequence[int], number: int) -> tuple[str, ...]:
        """Return how each answer is written in a reply about the string with a number."""
        return words.surfaces

    @abstractmethod
    def prompt(self, parts: PromptParts) -> Prompt:
        """Render one string with its shots.

        Raises:
            TemplateError: where the template has no wording for it.
        """

    def max_tokens(self, form: Form, structured: bool, count: int) -> int:
        """Return the longest reply, in tokens, that ``count`` answers may need. ``structured``: the reply is JSON."""
        each = 16 if structured else 8  # JSON may write a name beside each answer
        if form == "chat":
            return 256 + each * count  # room for a sentence around the list, and some to spare a token an answer
        return 16 + 8 * count

    def trace_tokens(self, words: Renderer, events: int) -> int:
        """Return the tokens, beside those for the answers, that a reply may need for a string of so many events."""
        return 0

    def steps(self, words: Renderer, string: String, asked: Sequence[int]) -> Steps | None:
        """Return what the lines of a trace are about. None where no trace is written."""
        return None

    def counts(self, prompt: Prompt) -> tuple[int, ...]:
        """Return how many reads each response to a prompt answers."""
        return (len(prompt.asked),)

    def calls(self, question: Question) -> Sequence[Request]:
        """Return every call that a question makes, with the right answers in place of the model's own.

        What a question costs can be counted on them.
        """
        return [question.request]

    @abstractmethod
    def right_replies(self, question: Question) -> Sequence[str]:
        """Return what a model that is always right writes in each call. "" where that is not counted."""

    def check(self, backend: Backend, questions: Sequence[Question]) -> PromptAudit:
        """Audit questions before anything is asked, and return what was found. Raises AuditError."""
        return backend.check([question.request for question in questions])

    async def ask(
        self, ask: AskOne, question: Question, heard: Sequence[Reply], keep: Callable[[Talk], None]
    ) -> Reply | Scores | Failure | Talk:
        """Ask one question over a function that answers one request.

        ``heard`` are the replies to its first turns that are there already. ``keep`` is handed an answer that more
        are to follow.
        """
        return await ask(question.request)

    @abstractmethod
    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        """Ask many questions of a backend that batches them. ``heard`` is as for :meth:`ask`, for each question."""

    @abstractmethod
    def judge(self, response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
        """Return the outcomes of one trial from its response as the log keeps it."""


def elicitation_names() -> tuple[str, ...]:
    """Return the names of all elicitations: those that come with the package, then those that were registered."""
    return (*_BUNDLED, *(name for name in _REGISTERED if name not in _BUNDLED))


def use_replies(schema: bool = False) -> str:
    """Return the hint for a model that cannot be scored: ``use --elicitation next, list or …``.

    With ``schema`` only those whose replies can be held to one are named.
    """
    every = [find_elicitation(name) for name in elicitation_names()]
    written = [one for one in every if not one.scored_by_logprobs and one.answers_reads]
    *names, last = [one.name for one in written if one.takes_schema or not schema]
    return f"use --elicitation {', '.join(names)} or {last}" if names else f"use --elicitation {last}"


def find_elicitation(name: str) -> Elicitation:
    """Return an elicitation by its name.

    Raises:
        ConfigError: for an unknown name.
    """
    if name not in _REGISTERED:
        if name not in _BUNDLED:
            raise ConfigError(f"elicitation {name!r} is unknown{did_you_mean(name, elicitation_names())}")
        _REGISTERED[name] = resolve_name(_BUNDLED[name])
    return _REGISTERED[name]


def register(elicitation: Elicitation) -> None:
    """Add an elicitation to those that a run can name, in place of one of the same name."""
    _REGISTERED[elicitation.name] = elicitation
