"""What a backend is asked and what it answers. Backends know these types and nothing of flip-flop strings."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ffprompt.cost.usage import Bound

if TYPE_CHECKING:
    from ffprompt.backends.identity import Identity
    from ffprompt.backends.prompt_audit import PromptAudit
    from ffprompt.cost.prices import Allowance

# What stands in an identity where a model decides by itself: its temperature, whether it thinks.
OWN = "the model's own"
Role = Literal["system", "user", "assistant"]
Stop = Literal["stop", "length", "refusal"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """What a structured reply must be: ``count`` answers, each one of ``values``. It holds nothing of the truth."""

    values: tuple[str, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Request:
    """One call to a model. It holds nothing of the truth but ``hints``, which only a scripted model is given.

    Completion form: ``messages`` is empty and ``text`` is the prompt. Chat form: ``messages`` are the turns, ``text``
    is the beginning of the assistant's next turn (empty where the model is to write it).

    ``reads`` holds the (start, end) characters in ``text`` of every answer that is to be scored. ``surfaces`` is how
    each data symbol is written there, in symbol order. ``key`` names the trial. ``seed`` belongs to this request alone,
    so that a sampled reply does not depend on what it was batched with.
    """

    key: str
    text: str
    messages: tuple[Message, ...] = ()
    reads: tuple[tuple[int, int], ...] = ()
    surfaces: tuple[str, ...] = ()
    max_tokens: int = 16
    temperature: float | None = 0.0  # None: the model's own
    seed: int = 0
    stop: tuple[str, ...] = ()
    hints: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # what rules would answer; scripted models only
    schema: AnswerSchema | None = None  # the reply is to be JSON of this form
    frame: tuple[str | int, ...] = ()  # how a scripted model words its reply: texts, and places of answers in ``hints``

    @property
    def is_chat(self) -> bool:
        """Whether this is the chat form."""
        return bool(self.messages)


def without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return a conversation for a model without a system role: that text begins the user turn that follows it.

    >>> without_system([Message("system", "Answer 0 or 1."), Message("user", "w1 r?")])
    (Message(role='user', text='Answer 0 or 1.\\n\\nw1 r?'),)
    """
    kept: list[Message] = []
    waiting: list[str] = []
    for message in messages:
        if message.role == "system":
            waiting.append(message.text)
        elif message.role == "user":
            kept.append(Message("user", "\n\n".join([*waiting, message.text])))
            waiting = []
        else:
            kept.append(message)
    return (*kept, Message("user", "\n\n".join(waiting))) if waiting else tuple(kept)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model wrote. A refusal or a cut-off is a Reply. A call that failed is a Failure."""

    text: str
    stop: Stop
    served_model: str | None = None  # what the provider says it ran, not what was asked for
    prompt_tokens: int | None = None
    reply_tokens: int | None = None
    ended: str | None = None  # why the reply ended, in the words of whoever wrote it
    reasoning: str | None = None  # what the model thought, where that came apart from the reply
    device: str | None = None  # what it was computed on, where a run has replicas on several machines


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities of every answer at every read of one request, from one forward pass.

    ``answers`` (reads, symbols), natural logarithm over the whole vocabulary. ``argmax`` (reads,) the token the model
    ranks first among all. ``argmax_symbol`` (reads,) the symbol that this token is, or -1 when it is no answer.
    ``bounds`` are the (read, symbol) places in ``answers`` that hold only what the log-probability is at most, because
    a server shows no more. At such a read another answer is known to be more probable.
    """

    answers: NDArray[np.float64]
    argmax: NDArray[np.int64]
    argmax_symbol: NDArray[np.int64]
    prompt_tokens: int | None = None
    bounds: tuple[tuple[int, int], ...] = ()
    reply_tokens: int | None = 0  # some servers write a token before they give the prompt's
    device: str | None = None  # what it was computed on, where a run has replicas on several machines


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that brought no answer. Its reads have the outcome ``error`` and are asked again on resume."""

    error: str


@dataclass(frozen=True, slots=True)
class Talk:
    """A dialogue as far as it went. ``failure`` is the call that ended it early. Its turn has no reply.

    For every reply, ``reads`` is how many answers it was to hold and ``shown`` what stands for it in the conversation:
    its text, word for word, or what takes the place of an empty one.
    """

    replies: tuple[Reply, ...]
    reads: tuple[int, ...]
    shown: tuple[str, ...]
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend with this model can do."""

    scores: bool  # log-probabilities of given answers: ``forced``
    completes: bool  # continues a text
    chats: bool  # answers messages
    unscored: str = ""  # why it does not score, where that was found out
    schemas: bool = False  # can be held to a schema: ``--answers schema``
    wants_hints: bool = False  # a scripted model, which is told what the rules it plays would answer


