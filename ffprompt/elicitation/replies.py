"""What the elicitations have in common that let a model write its answers."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.backends.base import Backend, Failure, Reply, Scores, Talk
from ffprompt.elicitation.base import Elicitation
from ffprompt.elicitation.question import Question
from ffprompt.scoring.response_records import ResponseRecord
from ffprompt.scoring.score import Judged, Reading, judge


class ReplyElicitation(Elicitation):
    """One call, whose reply holds the answers to all reads that are asked."""

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return the list of the true answers."""
        return [", ".join(question.surfaces[symbol] for symbol in question.truth)]

    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        """Let the model write all replies at once."""
        return await backend.complete([question.request for question in questions])

    def judge(self, response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
        """Return the outcomes of the answers that a reply gives."""
        return judge(response, truth, reading)
