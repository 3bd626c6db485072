"""``verify``: the model is shown an answer to one read and says whether it is right.

The string goes up to the read, whose answer is right in half of the strings and wrong in the others::

    completion   w1 i0 r0
                 Is the last answer, "0", right? True or False: ⟦False⟧

``verify`` scores True and False by their log-probabilities, which gives P(True) (Kadavath et al. 2022).
``verify-reply`` lets the model write one of them, for models that give no log-probabilities.

There are two possible answers, so who says False says the other one. "True" stands for the answer that is shown and
"False" for the other, and all that is counted of answers can be counted of these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from ffprompt.elicitation.base import Form
from ffprompt.elicitation.next_read import Next, exchange
from ffprompt.elicitation.question import Prompt, PromptParts, Question
from ffprompt.elicitation.scored import ScoredRead
from ffprompt.elicitation.wording import conversation, events
from ffprompt.errors import ConfigError
from ffprompt.scoring.response_records import ResponseRecord
from ffprompt.scoring.score import Judged, Reading
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer

RIGHT, WRONG = "True", "False"


class VerifyReply(Next):
    """One read, whose answer is shown and judged in a word."""

    name = "verify-reply"
    answers_reads = False

    def check_wording(self, words: Renderer, form: Form, shots: bool) -> None:
        """Raise TemplateError for a template that lacks a text, and ConfigError unless there are two answers."""
        if len(words.surfaces) != 2:
            raise ConfigError(
                f"--elicitation {self.name}: there are {len(words.surfaces)} possible answers (--symbols); expected 2, "
                "so that a wrong answer is the other one"
            )
        super().check_wording(words, form, shots)

    def proposed(self, string: String, read: int, number: int) -> int:
        """Return the answer that is shown at a read of a string: the true one in one string of each two.

        Of the strings 2k and 2k + 1 a draw says which has the right one.
        """
        return _proposed(int(string.truth[read]), f"verify/{number // 2}", number)

    def surfaces(self, words: Renderer, string: String, asked: Sequence[int], number: int) -> tuple[str, ...]:
        """Return what stands for each answer: True for the one that is shown."""
        shown = self.proposed(string, asked[0], number)
        return tuple(RIGHT if symbol == shown else WRONG for symbol in range(len(words.surfaces)))

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render a string up to one of its reads, with the answer that is shown and the question about it."""
        words, string = parts.words, parts.string
        (read,) = parts.asked or self.asked(string.read_count)
        shown = [
            (shot, shot.read_count - 1, _proposed(int(shot.truth[-1]), f"verify/{parts.number}/{place // 2}", place))
            for place, shot in enumerate(parts.shots)
        ]
        shown.append((string, read, self.proposed(string, read, parts.number)))
        made = _chat(words, shown) if parts.form == "chat" else _completion(words, shown)
        return replace(made, asked=(read,))

    def right_replies(self, question: Question) -> Sequence[str]:
        """Return the right judgement."""
        return [question.surfaces[question.truth[0]]]

    def judge(self, response: ResponseRecord, truth: Sequence[int], reading: Reading) -> Judged:
        """Return the outcome: whether the judgement is right."""
        return super().judge(response, truth, replace(reading, ignore_case=True))


class Verify(ScoredRead, VerifyReply):
    """One read, whose answer is shown, with the log-probabilities of True and of False."""

    name = "verify"

    def prompt(self, parts: PromptParts) -> Prompt:
        """Render what :class:`VerifyReply` asks, with the judgement that is scored behind it."""
        made = super().prompt(parts)
        number, read = parts.number, made.asked[0]
        judgement = RIGHT if self.proposed(parts.string, read, number) == parts.string.truth[read] else WRONG
        text = f"{made.text} {judgement}" if made.text else judgement
        return replace(made, text=text, reads=((len(text) - len(judgement), len(text)),))


def _proposed(true: int, pair: str, number: int) -> int:
    """The answer that is shown to one of a pair of strings: the true one or the other of two."""
    is_right = (hashlib.sha256(pair.encode()).digest()[0] ^ number) & 1
    return true if is_right else 1 - true


def _answered(words: Renderer, string: String, read: int, shown: int) -> str:
    """A string up to a read, with an answer in its place."""
    argument = int(string.arguments[string.is_read][read]) if len(words.reads) > 1 else 0
    return events(words, string, until=read)[0] + words.surfaces[shown] + words.reads[argument][1]


def _completion(words: Renderer, shown: Sequence[tuple[String, int, int]]) -> Prompt:
    text = words.intro
    for place, (string, read, answer) in enumerate(shown):
        before, after = words.around(words.frame("completion.string"), read + 1)
        text += before + _answered(words, string, read, answer) + after
        text += "\n" + words.verify("completion", answer)
        if place < len(shown) - 1:
            text += f" {RIGHT if answer == string.truth[read] else WRONG}" + words.template.completion.between
    return Prompt(text, (), (), ())


def _chat(words: Renderer, shown: Sequence[tuple[String, int, int]]) -> Prompt:
    exchanges = []
    for string, read, answer in shown:
        judgement = RIGHT if answer == string.truth[read] else WRONG
        exchanges.append(replace(exchange(words, string, read), reply=judgement))
    messages, _ = conversation(words, "next", exchanges)
    asking = [number for number, message in enumerate(messages) if message.role == "user"]
    texts = [message.text for message in messages]
    for number, (_, _, answer) in zip(asking, shown, strict=True):
        texts[number] += "\n\n" + words.verify("chat", answer)
    return Prompt("", tuple(replace(message, text=text) for message, text in zip(messages, texts, strict=True)), (), ())


VERIFY, VERIFY_REPLY = Verify(), VerifyReply()
