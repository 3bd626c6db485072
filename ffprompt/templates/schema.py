"""What a template file holds: its keys, their types, and how it writes answers and arguments.

A template words each event once per argument. A prompt is those pieces joined, put into a frame. Rendering the
flip-flop string ``w1 i0 r1`` with the light switch::

    Alice turns the light on.       write, symbol 1
    Bob eats an apple.              ignore, symbol 0
    The light is turned on.         read; the prompt knows that "on" is at characters 65 … 67
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ffprompt.errors import SpecError, TemplateError, did_you_mean
from ffprompt.tasks import registry
from ffprompt.tasks.base import Task
from ffprompt.tasks.events import Event
from ffprompt.templates.frame import Frame

# Keys that came after the digests of templates: one that is left out is no part of a template's content.
_ADDED = (
    ("completion", "steps"), ("completion", "verify"), ("chat", "trace"), ("chat", "trace_again"), ("chat", "verify"),
)  # fmt: skip


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Instructions(_Section):
    """How each event reads.

    A key for each event of the task: one text, with ``{{ value }}`` where its argument stands, or one text for each
    argument that it can have.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | list[str]] = Field(init=False)

    read: str  # with {{ answer }} where the answer stands
    blank: str = "___"  # what stands there when the model is to fill it in
    separator: str = "\n"

    def of(self, event: Event) -> str | list[str]:
        """The wording of an event."""
        return self.read if event.is_read else self.__pydantic_extra__[event.name]


class Completion(_Section):
    """The form for base models. ``intro`` stands once; each string, shot or question, is set in its frame.

    A frame that no run uses may be left out, here and in ``Chat``.
    """

    intro: str = ""
    string: str = "{{ events }}"  # forced and next: the true answers stand in place
    list_string: str | None = None  # list: the reads are blank, {{ answers }} ends the text
    steps: str = "Step by step:"  # trace: stands between the events and the lines about them
    between: str = "\n\n"
    verify: str = 'Is the last answer, "{{ answer }}", right? True or False:'  # verify: stands on a line of its own


class Chat(_Section):
    """The form for chat models: first and later user turns, for the whole list of answers and for one answer.

    A dialogue begins with ``dialogue``, after a shot with ``dialogue_again``, and goes on with ``turn``, where
    ``{{ count }}`` is the number of reads in that turn. ``ack`` is the assistant's word on a turn that asks nothing,
    ``silence`` stands where a model's own reply was empty.

    ``verify`` follows the request for one answer, and asks whether ``{{ answer }}`` is right instead.

    ``trace`` and ``trace_again`` ask for a numbered line for each event and a last line "Answers:". Without them the
    request for a list is followed by one for these.
    """

    system: str = ""
    list: str | None = None
    list_again: str | None = None
    next: str | None = None
    next_again: str | None = None
    dialogue: str | None = None
    dialogue_again: str | None = None
    trace: str | None = None
    trace_again: str | None = None
    turn: str = "{{ events }}"
    ack: str = "OK."
    silence: str = "(no answer)"
    verify: str = (
        'Do not give that answer yourself. The answer proposed by someone else is "{{ answer }}". Is it right? Reply '
        "with True or False alone."
    )


class Reply(_Section):
    """How a reply is written and read."""

    joiner: str = ", "
    ignore_case: bool = False


class ReadFunction(_Section):
    """How a task's reads are worded that ask for a function of the state, such as which thing is first."""

    read: str  # with {{ answer }} where the answer stands
    values: list[str] | str | None = None  # as in Template; None: the words of the part that the answer is


