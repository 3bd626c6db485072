"""A backend that gives the answers of another harness's log, so that the log becomes a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Never

from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.identity import OPTIONAL, Identity
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.spec import BackendSpec
from ffprompt.errors import ModelError

if TYPE_CHECKING:
    from ffprompt.config.run_config import RunConfig

CAPABILITIES = Capabilities(scores=True, completes=True, chats=True)
Answer = Reply | Scores | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedIdentity(Identity):
    """A model that another harness has asked. ``harness`` is that and its version, ``log`` the file's name."""

    harness: str
    log: str
    served_by: str | None = field(default=None, metadata=OPTIONAL)  # the harness's own words for the model


_SPACES = (
    "lm-eval scores the space before an answer together with it, so the answer mass is a lower bound if the tokenizer "
    "makes a token of that space; answers, accuracy and margins are not affected"
)


class RecordedBackend:
    """``answers`` are those of the log by the key of their question; a question without one is a failed call."""

    def __init__(self, identity: RecordedIdentity, answers: Mapping[str, Answer]) -> None:
        self.identity = identity
        self.answers = answers
        self.capabilities = CAPABILITIES
        self.chunk = 256

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Return what a reader of the numbers should know. The harness has checked the prompts, or has not."""
        before = (request.text[start - 1 : start] for request in requests for start, _ in request.reads)
        return {"notes": [_SPACES]} if self.identity.backend == LM_EVAL.name and any(map(str.isspace, before)) else {}

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """Return the scores of the log."""
        return [self._answer(request) for request in requests]  # type: ignore[misc]

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """Return the replies of the log."""
        return [self._answer(request) for request in requests]  # type: ignore[misc]

    def _answer(self, request: Request) -> Answer:
        return self.answers.get(request.key) or Failure("the log has no sample of this trial")

    def close(self) -> None:
        """Nothing is held."""


def _spec(name: str) -> BackendSpec:
    def refuse(config: RunConfig, weights: bool) -> Never:
        raise ModelError(f"--backend {name}: its runs are made from a log, by: ffprompt import LOG")

    return BackendSpec(name, refuse, docs="harnesses.md")


LM_EVAL, INSPECT = _spec("lm-eval"), _spec("inspect")
