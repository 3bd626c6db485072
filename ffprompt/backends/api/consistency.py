"""What a server says, compared with what it was sent: the same before a run and at every answer in it.

A contradiction stops the run, because a number that rests on it is worse than none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ffprompt.backends.api.echo import Token, echoed, read_scores
from ffprompt.backends.api.echo_checks import contradiction, misplaced, shifts
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.prompt_tokens import PromptTokens, extended, short
from ffprompt.backends.api.served_model import ServedModel
from ffprompt.backends.base import Failure, Reply, Request, Scores
from ffprompt.elicitation.base import use_replies
from ffprompt.errors import RunFailedError

if TYPE_CHECKING:
    from ffprompt.backends.api.base import ApiBackend

# Answers that carry the same log-probabilities for different prompts: fewer tokens than this may do so by accident.
_ALIKE = 8
# A token as probable as this has the same value, nearly 0, after many prompts.
_CERTAIN = -1e-4
# How often it is tried to find out whether prompts are cut, where the answer to that is an error.
_TRIES = 3


class Consistency:
    """Compares all answers of one model with what it was asked. ``name`` is the model in error texts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.served = ServedModel()
        self.prompts = PromptTokens()
        self._shifts: Counter[int] = Counter()
        self._last: tuple[str, Sequence[Token]] = ("", ())
        self._settling = asyncio.Lock()
        self._asked = self._failed = 0

    def remarks(self, model: str) -> list[str]:
        """Return what a reader of the numbers should know, where ``model`` was asked for."""
        return [*self.served.remarks(model), *self.prompts.remarks]

    def scores(self, request: Request, body: JsonObject, asked: int) -> Scores | Failure:
        """Return the answers' log-probabilities in an echoed prompt.

        Raises:
            RunFailedError: for a contradiction.
        """
        self._serves(body.get("model"))
        try:
            tokens = echoed(body, request.text)
        except ValueError as error:
            return Failure(f"cannot be scored: {error}")
        why, chance = contradiction(tokens, asked)
        if why and chance:
            return Failure(f"cannot be scored: the server contradicts itself: {why}")
        self._shifts[0] += (counted := shifts(tokens))[0]
        self._shifts[1] += counted[1]
        if why := why or misplaced(self._shifts) or self._same(request, tokens):
            raise RunFailedError(
                f"{self.name}: the server contradicts itself: {why}; score with --backend vllm or transformers, or "
                f"{use_replies()}"
            )
        return read_scores(request, body, tokens)

    def _same(self, request: Request, tokens: Sequence[Token]) -> str:
        """Why an answer cannot be one to this prompt: it is the answer to the one before."""
        text, earlier = self._last
        self._last = (request.text, tokens)
        differ = (place for place, (a, b) in enumerate(zip(text, request.text, strict=False)) if a != b)
        if (first := next(differ, None)) is None:
            return ""
        # Nothing that stands before the difference knows of it.
        here, there = ([t.logprob for t in each if t.start > first] for each in (tokens, earlier))
        telling = [value for value in here if value is not None and value < _CERTAIN]
        if len(telling) < _ALIKE or here != there:
            return ""
        return f"two prompts that differ from character {first} on have the same log-probabilities after it"

    def _serves(self, model: object) -> None:
        if why := self.served.differs(model):
            raise RunFailedError(f"{self.name}: {why}")

    async def compare(self, backend: ApiBackend, request: Request, response: Reply | Scores | Failure) -> None:
        """Compare an answer's model and prompt tokens with what was asked. Raises RunFailedError."""
        if isinstance(response, Reply):
            self._serves(response.served_model)
            if response.stop != "refusal" and (why := self.prompts.suspicion(request, response.prompt_tokens)):
                # One at a time; the answers that wait for it are not counted before it is settled.
                async with self._settling:
                    if response.prompt_tokens and self.prompts.suspicion(request, response.prompt_tokens):
                        await self._settle(backend, request, response.prompt_tokens, why)

    async def _settle(self, backend: ApiBackend, request: Request, count: int, why: str) -> None:
        """Ask with a longer prompt: a server that does not cut prompts reports more tokens for it, or refuses it."""
        if self._failed == _TRIES:
            return
        self._asked += 1
        asked, words = extended(request, self._asked)
        longer = await backend.prompt_tokens(asked)
        if isinstance(longer, Failure):  # as where a server refuses what is too long for it
            self._failed += 1
            return
        if longer is None or self.prompts.grows(count, longer, words):
            return
        shorter = await backend.prompt_tokens(short(request))
        if isinstance(shorter, Failure) or shorter is None or self.prompts.constant(count, shorter):
            return
        raise RunFailedError(
            f"{self.name}: the server cuts prompts: {why}, and {longer} with {words} more words; start it "
            "with a larger context (Ollama: num_ctx, llama.cpp: -c, vLLM: --max-model-len)"
        )