class Backend(Protocol):
    """An open model.

    ``chunk`` is the best number of requests to hand over together. A resumed run hands over the same trials together
    again, so that batching cannot change a number.
    """

    capabilities: Capabilities
    chunk: int

    @property
    def identity(self) -> Identity:
        """Everything about the model that belongs in the record of a run."""
        ...

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Audit requests before anything is asked: their tokens, whether they fit into the context.

        Returns:
            What was found, for the record of the run.

        Raises:
            AuditError: a request cannot be asked as it stands.
        """
        ...

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Score the answers of every request, in order."""
        ...

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Let the model write, in order. Refusals and cut-offs are Replies, never exceptions, never made-up text."""
        ...

    def close(self) -> None:
        """Free what the backend holds."""
        ...


@runtime_checkable
class Renders(Backend, Protocol):
    """A backend that turns messages into the text that its model is given."""

    def rendered(self, request: Request) -> str:
        """Return what the model is given for a request, from its first character to where its reply begins."""
        ...


@runtime_checkable
class Replicated(Backend, Protocol):
    """A backend of several replicas, which is handed ``at_once`` chunks at a time. Their number may change."""

    @property
    def at_once(self) -> int:
        """Return how many chunks keep all replicas busy."""
        ...


@runtime_checkable
class RemoteBackend(Backend, Protocol):
    """A model behind an API, which is sent single requests, up to ``in_flight`` of them at once.

    ``thinks``: the model reasons before it replies, or may, so the length of a reply cannot be known beforehand.
    """

    in_flight: int
    thinks: bool

    async def ask(self, request: Request) -> Reply | Scores | Failure:
        """Send one request.

        Raises:
            RunFailedError, ModelError: where later requests would fail too.
        """
        ...

    def max_usage(self, request: Request) -> Bound:
        """Return the most tokens that one attempt at a request can use."""
        ...

    on_learned: Callable[[], None]  # called when something new was learnt about the model, which is now in ``identity``

    def restore_learned(self, record: Mapping[str, Any] | None) -> None:
        """Begin with what an earlier part of the run has learnt, which is ``learned`` in its identity."""
        ...

    def set_allowance(self, allowance: Allowance) -> None:
        """Count what is spent. From now on ``ask`` raises RunFailedError before it would spend more."""
        ...

    async def aclose(self) -> None:
        """Close connections. Must be awaited in the loop that made them."""
        ...


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is. ``state`` is the provider's own word for it. ``ended``: what it holds will not change.

    ``answered`` and ``failed`` count requests of ``total``. Some providers count them only once a batch has ended.
    """

    state: str
    ended: bool
    total: int = 0
    answered: int = 0
    failed: int = 0
    expires: dt.datetime | None = None
    problem: str | None = None  # why the provider gave up on the whole batch


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What a batch says about one request: the ``body`` of an answer, or an ``error`` with the provider's ``code``."""

    custom_id: str
    body: Mapping[str, Any] | None = None
    error: str | None = None
    code: str = ""
    status: int | str = 200  # HTTP's, or the name of what happened
    request_id: str | None = None


class Batcher(Protocol):
    """A provider's batches: many requests handed over at once, answered within a day.

    Every method that calls the provider raises ModelError where it refused, so that nothing was done, and
    RunFailedError where that cannot be known or a later call may fare better.
    """

    most_requests: int
    most_bytes: int
    uploads: bool  # the requests are uploaded first, and the batch is made of that file

    def size(self, custom_id: str, request: Request) -> int:
        """Bytes that a request takes of a batch."""
        ...

    async def upload(self, requests: Sequence[tuple[str, Request]], marker: str) -> str:
        """Upload the requests of a batch, by custom id. Costs nothing. Returns the file's id."""
        ...

    async def create(self, requests: Sequence[tuple[str, Request]], marker: str, file: str | None) -> str:
        """Create a batch, which from then on costs. Never tried again where it may have been received."""
        ...

    async def recover(
        self, marker: str, file: str | None, count: int, since: dt.datetime, known: Collection[str]
    ) -> str | None:
        """The id of a batch that was to be created at ``since`` and whose id was lost. None: it was not created.

        All custom ids of the batch begin with ``marker``. ``known`` are ids of other batches.

        Raises:
            RunFailedError: while it cannot be told.
        """
        ...

    async def status(self, batch: str) -> BatchStatus:
        """How far a batch is."""
        ...

    def results(self, batch: str) -> AsyncIterator[BatchResult]:
        """What an ended batch says about its requests, in any order.

        Raises:
            GoneError: the provider keeps it no longer.
        """
        ...

    def read(self, request: Request, result: BatchResult, batch: str) -> Reply | Scores | Failure:
        """What a result means, exactly as if the request had been asked by itself."""
        ...

    async def cancel(self, batch: str) -> None:
        """Ask the provider to leave what is not yet answered. What was answered stays to be collected."""
        ...

    async def aclose(self) -> None:
        """Close connections. Must be awaited in the loop that made them."""
        ...
