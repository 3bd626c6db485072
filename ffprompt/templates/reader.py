"""From a prompt in the words of a template back to the tokens of a reference model.

A prompt of one string is the text before its events, then each event in its words. The words of a template tell every
event from every other, so the events can be read back from the text alone. They become the tokens that the model was
trained on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from ffprompt.errors import ModelError
from ffprompt.reference.vocabulary import Asked, Vocabulary
from ffprompt.tasks.strings import Strings
from ffprompt.templates.loading import load
from ffprompt.templates.renderer import Renderer


class PromptReader:
    """Reads prompts of one string in a template's words.

    ``symbols`` is the number of answers that the template words. Raises TemplateError where it cannot word so many.
    """

    def __init__(self, template: str, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.words = Renderer(load(template), vocabulary.symbols, vocabulary.task)
        self.name = self.words.template.name
        self.separator = self.words.template.instructions.separator
        known: dict[str, tuple[int, int, int]] = {}  # the words of an event: its number, argument and answer
        self._ends: dict[str, tuple[int, int, int]] = {}  # the words of a read up to its answer's end
        self._unanswered: dict[str, tuple[int, int, int]] = {}  # the words before an answer
        for number, event in enumerate(vocabulary.task.events):
            if not event.is_read:
                known |= {piece: (number, value, 0) for value, piece in enumerate(self.words.pieces[number])}
                continue
            for argument, (before, after) in enumerate(self.words.reads):
                self._unanswered[before.rstrip()] = (number, argument, 0)
                for answer, surface in enumerate(self.words.surfaces):
                    known[before + surface + after] = self._ends[before + surface] = (number, argument, answer)
        self._known = known
        # The longest words first: one event may begin like another.
        self._pieces = re.compile("|".join(re.escape(piece) for piece in sorted(known, key=len, reverse=True)))

    def read(self, text: str) -> Asked:
        """The tokens of a prompt that ends with an answer, or just before one.

        Raises:
            ModelError: for a prompt that is not one string in the words of the template.
        """
        before = self.words.intro + self.words.around(self.words.frame("completion.string"), 1)[0]
        if not text.startswith(before):
            raise self._odd(text, 0)
        found: list[tuple[int, int, int]] = []
        ends: list[int] = []
        at, is_open = len(before), False
        while at < len(text):
            match = self._pieces.match(text, at)
            end = match.end() if match else at
            whole = match is not None and (end == len(text) or text.startswith(self.separator, end))
            if match and whole:
                event = self._known[match[0]]
                after = len(self.words.reads[event[1]][1]) if self._is_read(event) else 0
            else:
                event, is_open = self._last(text, at)
                end, after = len(text), 0
            found.append(event)
            if self._is_read(event):
                ends.append(end - after)
            at = end + len(self.separator)
        if not found:
            raise self._odd(text, len(before))
        return self._tokens(found, ends, is_open)

    def _last(self, text: str, at: int) -> tuple[tuple[int, int, int], bool]:
        """The read that the text ends with, and whether that is just before its answer."""
        rest = text[at:]
        if (answered := self._ends.get(rest)) is not None:
            return answered, False
        if (unanswered := self._unanswered.get(rest.rstrip())) is not None:
            return unanswered, True
        raise self._odd(text, at)

    def _is_read(self, event: tuple[int, int, int]) -> bool:
        return self.vocabulary.task.events[event[0]].is_read

    def _odd(self, text: str, at: int) -> ModelError:
        part = text[at : at + 40]
        return ModelError(
            f"prompt {part!r} at character {at + 1}: expected one string in the words of template {self.name}; "
            "reference models take no shots: --shots 0"
        )

    def _tokens(self, found: Sequence[tuple[int, int, int]], ends: Sequence[int], is_open: bool) -> Asked:
        events, arguments, answers = (np.array([column], np.uint8) for column in zip(*found, strict=True))
        strings = Strings(self.vocabulary.task, events, arguments, answers, self.vocabulary.symbols)
        made = self.vocabulary.encode(strings)
        ids = made.tokens[0]
        if is_open:
            ids = ids[: int(made.positions[-1])]  # the answer that stands for the one to come is none
        return Asked(ids, made.positions, np.array(ends, np.int64), is_open)
