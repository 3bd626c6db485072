"""Models that follow a script: to try a set-up without a model, and to see what a rule or a fault does to the table.

They are told (in ``Request.hints``) what the rules they play would answer. No real model ever sees that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ffprompt.backends.base import Capabilities, Failure, Reply, Request, Scores
from ffprompt.backends.from_name import FAULTS, scripted_names
from ffprompt.backends.identity import Identity
from ffprompt.backends.json_schema import write_answers
from ffprompt.backends.prompt_audit import PromptAudit
from ffprompt.backends.spec import BackendSpec
from ffprompt.elicitation.base import elicitation_names, find_elicitation
from ffprompt.errors import ModelError, did_you_mean

_DELAY = 0.05  # seconds a request of the slow model takes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedIdentity(Identity):
    """A script in the record of a run."""

    note: str = "follows a script"


class ScriptedBackend:
    """``model`` is a rule, ``constant-K``, a fault, or ``glitch-P``: each read is wrong with probability P.

    Raises ModelError for another name.
    """

    def __init__(self, model: str) -> None:
        constant = model.removeprefix("constant-")
        glitch = _glitch(model)
        if (
            model not in scripted_names()
            and not (constant != model and constant.isdigit() and int(constant) < 256)
            and glitch is None
        ):
            known = (*scripted_names(), "constant-0", "glitch-0.01")
            raise ModelError(f"scripted model {model!r} is unknown{did_you_mean(model, known)}")
        self.model, self.glitch = model, glitch
        self.identity = ScriptedIdentity(backend="scripted", model=model)
        answers = model not in ("malformed", "refusing", "truncating")
        self.capabilities = Capabilities(scores=answers, completes=True, chats=True, schemas=True, wants_hints=True)
        self.chunk = 256 if model != "slow" else 1

    def check(self, requests: Sequence[Request]) -> PromptAudit:
        """Nothing can be wrong with a prompt."""
        return {"audited": len(requests)}

    def close(self) -> None:
        """Nothing is held."""

    async def score(self, requests: Sequence[Request]) -> Sequence[Scores | Failure]:
        """The answer has probability 0.98 and the others share the rest."""
        if self.model == "slow":
            await asyncio.sleep(_DELAY * len(requests))
        return [self._scores(request) for request in requests]

    async def complete(self, requests: Sequence[Request]) -> Sequence[Reply | Failure]:
        """A list of answers, or what the fault makes of it."""
        if self.model == "slow":
            await asyncio.sleep(_DELAY * len(requests))
        return [self._reply(request) for request in requests]

    def _answers(self, request: Request) -> Sequence[int]:
        asked = len(request.hints["oracle"])
        if self.model == "coin":
            symbols = len(request.surfaces)
            drawn: list[int] = np.random.default_rng(request.seed).integers(symbols, size=asked).tolist()
            return drawn
        if self.glitch is not None:
            symbols, draw = len(request.surfaces), np.random.default_rng(request.seed)
            # A wrong answer is one of the other symbols, each as probable as the next.
            off = (draw.random(asked) < self.glitch) * draw.integers(1, symbols, asked)
            answers: list[int] = ((np.array(request.hints["oracle"]) + off) % symbols).tolist()
            return answers
        if self.model.startswith("constant-"):
            symbol = int(self.model.removeprefix("constant-"))
            if symbol >= len(request.surfaces):
                raise ModelError(f"scripted model {self.model}: there are only {len(request.surfaces)} data symbols")
            return [symbol] * asked
        if self.model in ("oracle", *FAULTS):
            return request.hints["oracle"]
        if self.model not in request.hints:
            raise ModelError(
                f"scripted model {self.model}: no rule for these reads, which have {', '.join(request.hints)}; earlier "
                f"answers that it could copy are shown by --elicitation {' or '.join(_showing_answers())}"
            )
        return request.hints[self.model]

    def _scores(self, request: Request) -> Scores | Failure:
        if self.model == "failing":
            return Failure("scripted failure")
        answers = np.array(self._answers(request))
        symbols = len(request.surfaces)
        logprobs = np.full((len(answers), symbols), np.log(0.02 / (symbols - 1)))
        logprobs[np.arange(len(answers)), answers] = np.log(0.98)
        return Scores(logprobs, answers, answers)

    def _reply(self, request: Request) -> Reply | Failure:
        if self.model == "failing":
            return Failure("scripted failure")
        if self.model == "malformed":
            return Reply("I kept track of the memory, but then I lost count somewhere in the middle.", "stop")
        if self.model == "refusing":
            return Reply("", "refusal")
        answers = self._answers(request)
        text = ", ".join(request.surfaces[symbol] for symbol in answers)
        if request.frame:
            pieces = (piece if isinstance(piece, str) else request.surfaces[answers[piece]] for piece in request.frame)
            text = "".join(pieces)
        if request.schema is not None:
            text = write_answers(request.schema, answers)
        if self.model == "truncating":
            return Reply(text[: len(text) // 2], "length")
        return Reply(text, "stop")


def _showing_answers() -> list[str]:
    return [name for name in elicitation_names() if find_elicitation(name).sees_answers]


def _glitch(model: str) -> float | None:
    """P of ``glitch-P``, or None."""
    try:
        share = float(model.removeprefix("glitch-")) if model.startswith("glitch-") else -1.0
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None


SPEC = BackendSpec("scripted", lambda config, weights: ScriptedBackend(config.model), docs="scripted.md")