class Template(_Section):
    """One file of ``prompts/``.

    ``values`` are the answers: a list, ``numbers``, or one text with the parts of an answer, such as ``place
    {{ place }}``. ``parts`` words such parts and the arguments of events, by name; those that it leaves out are
    numbers. ``functions`` word reads that ask for a function of the state.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    version: Annotated[int, Field(ge=1)]
    summary: str
    task: str = registry.DEFAULT
    values: list[str] | str
    parts: dict[str, list[str]] = Field(default_factory=dict)
    functions: dict[str, ReadFunction] = Field(default_factory=dict)
    instructions: Instructions
    completion: Completion = Completion()
    chat: Chat = Chat()
    reply: Reply = Reply()

    @model_validator(mode="after")
    def _words_its_events(self) -> Template:
        if problems := event_problems(self.task, self.instructions.__pydantic_extra__ or {}):
            raise ValueError(problems[0])
        return self

    def content(self) -> dict[str, Any]:
        """Everything in the file, as plain values. The default task is left out, as files leave it out."""
        unused = {name for name in ("parts", "functions") if not getattr(self, name)}
        content = self.model_dump(exclude=unused | ({"task"} if self.task == registry.DEFAULT else set()))
        for section, key in _ADDED:
            part = getattr(self, section)
            if getattr(part, key) == type(part).model_fields[key].default:
                del content[section][key]
        events = content["instructions"]
        own = {key: events.pop(key) for key in Instructions.model_fields}
        return {**content, "instructions": events | own}

    @property
    def digest(self) -> str:
        """16 hex digits of everything in the file but comments and layout."""
        content = json.dumps(self.content(), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def surfaces(self, symbols: int, task: Task | None = None) -> tuple[str, ...]:
        """How the answers 0 … symbols - 1 are written. ``task`` is the one that is asked, by default any it words.

        Raises:
            TemplateError: where it has too few words.
        """
        task = registry.example(self.task) if task is None else task
        function = self._function(task)
        values = self.values if function is None else function.values
        if values is None:
            values = f"{{{{ {task.read_function} }}}}"
        if values == "numbers":
            return _numbers(symbols)
        if isinstance(values, str):
            return self._from_parts(values, symbols, task)
        if symbols > len(values):
            hint = "; raw-spaced and raw-compact word up to 256" if self.task == registry.DEFAULT else ""
            raise TemplateError(f"template {self.name!r} words {len(values)} data symbols, not {symbols}{hint}")
        return tuple(values[:symbols])

    def read(self, task: Task) -> tuple[str, str]:
        """The key and the text that words the reads of a task.

        Raises:
            TemplateError: where there is none.
        """
        function = self._function(task)
        if function is None:
            return "instructions.read", self.instructions.read
        return f"functions.{task.read_function}.read", function.read

    def _function(self, task: Task) -> ReadFunction | None:
        asked = task.read_function
        if asked not in self.functions and asked != registry.example(self.task).read_function:
            raise TemplateError(
                f"template {self.name!r} has no words for reads of {asked!r} (--task-arg read={asked}); "
                f"add [functions.{asked}] or leave it out"
            )
        return self.functions.get(asked)

    def _from_parts(self, values: str, symbols: int, task: Task) -> tuple[str, ...]:
        """Each answer from a text with the names of its parts."""
        frame = Frame(values, "values", [*task.parts])
        words = {name: self.words(name, size) for name, size in task.parts.items()}
        surfaces = []
        for answer in range(symbols):
            names = {
                name: words[name][value] if isinstance(value, int) else [words[name][one] for one in value]
                for name, value in task.part_values(answer).items()
            }
            surfaces.append(frame.render(**names))
        return tuple(surfaces)

    def words(self, part: str, count: int) -> tuple[str, ...]:
        """How the values of a part, or of an argument of events, are written: numbers where it gives no words.

        Raises:
            TemplateError: where it has too few words.
        """
        if part not in self.parts:
            return _numbers(count)
        if count > len(self.parts[part]):
            raise TemplateError(
                f"template {self.name!r}: parts.{part} has {len(self.parts[part])} words, not {count}; "
                "add some, or choose a smaller task"
            )
        return tuple(self.parts[part][:count])


def _numbers(count: int) -> tuple[str, ...]:
    width = len(str(count - 1))
    return tuple(f"{number:0{width}d}" for number in range(count))


def event_problems(name: str, texts: Collection[str]) -> list[str]:
    """Return what is wrong with the keys of ``instructions``: an unknown one, an event without a text.

    Args:
        name: The task, or a family of tasks.
        texts: The keys but ``read``, ``blank`` and ``separator``.
    """
    try:
        task = registry.example(name)
    except SpecError as error:
        return [str(error)]
    events = [event.name for event in task.events if not event.is_read]
    known = [*Instructions.model_fields, *events]
    unknown = [key for key in texts if key not in known]
    missing = [event for event in events if event not in texts]
    return [
        *(f"instructions.{key}: unknown key{did_you_mean(key, known)}" for key in unknown),
        *(f"instructions.{event} is missing, an event of task {name!r}" for event in missing),
    ]
