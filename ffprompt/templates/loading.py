"""Find a template by its name or its file, and say everything that is wrong with it."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt._util.formatting import counted
from ffprompt._util.validation import each_in_one_line
from ffprompt.errors import TemplateError, did_you_mean
from ffprompt.tasks import registry
from ffprompt.tasks.events import MAX_SYMBOLS, Event
from ffprompt.templates.answer_words import split, with_words
from ffprompt.templates.frame import not_reserved
from ffprompt.templates.renderer import Part, Renderer, check_values
from ffprompt.templates.schema import Instructions, Template, event_problems


def folder() -> Path:
    """Return the folder of the bundled templates."""
    return bundled_folder("prompts")


def names() -> list[str]:
    """Return the names of the bundled templates, sorted."""
    return sorted(path.stem for path in folder().glob("*.toml"))


def load(name: str) -> Template:
    """Load a bundled template by its name, or any template by the path of its file, and check all of it.

    ``light-switch=down/up`` is the template ``light-switch`` with these answer words.

    Raises:
        TemplateError: There is none, or something in it is wrong. One line names the file and every wrong key.
    """
    base, words = split(name) if isinstance(name, str) else (name, ())
    path, content = _content(base)
    template, problems = _checked(content, _tasks())
    if template is None or problems:
        raise TemplateError(f"template {path}: {in_one_line(problems)}")
    if words:
        template = with_words(template, words)
        if problems := tuple(dict.fromkeys(_wrong_texts(template))):
            raise TemplateError(f"template {name}: {in_one_line(problems)}")
    return template


def check(name: str) -> tuple[Template | None, list[str]]:
    """Return a template and everything that is wrong with it, each in one line that begins with the key.

    Raises:
        TemplateError: There is no such template, or its file is no TOML.
    """
    template, problems = _checked(_content(name)[1], _tasks())
    return template, list(problems)


def in_one_line(problems: Iterable[str]) -> str:
    """Return problems in one line.

    >>> in_one_line(["version is missing", "chat.lst: unknown key"])
    '2 problems: (1) version is missing (2) chat.lst: unknown key'
    """
    listed = list(problems)
    if len(listed) == 1:
        return listed[0]
    return f"{len(listed)} problems: {' '.join(f'({n}) {text}' for n, text in enumerate(listed, start=1))}"


def _content(name: str) -> tuple[Path, str]:
    """The file of a template and its text."""
    if not isinstance(name, str):
        raise TemplateError(f"template {name!r:.80}: expected a name or the path of a .toml file")
    is_path = name.endswith(".toml")
    path = Path(name) if is_path else folder() / f"{name}.toml"
    try:
        if path.is_file() and (is_path or path.parent == folder()):
            return path, read_text(path)
    except (ValueError, OSError) as error:
        raise TemplateError(f"template {path}: not readable as TOML: {error}") from error
    if is_path:
        raise TemplateError(f"template {name}: {'a folder, and no such file' if path.is_dir() else 'no such file'}")
    hint = f"; its file is given with its ending: {name}.toml" if Path(f"{name}.toml").is_file() else ""
    raise TemplateError(f"template {name!r} is unknown{hint or did_you_mean(name, names())}")


def _tasks() -> frozenset[int]:
    """What stands for the tasks that there are, of which some may be registered later."""
    return frozenset(map(id, registry.every().values()))


@lru_cache
def _checked(content: str, tasks: frozenset[int]) -> tuple[Template | None, tuple[str, ...]]:
    """The template of a file, None where a key is missing or of the wrong type, and everything that is wrong.

    It is remembered by the file's content and the ``tasks`` that there are, since checking takes a while.
    """
    try:
        keys = tomllib.loads(content)
    except (ValueError, RecursionError) as error:
        return None, (f"not readable as TOML: {error}",)
    try:
        template = Template.model_validate(keys)
    except ValidationError as error:
        return None, tuple(_wrong_keys(keys, error))
    return template, tuple(dict.fromkeys(_wrong_texts(template)))


def _wrong_keys(content: Mapping[str, Any], error: ValidationError) -> Iterator[str]:
    """Keys that are unknown, missing or of the wrong type. Unknown ones come first: they explain missing ones."""
    found = each_in_one_line(error, Template)
    task, texts = content.get("task", registry.DEFAULT), content.get("instructions")
    if isinstance(task, str) and isinstance(texts, dict):
        of_events = event_problems(task, texts.keys() - Instructions.model_fields.keys())
        found = [*found, *(one for one in of_events if one not in found)]
    found.sort(key=lambda one: "unknown key" not in one)
    unknown = [_key(one) for one in found if "unknown key" in one]
    for one in found:
        key = one.removesuffix(" is missing").split(" is missing, ")[0]
        if key != one and difflib.get_close_matches(key, unknown, n=1, cutoff=0.8):
            continue  # misspelt, which is said already
        yield one


def _key(problem: str) -> str:
    return problem.split(":", 1)[0]


def _wrong_texts(template: Template) -> Iterator[str]:
    """What is wrong with a template whose keys are all there and of the right types."""
    bad: set[str] = set()
    for key, check_part in _simple_checks(template):
        if (problem := _problem(check_part)) is not None:
            bad.add(key)
            yield problem
    task = registry.example(template.task)
    symbols = _symbols(template)
    try:
        words = Renderer(template, symbols, checked=False)
    except TemplateError as error:
        if "values" not in bad:
            yield str(error)
        return
    for key, make in words.parts():
        if key not in bad and (problem := _problem(make)) is not None:
            bad.add(key)
            yield problem
    if not bad & {"values", *(f"instructions.{event.name}" for event in task.events), "instructions.read"} and (
        problem := _problem(words.check_pieces)
    ):
        yield problem


def _problem(make: Any) -> str | None:
    try:
        make()
    except TemplateError as error:
        return str(error)
    return None


def _symbols(template: Template) -> int:
    """The number of answers that a template is checked with: as many as it words, or as its task has."""
    task = registry.example(template.task)
    if task.symbols is not None:
        return task.symbols
    return len(template.values) if isinstance(template.values, list) else 2


def _simple_checks(template: Template) -> Iterator[Part]:
    """Checks that need no rendering, each with the key that it is about."""
    yield "values", lambda: _check_values(template)
    for event in registry.example(template.task).events:
        yield f"instructions.{event.name}", lambda event=event: _check_count(template, event)  # type: ignore[misc]
    yield "parts", lambda: _check_parts(template)
    yield "functions", lambda: _check_functions(template)
    plain = (
        ("instructions.separator", template.instructions.separator),
        ("instructions.blank", template.instructions.blank),
        ("completion.between", template.completion.between),
        ("completion.steps", template.completion.steps),
        ("reply.joiner", template.reply.joiner),
        ("chat.ack", template.chat.ack),
        ("chat.silence", template.chat.silence),
    )
    for key, text in plain:
        yield key, lambda key=key, text=text: _check_plain(key, text)  # type: ignore[misc]


def _check_values(template: Template) -> None:
    values, task = template.values, registry.example(template.task)
    symbols = _symbols(template)
    if isinstance(values, list) and not 2 <= len(values) <= MAX_SYMBOLS:
        raise TemplateError(f"values: {len(values)} of them; expected 2 to {MAX_SYMBOLS}")
    if isinstance(values, str) and values != "numbers" and "{{" not in values:
        raise TemplateError(f"values: {values!r:.60}; expected a list, numbers, or a text with {{{{ a part }}}}")
    if task.symbols is not None and isinstance(values, list) and len(values) < task.symbols:
        raise TemplateError(f"values: {len(values)} of them; task {task.name} has {task.symbols} answers")
    check_values(template.surfaces(symbols), template.reply.ignore_case)


def _check_count(template: Template, event: Event) -> None:
    """An event that is worded argument by argument needs a text for each."""
    texts, symbols = template.instructions.of(event), _symbols(template)
    if not isinstance(texts, list):
        return
    if event.arguments is None:
        if template.values != "numbers" and len(texts) == symbols:
            return
        these = (
            "numbers; expected one text with {{ value }}" if template.values == "numbers" else counted(symbols, "value")
        )
    elif event.has_argument and len(texts) == event.count(symbols):
        return
    else:
        count = event.count(symbols)
        these = f"{count} arguments" if event.has_argument else "an event without an argument; expected one"
    raise TemplateError(f"instructions.{event.name}: {len(texts)} texts for {these}")


def _check_parts(template: Template) -> None:
    for name, words in template.parts.items():
        if not words:
            raise TemplateError(f"parts.{name}: is empty")


def _check_functions(template: Template) -> None:
    task = registry.example(template.task)
    known = {"state", *getattr(task, "functions", ())}
    for name in template.functions:
        if name not in known:
            raise TemplateError(f"functions.{name}: task {template.task} has no such reads{did_you_mean(name, known)}")


def _check_plain(key: str, text: str) -> None:
    """A text that stands in a prompt as it is."""
    not_reserved(key, text)
    if key in ("chat.ack", "chat.silence") and not text.strip():
        raise TemplateError(f"{key}: is empty; most chat models refuse an empty turn")
    if key == "completion.steps" and (not text.strip() or "\n" in text.strip("\n")):
        raise TemplateError(f"{key}: {text!r}; expected one line of text")
    if key == "reply.joiner" and "\n" in text:
        raise TemplateError("reply.joiner: a base model's list ends with its line, so it may hold no line break")
