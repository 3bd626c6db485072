"""Attention at reads: where each head of a model looks just before it answers.

A row is the softmax of one head at one read over all tokens before it. Rows are summed up as they are made, so memory
grows with reads × tokens and never with tokens × tokens. This module holds the types and loads no torch::

    tokens   Alice turns the light  on . Bob eats an apple . The light is turned  on
    roles    first rest  …    …     write …   …   …  …   …   …  …    …     …  ↑ the row of this token is looked at

In shapes: R reads of one prompt, T tokens, L layers with attention, H heads, M answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ffprompt.errors import AuditError, ModelError

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend, Request

ROLES = ("write", "stale", "ignored", "answers", "first", "rest")
"""What a token before a read is to that read, as places in this tuple.

write: it holds the value of the write that is asked for. stale: of an earlier write. ignored: of an ignore. answers:
the answer to an earlier read. first: the first token of the prompt. rest: anything else. A value that is several
tokens has that role in each of them. A first token that holds a value has the value's role.
"""
WRITE, STALE, IGNORED, ANSWERS, FIRST, REST = range(len(ROLES))
VALUES = (WRITE, STALE, IGNORED, ANSWERS)
"""The roles of tokens that hold a symbol."""

Span = tuple[int, int]
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Mode = Literal["zero", "mean"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the events of a string stand in a prompt.

    Attributes:
        text: The words of all events, as they stand in the prompt.
        values: For each event, the characters of its value in ``text``. None where it shows none.
    """

    text: str
    values: Sequence[Span | None]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One prompt in tokens, with what matters at its reads.

    Attributes:
        ids: (T,) the tokens, up to the last one that is needed.
        queries: (R,) the token from which each answer is predicted.
        candidates: (R, M) the token that each answer begins with.
        values: For each event, the tokens that hold its value.
        answers: For each read, the tokens that hold its answer.
        whole: Whether each answer is one token, so that its log-probability is that of the answer.
    """

    ids: Ints
    queries: Ints
    candidates: Ints
    values: Sequence[tuple[int, ...]]
    answers: Sequence[tuple[int, ...]]
    whole: bool = True

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Look:
    """Which rows of a prompt are looked at. ``roles`` (R, T) are places in ``ROLES``."""

    tokens: Tokens
    roles: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed in a model while it reads a prompt.

    Attributes:
        heads: Heads whose output is taken away, by the number of the layer.
        mode: Whether zero or the mean output of that head takes its place.
        means: (L, H, D) those means, by the order of the layers. Needed for ``mean``.
        cut: A role: no read sees a token of it, in any head.
        frozen: Queries and keys of all layers stay as they are without the change, so attention does not move.
    """

    heads: Mapping[int, Sequence[int]] = field(default_factory=dict)
    mode: Mode = "zero"
    means: Mapping[int, NDArray[np.float32]] | None = None
    cut: int | None = None
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """What all heads do at the reads of one prompt.

    Attributes:
        logprobs: (R, M) of the tokens that the answers begin with, natural logarithm over the vocabulary.
        mass: (L, H, R, roles) attention on the tokens of each role. With ``sink`` it sums to 1.
        sink: (L, H, R) what a learned sink of the head takes, 0 where it has none.
        entropy: (L, H, R) of the row with its sink, in nats. Its exponential is the effective number of keys.
        margin: (L, H, R) score of the write less the logsumexp of all others. NaN where the write cannot be seen.
        top: (L, H, R) the token with the most attention. -1 where that is the learned sink.
        top_value: (L, H, R) the token with the most attention among those that hold a symbol. -1 without one.
        keys: (L, R) tokens that can be seen: fewer with a sliding window.
        reachable: (L, R) whether the write can be seen.
        full: (L, H, R, T) the rows themselves. Only where they were asked for.
    """

    logprobs: NDArray[np.float64]
    mass: Floats
    sink: Floats
    entropy: Floats
    margin: Floats
    top: Ints
    top_value: Ints
    keys: Ints
    reachable: NDArray[np.bool_]
    full: Floats | None = None


