"""The pieces and frames of a template for one task and a number of symbols, ready to be joined into prompts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from ffprompt.errors import TemplateError
from ffprompt.tasks import registry
from ffprompt.tasks.base import Task
from ffprompt.tasks.events import Event
from ffprompt.templates.frame import ANSWER, EVENTS, Frame
from ffprompt.templates.schema import Chat, Template

CHAT_FRAMES = tuple(key for key in Chat.model_fields if key not in ("system", "ack", "silence", "verify"))
Part = tuple[str, Callable[[], object]]  # a key of the file, and what makes it or raises TemplateError


def check_values(surfaces: Sequence[str], ignore_case: bool) -> None:
    """Raise TemplateError for answers that could not be told apart, or not be told from the text around them."""
    seen = [surface.casefold() if ignore_case else surface for surface in surfaces]
    for surface in surfaces:
        if not surface or surface != surface.strip() or not surface.isprintable():
            raise TemplateError(f"values: {surface!r} is empty, has space around it or is not printable")
    for first, one in enumerate(seen):
        for second, other in enumerate(seen):
            if first < second and one == other:
                raise TemplateError(f"values: {surfaces[first]!r} stands for two data symbols")
            if first != second and other.startswith(one):
                raise TemplateError(f"values: {surfaces[first]!r} is a prefix of {surfaces[second]!r}")


class Renderer:
    """One template in the words of a task.

    Attributes:
        symbols: The number of data symbols.
        task: The task whose events are worded; by default the one that the template names.

    Raises:
        TemplateError: The template does not fit the task or the number of symbols, or a text cannot be used. Without
            ``checked`` that shows when a part is first asked for.
    """

    def __init__(self, template: Template, symbols: int, task: Task | None = None, checked: bool = True) -> None:
        self.template = template
        self.task = registry.example(template.task) if task is None else task
        self.symbols = symbols
        self._made: dict[str, Frame] = {}
        self._around: dict[tuple[str, int], tuple[str, str]] = {}  # by the frame and the number of reads
        self._worded: dict[str, tuple[str, ...]] = {}
        self.surfaces = template.surfaces(symbols, task)
        if task is not None:
            check_values(self.surfaces, template.reply.ignore_case)
        if checked:
            for _, make in self.parts():
                make()
            self.check_pieces()

    def parts(self) -> Iterator[Part]:
        """Yield everything that is made of a text of the file: its key, and what makes it."""
        for event in self.task.events:
            if not event.is_read:
                yield f"instructions.{event.name}", lambda event=event: self._pieces(event)  # type: ignore[misc]
        yield self._read[0], lambda: self.reads
        yield "completion.intro", lambda: self.intro
        for key in (*(f"completion.{name}" for name in ("string", "list_string")), *(f"chat.{k}" for k in CHAT_FRAMES)):
            if self.has(key):
                yield key, lambda key=key: self.frame(key)  # type: ignore[misc]
        yield "chat.system", lambda: self.system
        if self.surfaces:  # a template without words is refused where they are looked at
            yield "completion.verify", lambda: self.verify("completion", 0)
            yield "chat.verify", lambda: self.verify("chat", 0)

    @cached_property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """The text before and after the answer of a read, by its argument."""
        (event,) = (event for event in self.task.events if event.is_read)
        return tuple(self._read_texts(event))

    @property
    def read_before(self) -> str:
        """The text before the answer of a read without arguments."""
        return self.reads[0][0]

    @property
    def read_after(self) -> str:
        """The text after the answer of a read without arguments."""
        return self.reads[0][1]

    @cached_property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """By the number of the event, its text by its argument; at a read by its argument and its answer."""
        solved = tuple(before + surface + after for before, after in self.reads for surface in self.surfaces)
        return tuple(solved if event.is_read else self._pieces(event) for event in self.task.events)

    @cached_property
    def intro(self) -> str:
        """What stands once before a completion."""
        return self._plain(self.template.completion.intro, "completion.intro")

    @cached_property
    def system(self) -> str:
        """The system message; empty for none."""
        return self._plain(self.template.chat.system, "chat.system")

    def verify(self, form: str, answer: int) -> str:
        """The question whether an answer is right.

        Raises:
            TemplateError: for a text that does not show it.
        """
        key = f"{form}.verify"
        if key not in self._made:
            self._made[key] = Frame(self._text(key) or "", key, ["answer", *self._names], once="answer")
        return self._made[key].render(**self._names, answer=self.surfaces[answer])

    def has(self, key: str) -> bool:
        """Return whether the file has a text, such as ``chat.list_again``."""
        return self._text(key) is not None

    @cached_property
    def _names(self) -> dict[str, Any]:
        """What frames may name besides their events: the answers, the sizes of the task, the words of its parts."""
        counts = dict(self.task.parts)
        for event in self.task.events:
            counts |= dict(zip(event.keys, event.sizes(self.symbols), strict=False))
        parts = self.template.parts
        words = {name: self.template.words(name, counts.get(name, len(parts[name]))) for name in parts}
        return {"values": self.surfaces, **self._sizes, **words}

    @property
    def _sizes(self) -> dict[str, Any]:
        """The sizes that a task has a name for, such as the places of a ring."""
        return dict(getattr(self.task, "sizes", {}))

    def _plain(self, source: str, key: str) -> str:
        """A text that stands around no events."""
        return Frame(source, key, [*self._names]).render(**self._names)

    def frame(self, key: str) -> Frame:
        """Return the frame around the events of a string: ``completion.string``, ``chat.list_again`` and so on.

        Raises:
            TemplateError: The file does not have it, or it cannot be used.
        """
        if key not in self._made:
            if (text := self._text(key)) is None:
                raise TemplateError(f"template {self.template.name!r} has no {key}, which this run needs; add it")
            self._made[key] = self._frame(key, text, answers=key == "completion.list_string")
        return self._made[key]

    def _text(self, key: str) -> str | None:
        section, _, name = key.partition(".")
        text: str | None = getattr(getattr(self.template, section), name)
        return text

    def check_pieces(self) -> None:
        """No two events may read the same, or the string could not be told from its text."""
        said: dict[str, str] = {}
        pairs = zip(self.task.events, self.pieces, strict=True)
        for event, pieces in sorted(pairs, key=lambda pair: pair[0].is_read):
            values = [" ".join(texts.values()) for texts in self._arguments(event)]
            if event.is_read:
                values = [f"{value} {surface}".strip() for value in values for surface in self.surfaces]
            for value, piece in zip(values, pieces, strict=True):
                name = f"{event.name} {value!r}" if event.is_read or event.has_argument else event.name
                if piece in said:
                    raise TemplateError(f"instructions: {said[piece]} and {name} both read {piece!r}")
                said[piece] = name
        blank = self.template.instructions.blank
        if blank in self.surfaces:
            raise TemplateError(f"instructions.blank: {blank!r} is also an answer")

    def _arguments(self, event: Event) -> list[dict[str, str]]:
        """How the arguments of an event are written, by their keys; one without any where it has none."""
        sizes = event.arguments if isinstance(event.arguments, tuple) else (event.arguments,)
        words: list[tuple[str, ...]] = []
        for key, size, count in zip(event.keys, sizes, event.sizes(self.symbols), strict=False):
            if size is None and key not in self.template.parts:
                words.append(self.surfaces)
            elif event.words:
                words.append(event.words)
            elif key in self.template.parts:
                words.append(self.template.words(key, count))
            else:
                words.append(tuple(map(str, range(count))))
        keys = event.keys[: len(words)]
        return [dict(zip(keys, values, strict=True)) for values in itertools.product(*words)]

    def _pieces(self, event: Event) -> tuple[str, ...]:
        """The texts of an event that is no read, by its argument."""
        if event.name not in self._worded:
            self._worded[event.name] = self._word(event)
        return self._worded[event.name]

    def _word(self, event: Event) -> tuple[str, ...]:
        texts, arguments = self.template.instructions.of(event), self._arguments(event)
        sources = texts if isinstance(texts, list) else [texts] * len(arguments)
        if len(sources) < len(arguments):
            raise TemplateError(
                f"template {self.template.name!r}: instructions.{event.name} has {len(sources)} texts for the "
                f"{len(arguments)} arguments of task {self.task.name}"
            )
        known = event.keys if event.has_argument else ()
        frames = {source: Frame(source, f"instructions.{event.name}", known) for source in set(sources)}
        return tuple(frames[source].render(**names) for source, names in zip(sources, arguments, strict=False))

    @property
    def _read(self) -> tuple[str, str]:
        """The key and the text that words the reads."""
        return self.template.read(self.task)

    def _read_texts(self, event: Event) -> Iterator[tuple[str, str]]:
        key, text = self._read
        known = ["answer", *self._sizes, *(event.keys if event.has_argument else ())]
        frame = Frame(text, key, known, once="answer")
        for names in self._arguments(event):
            read = frame.render(answer=ANSWER, **self._sizes, **names)
            if read.count(ANSWER) != 1:
                raise TemplateError(f"{key}: {{{{ answer }}}} must stand in it by itself, not in if, for or a filter")
            before, after = read.split(ANSWER)
            yield before, after

    def _frame(self, key: str, source: str, answers: bool = False) -> Frame:
        known = ["events", "values", "count", *(["answers"] if answers else [])]
        frame = Frame(source, key, list(dict.fromkeys([*known, *self._names])), once="events")
        for name in ("events", *(["answers"] if answers else [])):
            if frame.plain.count(name) != 1:
                raise TemplateError(
                    f"{key}: {{{{ {name} }}}} must stand in it exactly once, outside if, for and filters"
                )
        rendered = self._framed(frame, 2)
        if answers and not rendered.endswith(ANSWER):
            raise TemplateError(f"{key}: must end with {{{{ answers }}}}")
        return frame

    def _framed(self, frame: Frame, count: int) -> str:
        return frame.render(**self._names | {"events": EVENTS, "count": count, "answers": ANSWER})

    def around(self, frame: Frame, count: int) -> tuple[str, str]:
        """The text before and after the events of a string with ``count`` reads."""
        known = self._around.get((frame.key, count))
        if known is None:
            before, after = self._framed(frame, count).split(EVENTS)
            known = self._around[frame.key, count] = before, after
        return known
