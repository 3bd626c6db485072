"""One read whose answers are scored by their log-probabilities: what ``verify`` and ``prior`` have in common."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.backends.base import Backend, Failure, Reply, Scores, Talk
from ffprompt.elicitation.next_read import Next
from ffprompt.elicitation.question import Question


class ScoredRead(Next):
    """One read: the first, the last, or one drawn for each string. The model writes nothing."""

    scored_by_logprobs = True
    answers_reads = False
    settings = frozenset({"next_read"})

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return nothing to count."""
        return [""]

    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        """Score all questions at once."""
        return await backend.score([question.request for question in questions])
