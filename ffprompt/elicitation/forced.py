"""``forced``: every read is scored from log-probabilities in one forward pass, with the true answers in place.

This is the paper's measurement. In completion form the answers stand in the string itself. In chat form they are the
assistant's reply to ``list``, which is begun for the model::

    completion   w1 i0 r⟦1⟧ i1 r⟦1⟧
    chat         user       w1 i0 r? i1 r?
                 assistant  ⟦1⟧, ⟦1⟧
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ffprompt.elicitation.base import Form
from ffprompt.elicitation.list_reads import LIST
from ffprompt.elicitation.question import Prompt, PromptParts
from ffprompt.elicitation.scored import ScoredElicitation
from ffprompt.elicitation.wording import Span, events, solved_in_place
from ffprompt.scoring.response_records import ResponseRecord
from ffprompt.scoring.score import Judged, Reading, judge
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer


class Forced(ScoredElicitation):
    """All reads, scored where their answers stand."""

    name = "forced"
    sees_answers = True
    settings = frozenset()

    def texts(self, form: Form, shots: bool) -> Sequence[str]:
        """Return the keys of the texts that it needs."""
        return LIST.texts(form, shots) if form == "chat" else []

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string with its answers in place."""
        words, string = parts.words, parts.string
        if parts.form == "chat":
            text, reads = _reply(words, string)
            return dataclasses.replace(LIST.prompt(parts), text=text, reads=reads)
        text = solved_in_place(words, string, parts.shots)
        solved, spans = events(words, string)
        reads = tuple((start + len(text), end + len(text)) for start, end in spans)
        # What would follow the last answer tells nothing about it and is left away.
        return Prompt(text + solved[: spans[-1][1]], (), reads, tuple(parts.asked or self.asked(len(spans))))

    def judge(self, response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
        """Return the outcomes: the most probable answer is the model's."""
        return judge(response, truth, reading)


def _reply(words: Renderer, string: String) -> tuple[str, tuple[Span, ...]]:
    """Return the true reply, and where each answer stands in it."""
    text = ""
    spans: list[Span] = []
    for symbol in string.truth:
        text += words.template.reply.joiner if text else ""
        spans.append((len(text), len(text) + len(words.surfaces[symbol])))
        text += words.surfaces[symbol]
    return text, tuple(spans)


FORCED = Forced()