@dataclass(frozen=True, slots=True)
class States:
    """The hidden states of one prompt.

    Attributes:
        values: (S, T, d) before the first block and after each.
        normed: (T, d) the last state behind the final norm. None where that norm is not known.
    """

    values: Floats
    normed: Floats | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two prompts that differ in the value of one write, up to the token that predicts the first read after it.

    Attributes:
        clean: (T,) the tokens.
        corrupt: (T,) the same with the write's value flipped.
        candidates: The tokens of the answers that are true in ``clean`` and in ``corrupt``.
        groups: The tokens of each group whose states are patched together.
    """

    clean: Ints
    corrupt: Ints
    candidates: tuple[int, int]
    groups: Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Patched:
    """Logit of the clean answer less that of the corrupt one, in the model that reads a pair.

    Attributes:
        clean: On the clean prompt.
        corrupt: On the corrupt one.
        groups: (B, G) on the corrupt one, when the states of a group before a block are those of the clean one. NaN for
            a group without a token.
        heads: (L, H) the same when the output of a head is, at all tokens.
    """

    clean: float
    corrupt: float
    groups: NDArray[np.float64]
    heads: NDArray[np.float64]


class StatesModel(Protocol):
    """An open model whose hidden states can be looked at.

    Attributes:
        states_are: What each state is called, such as ``embedding`` and ``block 1``.
        layers: The numbers of the layers that have attention, in order. Empty without attention to look at.
        heads: Query heads of a layer.
        groups: Query heads that share a key and value head: 1 without grouped-query attention.
    """

    states_are: tuple[str, ...]
    layers: tuple[int, ...]
    heads: int
    groups: int

    def tokens(self, request: Request, place: Place) -> Tokens:
        """Return a prompt in tokens, with where its values and answers stand.

        Raises:
            AuditError: where the tokens of the answers or values cannot be told.
        """
        ...

    def look(self, looks: Sequence[Look], full: bool = False) -> list[Rows]:
        """Return what all heads do at the reads of some prompts, in order. ``full`` keeps whole rows."""
        ...

    def states(self, looks: Sequence[Look]) -> Iterator[States]:
        """Yield the hidden states of each prompt."""
        ...

    def lens(self, looks: Sequence[Look]) -> list[NDArray[np.float32]] | None:
        """Return the logits (S, R, M) of the answers, read off after each of the S - 1 blocks and before the first.

        The state of the token before an answer goes through the last norm and the output head, as if the model ended
        there. None where the last norm is not known.
        """
        ...


class AttentionModel(StatesModel, Protocol):
    """An open model whose attention can be looked at and changed."""

    def answers(self, looks: Sequence[Look], changes: Sequence[Change]) -> list[list[NDArray[np.float64]]]:
        """Return for each change the log-probabilities (R, M) of the answers to each prompt in the changed model.

        Blocks before the first changed one run once for all changes.
        """
        ...

    def means(self, looks: Sequence[Look]) -> Mapping[int, NDArray[np.float32]]:
        """Return the mean output (H, D) of every head over all tokens of some prompts, by layer."""
        ...

    def patch(self, pair: Pair) -> Patched:
        """Return what states and heads of the clean prompt do in the corrupt one."""
        ...


def attention_of(backend: Backend) -> AttentionModel:
    """Return the attention of an open model.

    Raises:
        ModelError: where it has none, or none that can be looked at.
    """
    from ffprompt.backends.local.reference import ReferenceBackend
    from ffprompt.backends.local.transformers import TransformersBackend  # which loads no torch by itself

    if isinstance(backend, TransformersBackend):
        from ffprompt.backends.local.attention_model import TransformersAttention

        return TransformersAttention(backend)
    if isinstance(backend, ReferenceBackend):
        from ffprompt.backends.local.attention_reference_model import ReferenceAttention

        return ReferenceAttention(backend)
    raise _closed(backend)


def states_of(backend: Backend) -> StatesModel:
    """Return the hidden states of an open model, which need no attention.

    Raises:
        ModelError: where they cannot be looked at.
    """
    from ffprompt.backends.local.reference import ReferenceBackend
    from ffprompt.backends.local.transformers import TransformersBackend

    if isinstance(backend, TransformersBackend):
        from ffprompt.backends.local.attention_states_model import TransformersStates

        return TransformersStates(backend)
    if isinstance(backend, ReferenceBackend):
        from ffprompt.backends.local.attention_reference_states_model import ReferenceStates

        return ReferenceStates(backend)
    raise _closed(backend)


def _closed(backend: Backend) -> ModelError:
    identity = backend.identity
    return ModelError(
        f"{identity.backend} model {identity.model}: its attention and states cannot be looked at; use --backend "
        "transformers or reference. What its errors have in common still works: ffprompt anatomy RUN"
    )


WHAT_WORKS = "What still works: --lens, --layers and --probe, which look at hidden states, and ffprompt anatomy RUN"


def overlapping(starts: Ints, ends: Ints, low: int, high: int) -> tuple[int, ...]:
    """Return the numbers of the tokens with a character between ``low`` and ``high``.

    >>> overlapping(np.array([0, 2, 5]), np.array([2, 5, 9]), 4, 6)
    (1, 2)
    """
    first = int(np.searchsorted(ends, low, side="right"))
    last = int(np.searchsorted(starts, high, side="left"))
    return tuple(range(first, last))


def placed(place: Place, text: str, starts: Ints, ends: Ints, key: str) -> list[tuple[int, ...]]:
    """Return the tokens of each event's value; ``starts`` and ``ends`` are the characters of all tokens of ``text``.

    Raises:
        AuditError: the events do not stand in the text as they were worded, or a value has no token.
    """
    offset = text.rfind(place.text)
    if offset < 0:
        raise AuditError(f"trial {key}: the events of the string were not found in its prompt; use another --template")
    found = []
    for span in place.values:
        tokens = overlapping(starts, ends, offset + span[0], offset + span[1]) if span else ()
        if span and not tokens:
            raise AuditError(f"trial {key}: no token holds {text[offset + span[0] : offset + span[1]]!r}")
        found.append(tokens)
    return found
