"""What the elicitations have in common that let a model write its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ffprompt.backends.base import Backend, Failure, Reply, Scores, Talk
from ffprompt.elicitation.base import Elicitation
from ffprompt.elicitation.question import Question
from ffprompt.scoring.score import Judged, Reading, judge_reply


class ReplyElicitation(Elicitation):
    """One call, whose reply holds the answers to all reads that are asked."""

    def right_replies(self, question: Question) -> Sequence[str]:
        return [", ".join(question.surfaces[symbol] for symbol in question.truth)]

    async def ask_together(
        self, backend: Backend, questions: Sequence[Question], heard: Sequence[Sequence[Reply]]
    ) -> Sequence[Reply | Scores | Failure | Talk]:
        return await backend.complete([question.request for question in questions])

    def judge(self, line: Mapping[str, Any], truth: Sequence[int], reading: Reading) -> Judged:
        return judge_reply(line, truth, reading)
