"""Prompt templates: a TOML file that words the events of a task, and the prompts made from it.

A template words each event once per argument. A prompt is those pieces joined, put into a frame. Rendering the
flip-flop string ``w1 i0 r1`` with the light switch::

    Alice turns the light on.       write, symbol 1
    Bob eats an apple.              ignore, symbol 0
    The light is turned on.         read; the prompt knows that "on" is at characters 65 … 67

The texts are Jinja2 in a sandbox, of which a template may use little: names, literals, whitelisted filters, ``if`` and
``for`` over what it is given. That rules out attribute access, calls and endless loops before anything is rendered.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from jinja2 import StrictUndefined, TemplateSyntaxError, meta, nodes
from jinja2 import TemplateError as JinjaError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt.errors import SpecError, TemplateError, did_you_mean
from ffprompt.tasks import registry
from ffprompt.tasks.base import MAX_SYMBOLS, Event, Task

# Stand in for the parts that are put in after Jinja has rendered the frame; a template may not contain them.
EVENTS, ANSWER = "\ue000", "\ue001"

# Names that Jinja2 would know by itself (range, lipsum, cycler …) are none of a template's business.
_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)
_ENVIRONMENT.globals.clear()
_FILTERS = frozenset({"capitalize", "first", "join", "last", "length", "lower", "title", "trim", "upper"})
_ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.If,
    nodes.For, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Filter,
    nodes.Getitem,
)  # fmt: skip
_MOST_CHARACTERS = 100_000


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
    """The form for base models. ``intro`` stands once; each string, shot or question, is set in its frame."""

    intro: str = ""
    string: str = "{{ events }}"  # forced and next: the true answers stand in place
    list_string: str  # list: the reads are blank, {{ answers }} ends the text
    between: str = "\n\n"


class Chat(_Section):
    """The form for chat models: first and later user turns, for the whole list of answers and for one answer.

    A dialogue begins with ``dialogue``, after a shot with ``dialogue_again``, and goes on with ``turn``, where
    ``{{ count }}`` is the number of reads in that turn. ``ack`` is the assistant's word on a turn that asks nothing,
    ``silence`` stands where a model's own reply was empty. Without the first two a template has no dialogues.
    """

    system: str = ""
    list: str
    list_again: str
    next: str
    next_again: str
    dialogue: str | None = None
    dialogue_again: str | None = None
    turn: str = "{{ events }}"
    ack: str = "OK."
    silence: str = "(no answer)"


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
    completion: Completion
    chat: Chat
    reply: Reply = Reply()

    @model_validator(mode="before")
    @classmethod
    def _words_only_events(cls, content: Any) -> Any:
        """Refuse an unknown task, and a key of ``instructions`` that is no event of the task."""
        name = content.get("task", registry.DEFAULT) if isinstance(content, dict) else None
        instructions = content.get("instructions") if isinstance(content, dict) else None
        if not isinstance(name, str) or not isinstance(instructions, dict):
            return content  # pydantic says what is wrong
        known = [*Instructions.model_fields, *(event.name for event in _task(name).events if not event.is_read)]
        for key in instructions:
            if key not in known:
                raise ValueError(f"instructions.{key}: unknown key{did_you_mean(key, known)}")
        return content

    @model_validator(mode="after")
    def _words_every_event(self) -> Template:
        for event in _task(self.task).events:
            if not event.is_read and event.name not in (self.instructions.__pydantic_extra__ or {}):
                raise ValueError(f"instructions.{event.name}: field required, an event of task {self.task!r}")
        return self

    def content(self) -> dict[str, Any]:
        """Everything in the file, as plain values. The default task is left out, as files leave it out."""
        unused = {name for name in ("parts", "functions") if not getattr(self, name)}
        content = self.model_dump(exclude=unused | ({"task"} if self.task == registry.DEFAULT else set()))
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

        Raises TemplateError where it has too few words.
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
        """The key and the text that words the reads of a task. Raises TemplateError where there is none."""
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

        Raises TemplateError where it has too few words.
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


def _task(name: str) -> Task:
    """A task of a template. Raises ValueError, as a validator must, for an unknown one."""
    try:
        return registry.example(name)
    except SpecError as error:
        raise ValueError(str(error)) from error


def folder() -> Path:
    """Return the folder of the bundled templates."""
    return bundled_folder("prompts")


def names() -> list[str]:
    """The bundled templates, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml"))


