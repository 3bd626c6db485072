"""The tokenisation audit: from a request to token ids and the exact tokens of every answer at every read.

A prompt can be scored in one forward pass when writing another answer at a read changes one token there and nothing
else. The audit finds out by writing each answer at all reads and comparing the token ids::

    Alice turns the light  on . ⏎ The light is turned  on      ids  … 335 …
                                                       off     ids  … 787 …     one token differs: (335, 787)

``single``: that token is the answer, with at most a space in front. ``merged``: it reaches over the answer's border
(a token such as "r1"), which is still exact between the answers but makes their probability mass incomparable.
``suffix``: more than one token differs, so each answer's own tokens are scored after what is common to all answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.base import Request
from ffprompt.backends.local.chat_template import ChatTemplate, TemplateIdentity, Thinking
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.reasoning_marks import opens_reasoning, strip_reasoning
from ffprompt.errors import AuditError, ModelError

Kind = Literal["single", "merged", "suffix"]
Ids = list[int]


@dataclass(frozen=True, slots=True)
class Tokenised:
    """One request in tokens.

    ``position`` (reads,): index in ``ids`` of the token that holds each answer, predicted from what stands before it.
    ``answers`` (reads, symbols): that token for every answer. Where kind is ``suffix`` both are empty and
    ``suffixes[read][symbol]`` is (ids of the common part, ids of the answer).
    """

    ids: Ids
    kind: Kind
    position: NDArray[np.int64]
    answers: NDArray[np.int64]
    suffixes: tuple[tuple[tuple[Ids, Ids], ...], ...] = ()


# Tokens for reasoning on top of a reply, where a model is to be expected to think and nothing else is said.
ROOM = 4096


class Encoder:
    """A Hugging Face tokenizer, with one rule for the token at the beginning of a text.

    ``adds_bos`` says that the model was trained with such a token. It is then put in front exactly once, whatever the
    tokenizer or the chat template do by themselves. ``vocabulary`` is how many tokens the model's embedding matrix has.
    Some tokenizers have more.

    Raises:
        ModelError: for a tokenizer without a BOS token where one is added, and where ``thinking`` cannot be had.
    """

    def __init__(
        self,
        tokenizer: Any,
        name: str,
        adds_bos: bool | None,
        context: int | None,
        vocabulary: int | None = None,
        thinking: Thinking | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.name = name
        self.context = context
        self.vocabulary = vocabulary
        self.thinking = thinking or Thinking()
        self._needs_a_template()
        self.bos: int | None = tokenizer.bos_token_id
        with_special = tokenizer("0", add_special_tokens=True)["input_ids"]  # a digit: all that some know
        by_itself = self.bos is not None and with_special[:1] == [self.bos]
        self.adds_bos = by_itself or bool(adds_bos if adds_bos is not None else getattr(tokenizer, "add_bos_token", 0))
        if self.adds_bos and self.bos is None:
            raise ModelError(f"model {name}: its texts begin with a BOS token, but its tokenizer has none")

    def _needs_a_template(self) -> None:
        told = self.thinking
        given = {"--thinking": told.mode, "--reasoning-effort": told.effort, "--reasoning-room": told.room}
        for flag, value in given.items():
            if value is not None and not self.chats:
                raise ModelError(f"{flag} {value}: model {self.name} has no chat template; leave {flag} out")

    @cached_property
    def template(self) -> ChatTemplate | None:
        """The model's chat template.

        Raises:
            ModelError: where thinking cannot be switched as asked.
        """
        return ChatTemplate(self.tokenizer, self.name, self.thinking) if self.chats else None

    @property
    def identity(self) -> TemplateIdentity:
        """What the record of a run says about chat template and thinking."""
        if self.template is None:
            return {}
        identity = self.template.identity
        if self.room:
            identity["reasoning_room"] = self.room
        return identity

    @property
    def room(self) -> int:
        """Tokens for reasoning, on top of a reply in a conversation."""
        if self.template is None:
            return 0
        return self.thinking.room if self.thinking.room is not None else ROOM if self.template.thinks else 0

    def encode(self, text: str) -> Ids:
        """Token ids of a whole prompt, with exactly one BOS where the model has one."""
        return self.encode_many([text])[0]

    def encode_many(self, texts: Sequence[str]) -> list[Ids]:
        """Token ids of several prompts."""
        try:
            batch: list[Ids] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        except Exception as error:
            if type(error) is not Exception:  # the class that the tokenizers library raises, with no name of its own
                raise
            raise ModelError(
                f"model {self.name}: its tokenizer has no token for something in {_short(texts[0])}; a model of raw "
                "symbols takes --template raw-compact --shots 0"
            ) from error
        return [self._inside(self._one_bos(ids)) for ids in batch]

    def _inside(self, ids: Ids) -> Ids:
        """The ids themselves, all of which the model must have an embedding for."""
        if self.vocabulary is not None and ids and (highest := max(ids)) >= self.vocabulary:
            raise AuditError(
                f"model {self.name}: a prompt holds token {highest} "
                f"({self.tokenizer.convert_ids_to_tokens(highest)!r}), and its embedding matrix ends at "
                f"{self.vocabulary - 1}; is this tokenizer the model's own?"
            )
        return ids

    def _one_bos(self, ids: Ids) -> Ids:
        if not self.adds_bos:
            return ids
        assert self.bos is not None
        return ids if ids[:1] == [self.bos] else [self.bos, *ids]

    @property
    def chats(self) -> bool:
        """Whether there is a chat template."""
        return bool(self.tokenizer.chat_template)

    def text(self, request: Request) -> tuple[str, int]:
        """The text the model sees, and at which character of it ``request.text`` begins."""
        if not request.is_chat:
            return request.text, 0
        if self.template is None:
            raise ModelError(f"model {self.name} has no chat template; use --form completion")
        # Given answers, and JSON that a grammar enforces, cannot stand inside a block of reasoning.
        before = self.template.render(request.messages, bool(request.text or request.schema))
        return before + request.text, len(before)

    def prompt(self, request: Request) -> Ids:
        """Token ids for generation.

        Raises:
            AuditError: when the prompt and its reply do not fit.
        """
        ids = self.encode(self.text(request)[0])
        self._bos_is_alone(ids)
        asked = self.thinking.room if request.is_chat and not request.schema else None
        self._fits(len(ids), request, request.max_tokens + (asked or 0))
        return ids

    def limit(self, request: Request, prompt_tokens: int) -> int:
        """The most tokens of a reply. Room for reasoning that nobody asked for takes what the context leaves."""
        if not request.is_chat or request.schema:
            return request.max_tokens
        most = request.max_tokens + self.room
        return most if self.context is None else max(request.max_tokens, min(most, self.context - prompt_tokens))

    def reply(self, request: Request, ids: Ids) -> tuple[str, bool]:
        """What a model has written, up to the first of the request's stop texts, and whether there was one.

        A block of reasoning that the prompt has opened is part of it. Marks that may be a family's own around its
        reasoning stay, though they are special tokens: without them a draft would look like an answer.
        """
        text: str = self.tokenizer.decode([token for token in ids if token not in self._unwritten])
        if request.is_chat and self.template is not None:
            text = self.template.begun(self.text(request)[0]) + text
        cut = min((place for mark in request.stop if (place := text.find(mark)) >= 0), default=None)
        return (text, False) if cut is None else (text[:cut], True)

    @cached_property
    def _unwritten(self) -> frozenset[int]:
        """The special tokens that are no part of any text: beginning, end, padding, unknown and the like.

        A tokenizer may pad with a token that means something, such as a digit or a mark of reasoning.
        """
        found = {}
        for kind in ("bos", "eos", "pad", "unk", "sep", "cls", "mask"):
            token = getattr(self.tokenizer, f"{kind}_token", None)
            number = getattr(self.tokenizer, f"{kind}_token_id", None)
            if token is not None and number is not None:
                found[int(number)] = str(token)
        tags = self.thinking.tags
        return frozenset(
            number
            for number, token in found.items()
            if _SPECIAL.fullmatch(token)
            and strip_reasoning(token, tags) == token
            and not opens_reasoning(token, tags)
            and token not in tags
        )

    def tokenise(self, request: Request) -> Tokenised:
        """Audit one request and find the tokens of its answers. Raises AuditError."""
        text, offset = self.text(request)
        spans = [(start + offset, end + offset) for start, end in request.reads]
        variants = [_written(text, spans, [surface] * len(spans)) for surface in request.surfaces]
        true, *same = self.encode_many([text, *variants])
        self._bos_is_alone(true)
        self._fits(len(true), request, 0)
        tokens = _aligned(true, same, len(spans))
        if tokens is None:
            return Tokenised(true, "suffix", _NONE, _NONE, self._suffixes(text, spans, request))
        position, answers = tokens
        return Tokenised(true, self._kind(text, spans, position), position, answers)

    def _kind(self, text: str, spans: Sequence[tuple[int, int]], position: NDArray[np.int64]) -> Kind:
        """Whether each token is its answer and nothing more. Without offsets that cannot be known."""
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=self.tokenizer.is_fast)
        if "offset_mapping" not in encoding:
            return "merged"
        shift = int(self._one_bos(encoding["input_ids"]) is not encoding["input_ids"])
        for (start, end), index in zip(spans, position.tolist(), strict=True):
            low, high = encoding["offset_mapping"][index - shift]
            if high != end or low > start or text[low:start].strip():
                return "merged"
        return "single"

    def _suffixes(
        self, text: str, spans: Sequence[tuple[int, int]], request: Request
    ) -> tuple[tuple[tuple[Ids, Ids], ...], ...]:
        return tuple(self._suffixes_at(text[:start], request) for start, _ in spans)

    def _suffixes_at(self, before: str, request: Request) -> tuple[tuple[Ids, Ids], ...]:
        written = self.encode_many([before + surface for surface in request.surfaces])
        common = 0
        while all(len(ids) > common and ids[common] == written[0][common] for ids in written):
            common += 1
        parts = tuple((ids[:common], ids[common:]) for ids in written)
        if common == 0 or not all(suffix for _, suffix in parts) or len({tuple(s) for _, s in parts}) < len(parts):
            one, other = request.surfaces[:2]
            raise AuditError(
                f"trial {request.key}: the tokenizer of {self.name} does not tell the answers apart at a read "
                f"({one!r}, {other!r}, …), so they cannot be scored exactly"
            )
        return parts

    def notes(self, requests: Sequence[Request]) -> list[str]:
        """What a reader of the numbers has to know of how these requests were rendered."""
        if self.template is None or not any(request.is_chat for request in requests):
            return []
        found = list(self.template.notes)
        if self.room and any(request.is_chat and not request.reads and not request.schema for request in requests):
            mode = self.thinking.mode or self.template.identity.get("thinking", "not known")
            capped = "" if self.thinking.room is not None else " as far as the context allows"
            found.append(
                f"thinking: {mode}; replies may take {self.room:,} tokens more than their answers need{capped} "
                "(--reasoning-room)"
            )
        elif "thinking" in self.template.identity:
            found.append(f"thinking: {self.template.identity['thinking']}")
        return found

    def _bos_is_alone(self, ids: Ids) -> None:
        if self.adds_bos and (ids[0] != self.bos or ids[1:2] == [self.bos]):
            raise AuditError(f"model {self.name}: its prompts would begin with {ids[:2]}, not with exactly one BOS")

    def _fits(self, tokens: int, request: Request, reply: int) -> None:
        if self.context is not None and tokens + reply > self.context:
            more = f" and {reply} for the reply" if reply else ""
            raise AuditError(
                f"trial {request.key}: {tokens} tokens{more} do not fit {self.name}'s context of {self.context}; "
                "nothing is ever cut to fit: use a shorter --length, fewer --shots or a shorter template"
            )


def context_of(config: Any) -> int | None:
    """How many tokens a model takes, by its Hugging Face config. None where it does not say."""
    text = config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx"):
        value = getattr(text, key, None)
        if isinstance(value, int):
            return value
    return None


_NONE = np.empty((0, 0), np.int64)
_SPECIAL = re.compile(r"[<\[［＜].*[>\]］＞]", re.DOTALL)


def _written(text: str, spans: Sequence[tuple[int, int]], answers: Sequence[str]) -> str:
    """``text`` with other answers at its reads."""
    parts, position = [], 0
    for (start, end), answer in zip(spans, answers, strict=True):
        parts += [text[position:start], answer]
        position = end
    return "".join([*parts, text[position:]])


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _aligned(true: Ids, same: Sequence[Ids], reads: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Positions and answer tokens, when the variants differ from each other in one token a read and nowhere else."""
    if any(len(ids) != len(true) for ids in same):
        return None
    table = np.array(same)  # (symbols, tokens)
    position = np.flatnonzero((table != table[0]).any(axis=0))
    if len(position) != reads or (len(position) and position[0] == 0):
        return None
    answers = table[:, position].T  # (reads, symbols)
    if any(len(set(row)) < len(same) for row in answers.tolist()):
        return None
    elsewhere = np.ones(len(true), bool)
    elsewhere[position] = False
    row = np.array(true)
    if (row[elsewhere] != table[0][elsewhere]).any() or not (answers == row[position][:, None]).any(axis=1).all():
        return None
    return position, answers


def audit(encoder: Encoder, requests: Sequence[Request]) -> PromptAudit:
    """Audit requests before a run. What was found goes into the record of the run.

    Raises:
        AuditError: a request does not fit, or its answers cannot be told apart.
        ModelError: the tokenizer cannot be used.
    """
    kinds: dict[str, int] = {}
    lengths = []
    for request in requests:
        if request.reads:
            tokenised = encoder.tokenise(request)
            kinds[tokenised.kind] = kinds.get(tokenised.kind, 0) + 1
            lengths.append(len(tokenised.ids))
        else:
            lengths.append(len(encoder.prompt(request)))
    return {
        "audited": len(requests),
        "answer_tokens": kinds,
        "mean_prompt_tokens": sum(lengths) / len(lengths),
        "longest_prompt_tokens": max(lengths),
        "context": encoder.context,
        "bos": encoder.bos if encoder.adds_bos else None,
        "notes": encoder.notes(requests),
    }
