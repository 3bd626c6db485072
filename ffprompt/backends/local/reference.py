"""The reference models as a backend: networks trained on this task, asked over the same prompts as language models.

A model of the flip-flop reads raw symbols, one token each, so a prompt is one flip-flop string and nothing else. A
model of another task reads any of the task's templates, without shots: the words are turned back into events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.extras import needs
from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.identity import Identity
from ffprompt.backends.local.candidate_scores import NOT_FINITE
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.spec import BackendSpec
from ffprompt.errors import ConfigError, ModelError
from ffprompt.reference.tokens import HOW, Ints, Tokens, read_positions, tokenise
from ffprompt.reference.vocabulary import Asked, Reader, Vocabulary
from ffprompt.tasks import registry
from ffprompt.tasks.base import Task
from ffprompt.tasks.flipflop import FLIP_FLOP, READ

if TYPE_CHECKING:
    from ffprompt.reference.networks.base import Network

# Tokens in one forward pass, unless a batch size is given: 16 strings at T = 512. Larger passes are no faster.
_PASS = 1 << 13


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceIdentity(Identity):
    """A reference model in the record of a run."""

    path: str
    sha256: str
    parameters: int
    trained_on: str | None
    steps: int
    device: str
    dtype: str
    torch: str
    note: str


class ReferenceBackend:
    """A reference model that is open: ``model`` is the name of a bundled one (``lstm``) or the path of a checkpoint.

    ``device`` is a torch device. Without one it is the CPU, which is fast enough for a network of this size.
    ``batch_size`` is in strings of equal length. ``task`` is the task of the strings. Raises ModelError when torch or
    the model is missing, or the model cannot be used or is one of another task, ConfigError for a batch size below 1.
    """

    identity: ReferenceIdentity
    capabilities = Capabilities(scores=True, completes=True, chats=False)
    chunk = 256

    def __init__(
        self,
        model: str,
        device: str | None = None,
        batch_size: int | None = None,
        task: Task = FLIP_FLOP,
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ConfigError(f"batch size {batch_size}: expected at least 1")
        try:
            import torch

            from ffprompt.reference.checkpoints.checkpoint import WEIGHTS, load, resolve
            from ffprompt.reference.networks.base import parameters, predict
            from ffprompt.reference.networks.threads import Workers
        except ImportError as error:
            raise needs("the reference backend", "reference", error) from error
        checkpoint = load(resolve(model))
        self.vocabulary = checkpoint.vocabulary
        trained = self.vocabulary.task
        if trained.name != task.name:
            raise ModelError(
                f"model {model}: it was trained on task {trained.name}, not {task.name}; add --task {trained.name}"
            )
        if (known := trained.read_function) != (asked := task.read_function):
            raise ModelError(f"model {model}: its reads ask for {known}, not {asked}; add --task-arg read={known}")
        try:
            self._model = checkpoint.model.to(torch.device(device or "cpu"))
        except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises the latter
            raise ModelError(f"device {device!r}: {str(error).splitlines()[0]}") from error
        self._predict, self._batch_size = predict, batch_size
        # Only a CPU has cores to share out, and passes on a GPU would trip over each other's settings.
        self._workers = Workers(None if self._model.head.weight.device.type == "cpu" else 1)
        self._symbols = checkpoint.model.config.symbols
        trained_on = checkpoint.training.data if checkpoint.training else None
        self._trained = self.vocabulary.longest(trained_on.parts[0]) if trained_on else None
        self._readers: Sequence[Reader] = ()
        self.identity = ReferenceIdentity(
            backend="reference",
            # The model of a training is named after its folder.
            model=checkpoint.path.parent.name if checkpoint.path.name == WEIGHTS else checkpoint.path.stem,
            path=checkpoint.path.name,
            sha256=checkpoint.sha256,
            parameters=parameters(checkpoint.model),
            trained_on=str(checkpoint.training.data) if checkpoint.training else None,
            steps=checkpoint.training.steps if checkpoint.training else 0,
            device=str(self._model.head.weight.device),
            dtype="float32",
            torch=str(torch.__version__),
            note="trained on this task" if checkpoint.training else "built for this task",
        )

    @property
    def network(self) -> Network:
        """The network itself."""
        return self._model

    def use_words(self, readers: Callable[[Vocabulary], Sequence[Reader]]) -> None:
        """Take what reads the prompts of the run's templates. Prompts of the flip-flop are read without."""
        if not self.vocabulary.in_pairs:
            self._readers = readers(self.vocabulary)

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Parse every prompt and find every read in it.

        Returns ``{"tokens": "one per symbol", "longest": tokens, "notes": [what to know of them]}``.

        Raises:
            ModelError: for a prompt that is not one string of symbols which the model knows.
        """
        ids, positions = self._read(requests)
        most = self._model.longest
        for one, at in zip(ids, positions, strict=True):
            # A token is predicted from those before it: the last of a string is never read.
            if most is not None and (int(at.max()) if len(at) else len(one)) > most:
                raise ModelError(
                    f"length {len(one)}: this model has learnt {most} positions; longer strings have no meaning"
                )
        longest, notes = max(map(len, ids), default=0), []
        if self._trained is not None and longest > self._trained:
            notes = [f"this model was trained on strings of {self._trained} symbols and is asked about longer ones"]
        return {"tokens": "one per symbol", "longest": longest, "notes": notes}

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """The distribution at each read, from the symbols before it. Raises ModelError as ``check`` does.

        A model whose numbers are none, because its weights hold a NaN, gives a Failure.
        """
        ids, positions = self._read(requests)
        first = self.vocabulary.events
        scores: list[Scores | Failure] = []
        for request, one, logp in zip(requests, ids, self._run(ids, positions), strict=True):
            symbols = len(request.surfaces) or self._symbols
            best = logp.argmax(1)  # (R,)
            symbol = best - first
            symbol = np.where((symbol >= 0) & (symbol < symbols), symbol, -1)
            answers = logp[:, first : first + symbols]
            finite = np.isfinite(answers).all()
            scores.append(Scores(answers, best, symbol, len(one)) if finite else Failure(NOT_FINITE))
        return scores

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Write the one symbol that follows a text which ends before an answer. An event comes back as its letter.

        At a temperature above 0 the symbol is drawn by Gumbel noise from the request's own seed. Raises ModelError as
        ``check`` does, and for a text that ends otherwise.
        """
        ids, after = self._asked_last(requests)
        names, first = self.vocabulary.names, self.vocabulary.events
        replies: list[Reply | Failure] = []
        for request, one, logp in zip(requests, ids, self._run(ids, after), strict=True):
            weights = logp[0]  # (V,)
            if not np.isfinite(weights.max()):
                replies.append(Failure(NOT_FINITE))
                continue
            if request.temperature:
                noise = np.random.default_rng(request.seed).gumbel(size=len(weights))
                weights = weights / request.temperature + noise
            token = int(weights.argmax())
            text = dict(enumerate(request.surfaces, first)).get(token, names[token]).strip()
            replies.append(Reply(text, "stop", prompt_tokens=len(one), reply_tokens=1))
        return replies

    def close(self) -> None:
        """End the threads. The weights go with this object."""
        self._workers.close()

    def _read(self, requests: Sequence[Request]) -> tuple[list[Ints], list[Ints]]:
        """Tokens of every prompt, and from how many of them each of its reads (R,) is predicted."""
        if self.vocabulary.in_pairs:
            tokens = self._tokens(requests)
            pairs = zip(requests, tokens, strict=True)
            return [one.ids for one in tokens], [read_positions(one, asked.reads, asked.text) for asked, one in pairs]
        asked = self._parsed(requests)
        return [one.ids for one in asked], [
            one.of(request.reads, request.text) for request, one in zip(requests, asked, strict=True)
        ]

    def _asked_last(self, requests: Sequence[Request]) -> tuple[list[Ints], list[Ints]]:
        """Tokens of prompts that end before an answer, and from how many of them (1,) it is predicted."""
        if not self.vocabulary.in_pairs:
            asked = self._parsed(requests)
            for request, one in zip(requests, asked, strict=True):
                if not one.is_open:
                    raise ModelError(f"prompt ends with {request.text[-20:]!r}: a reference model writes an answer")
            return [one.ids for one in asked], [one.positions[-1:] for one in asked]
        tokens = self._tokens(requests)
        for request, read in zip(requests, tokens, strict=True):
            if read.ids[-1] != READ:
                raise ModelError(f"prompt ends with {request.text[-8:]!r}: a reference model writes what follows an r")
        return [one.ids for one in tokens], [np.array([len(one)]) for one in tokens]

    def _parsed(self, requests: Sequence[Request]) -> list[Asked]:
        """Prompts in the words of one of the templates."""
        for request in requests:
            if request.is_chat:
                raise ModelError("a reference model does not chat; use --form completion")
        return [self._parse(request.text) for request in requests]

    def _parse(self, text: str) -> Asked:
        for number, reader in enumerate(self._readers, start=1):
            try:
                return reader.read(text)
            except ModelError:
                if number == len(self._readers):
                    raise
        raise ModelError("a reference model of this task needs --template")

    def _tokens(self, requests: Sequence[Request]) -> list[Tokens]:
        names = tuple(map(str, range(self._symbols)))
        for request in requests:
            if request.is_chat:
                raise ModelError(f"a reference model does not chat: {HOW}")
            answers = tuple(surface.strip() for surface in request.surfaces)
            if tuple(str(int(answer)) if answer.isdecimal() else answer for answer in answers) != names[: len(answers)]:
                hint = "" if all(map(str.isdecimal, answers)) else f": {HOW}"
                raise ModelError(f"answers {', '.join(answers)}: this reference model knows 0 … {names[-1]}{hint}")
        return tokenise([request.text for request in requests], self._symbols)

    def _run(self, tokens: Sequence[Ints], positions: Sequence[Ints]) -> list[NDArray[np.float64]]:
        """Log-probabilities (R, V) at the positions of each string. Strings of equal length share a pass."""
        by_length: dict[int, list[int]] = {}
        for index, one in enumerate(tokens):
            by_length.setdefault(len(one), []).append(index)
        passes = []
        for length, members in by_length.items():
            size = self._batch_size or max(1, min(self.chunk, _PASS // length))
            passes += [members[low : low + size] for low in range(0, len(members), size)]

        def run(some: list[int]) -> list[NDArray[np.float64]]:
            counts = [len(positions[index]) for index in some]
            ids = np.stack([tokens[index] for index in some])  # (B, T)
            rows = np.repeat(np.arange(len(some)), counts)  # (R,)
            logp = self._predict(self._model, ids, rows, np.concatenate([positions[index] for index in some]))  # (R, V)
            return np.split(logp, np.cumsum(counts)[:-1])

        found: dict[int, NDArray[np.float64]] = {}
        for some, parts in zip(passes, self._workers.map(run, passes), strict=True):
            found.update(zip(some, parts, strict=True))
        return [found[index] for index in range(len(tokens))]


SPEC = BackendSpec(
    "reference",
    lambda config, weights: ReferenceBackend(
        config.model,
        config.device,
        config.batch_size,
        registry.get(config.task, config.task_arg or ()),
    ),
    extra="reference",
    docs="reference.md",
)