@lru_cache
def load(name: str) -> Template:
    """Load a bundled template by name, or any by path, and check everything about it that can be checked.

    Raises TemplateError, one line naming the file and the key.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise TemplateError(f"template {name}: no such file")
        raise TemplateError(f"template {name!r} is unknown{did_you_mean(name, names())}")
    try:
        content = tomllib.loads(read_text(path))
    except (ValueError, OSError) as error:
        raise TemplateError(f"template {path}: not readable as TOML: {error}") from error
    try:
        template = Template.model_validate(content)
    except ValidationError as error:
        raise TemplateError(f"template {path}: {_first_problem(error)}") from error
    try:
        _check(template)
    except TemplateError as error:
        raise TemplateError(f"template {path}: {error}") from error
    return template


def _first_problem(error: ValidationError) -> str:
    """One line for the first thing pydantic objects to, with the nearest known key for an unknown one."""
    problem = min(
        error.errors(), key=lambda one: one["type"] != "extra_forbidden"
    )  # a misspelt key before a missing one
    if problem["type"] == "value_error":  # one of ours names the key itself
        return problem["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg'].lower()} (is {problem['input']!r:.60})"
    section: type[BaseModel] = Template
    for part in problem["loc"][:-1]:
        annotation = section.model_fields[str(part)].annotation
        assert isinstance(annotation, type)
        section = annotation
    return f"{where}: unknown key{did_you_mean(str(problem['loc'][-1]), section.model_fields)}"


def _check(template: Template) -> None:
    values, task = template.values, registry.example(template.task)
    symbols = len(values) if isinstance(values, list) else 2 if task.symbols is None else task.symbols
    if not 2 <= symbols <= MAX_SYMBOLS:
        raise TemplateError(f"values: {symbols} of them; expected 2 to {MAX_SYMBOLS}")
    if isinstance(values, str) and values != "numbers" and "{{" not in values:
        raise TemplateError(f"values: {values!r:.60}; expected a list, numbers, or a text with {{{{ a part }}}}")
    if task.symbols is not None and len(values) < task.symbols and isinstance(values, list):
        raise TemplateError(f"values: {len(values)} of them; task {task.name} has {task.symbols} answers")
    symbols = symbols if task.symbols is None else task.symbols
    _check_values(template.surfaces(symbols), template.reply.ignore_case)
    for event in task.events:
        _check_count(template, event, symbols)
    for name, words in template.parts.items():
        if not words:
            raise TemplateError(f"parts.{name}: is empty")
    known = {"state", *(name for name in getattr(task, "functions", ()))}
    for name in template.functions:
        if name not in known:
            raise TemplateError(f"functions.{name}: task {template.task} has no such reads{did_you_mean(name, known)}")
    for key, text in (
        ("instructions.separator", template.instructions.separator),
        ("instructions.blank", template.instructions.blank),
        ("completion.between", template.completion.between),
        ("reply.joiner", template.reply.joiner),
        ("chat.ack", template.chat.ack),
        ("chat.silence", template.chat.silence),
    ):
        _not_reserved(key, text)
    for key in ("ack", "silence"):
        if not getattr(template.chat, key).strip():
            raise TemplateError(f"chat.{key}: is empty; most chat models refuse an empty turn")
    if (template.chat.dialogue is None) != (template.chat.dialogue_again is None):
        missing = "dialogue" if template.chat.dialogue is None else "dialogue_again"
        raise TemplateError(f"chat.{missing}: is missing; dialogue and dialogue_again go together")
    if "\n" in template.reply.joiner:
        raise TemplateError("reply.joiner: a base model's list ends with its line, so it may hold no line break")
    Renderer(template, symbols)


def _check_count(template: Template, event: Event, symbols: int) -> None:
    """An event that is worded argument by argument needs a text for each."""
    texts = template.instructions.of(event)
    if not isinstance(texts, list):
        return
    if event.arguments is None:
        if template.values != "numbers" and len(texts) == symbols:
            return
        these = "numbers; expected one text with {{ value }}" if template.values == "numbers" else f"{symbols} values"
    elif event.has_argument and len(texts) == event.count(symbols):
        return
    else:
        count = event.count(symbols)
        these = f"{count} arguments" if event.has_argument else "an event without an argument; expected one"
    raise TemplateError(f"instructions.{event.name}: {len(texts)} texts for {these}")


def _check_values(surfaces: Sequence[str], ignore_case: bool) -> None:
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


class Frame:
    """A Jinja2 text of a template, checked. Raises TemplateError naming ``key`` and what is not allowed."""

    def __init__(self, source: str, key: str, names: Sequence[str], once: str | None = None) -> None:
        self.key = key
        _not_reserved(key, source)
        try:
            tree = _ENVIRONMENT.parse(source)
        except TemplateSyntaxError as error:
            raise TemplateError(f"{key}: {error.message} (line {error.lineno})") from error
        except (RecursionError, ValueError) as error:
            raise TemplateError(f"{key}: cannot be parsed ({error})") from error
        for node in _walk(tree, key):
            if not isinstance(node, _ALLOWED):
                where = f" (line {node.lineno})" if node.lineno else ""
                raise TemplateError(
                    f"{key}: {type(node).__name__}{where} is not allowed; a template may use names, "
                    "literals, [number], if, for over values, and the filters " + ", ".join(sorted(_FILTERS))
                )
        for name in sorted(meta.find_undeclared_variables(tree)):
            if name not in names:
                raise TemplateError(f"{key}: unknown name {name!r}{did_you_mean(name, names)}")
        if once is not None:
            found = sum(isinstance(node, nodes.Name) and node.name == once for node in tree.find_all(nodes.Name))
            if found != 1:
                raise TemplateError(f"{key}: {{{{ {once} }}}} must stand in it exactly once, not {found} times")
        # Names that stand by themselves on the top level: certain to be rendered, exactly once each.
        top = [part for node in tree.body if isinstance(node, nodes.Output) for part in node.nodes]
        self.plain = [part.name for part in top if isinstance(part, nodes.Name)]
        self._template = _ENVIRONMENT.from_string(source)

    def render(self, **names: Any) -> str:
        """Fill in the names."""
        try:
            text = self._template.render(names)
        except (JinjaError, TypeError, ValueError, LookupError) as error:
            raise TemplateError(f"{self.key}: cannot be rendered ({error})") from error
        if len(text) > _MOST_CHARACTERS:
            raise TemplateError(f"{self.key}: renders to {len(text)} characters; {_MOST_CHARACTERS} are allowed")
        return text


def _walk(tree: nodes.Node, key: str, loops: int = 0) -> Iterator[nodes.Node]:
    for node in tree.iter_child_nodes():
        if isinstance(node, nodes.For):
            if loops or not isinstance(node.iter, (nodes.Name, nodes.List, nodes.Tuple)) or node.recursive:
                raise TemplateError(f"{key}: for (line {node.lineno}) may run over values only, and not be nested")
        elif isinstance(node, nodes.Filter):
            _check_filter(node, key)
        elif isinstance(node, nodes.Getitem) and not (
            isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, int)
        ):
            raise TemplateError(f"{key}: [ ] (line {node.lineno}) takes a number only")
        yield node
        yield from _walk(node, key, loops + isinstance(node, nodes.For))


def _not_reserved(key: str, text: str) -> None:
    if EVENTS in text or ANSWER in text:
        raise TemplateError(f"{key}: the characters U+E000 and U+E001 are reserved")


def _check_filter(node: nodes.Filter, key: str) -> None:
    """Filters take no arguments, but join a literal; and joins of joins, which can grow without bound, are out."""
    where = f"{key}: filter {node.name!r} (line {node.lineno})"
    if node.name not in _FILTERS:
        raise TemplateError(f"{where}{did_you_mean(node.name, _FILTERS)}")
    literal = node.name == "join" and len(node.args) == 1 and isinstance(node.args[0], nodes.Const)
    if (node.args and not literal) or node.kwargs or node.dyn_args or node.dyn_kwargs:
        raise TemplateError(f"{where} takes no argument" + (" but one literal text" if node.name == "join" else ""))
    if node.name == "join" and any(inner.name == "join" for inner in node.find_all(nodes.Filter)):
        raise TemplateError(f"{where} may not be applied to another join")


class Renderer:
    """The pieces and frames of one template for a number of data symbols, ready to be joined into prompts."""

    def __init__(self, template: Template, symbols: int, task: Task | None = None) -> None:
        self.template = template
        self.task = registry.example(template.task) if task is None else task
        self.symbols = symbols
        self.surfaces = template.surfaces(symbols, task)
        if task is not None:
            _check_values(self.surfaces, template.reply.ignore_case)
        pieces = {event: self._pieces(event) for event in self.task.events if not event.is_read}
        (event,) = (event for event in self.task.events if event.is_read)
        # The text before and after the answer of a read, by its argument.
        self.reads = tuple(self._read_texts(event))
        self.read_before, self.read_after = self.reads[0]
        solved = tuple(before + surface + after for before, after in self.reads for surface in self.surfaces)
        # By the number of the event and by its argument, or at a read by its argument and answer.
        self.pieces = tuple(pieces.get(event, solved) for event in self.task.events)
        self._check_pieces()
        self._names = self._sizes_and_words()
        completion, chat = template.completion, template.chat
        self.intro = self._plain(completion.intro, "completion.intro")
        self.string = self._frame("completion.string", completion.string)
        self.list_string = self._frame("completion.list_string", completion.list_string, answers=True)
        keys = [key for key in Chat.model_fields if key not in ("system", "ack", "silence")]
        self.chat = {key: self._frame(f"chat.{key}", text) for key in keys if (text := getattr(chat, key)) is not None}
        self.system = self._plain(chat.system, "chat.system")

    def _sizes_and_words(self) -> dict[str, Any]:
        """What frames may name besides their events: the sizes of the task, and the words of its parts."""
        counts = dict(self.task.parts)
        for event in self.task.events:
            counts |= dict(zip(event.keys, event.sizes(self.symbols), strict=False))
        parts = self.template.parts
        words = {name: self.template.words(name, counts.get(name, len(parts[name]))) for name in parts}
        return {"values": self.surfaces, **self.task.sizes, **words}

    def _plain(self, source: str, key: str) -> str:
        return Frame(source, key, [*self._names]).render(**self._names)

    def _check_pieces(self) -> None:
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

    def _read_texts(self, event: Event) -> Iterator[tuple[str, str]]:
        key, text = self.template.read(self.task)
        known = ["answer", *self.task.sizes, *(event.keys if event.has_argument else ())]
        frame = Frame(text, key, known, once="answer")
        for names in self._arguments(event):
            read = frame.render(answer=ANSWER, **self.task.sizes, **names)
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
        before, after = self._framed(frame, count).split(EVENTS)
        return before, after
