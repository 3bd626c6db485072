"""What the elicitations have in common that score given answers by their log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.backends.base import Backend, Failure, Reply, Scores, Talk
from ffprompt.elicitation.base import Elicitation
from ffprompt.elicitation.next_read import Next
from ffprompt.elicitation.question import Question


class ScoredElicitation(Elicitation):
    """Given answers, scored where they stand: the base of ``forced``, ``verify`` and ``prior``."""

    scored_by_logprobs = True

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return nothing to count: the model writes nothing."""
        return [""]

    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        """Score all questions at once."""
        return await backend.score([question.request for question in questions])


class ScoredRead(ScoredElicitation, Next):
    """One read, which is the first, the last, or drawn for each string: the base of ``verify`` and ``prior``."""

    answers_reads = False
    settings = frozenset({"next_read"})
