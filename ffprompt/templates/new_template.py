"""A first template for somebody to change: small, with comments, and valid as it is."""

from __future__ import annotations

import re
from pathlib import Path

from ffprompt._util.storage import write_atomically
from ffprompt.errors import SpecError, TemplateError
from ffprompt.tasks import registry
from ffprompt.tasks.base import Task
from ffprompt.tasks.events import Event
from ffprompt.templates.loading import load, names

_TEXT = """\
# A prompt template. Look at what a model will see with: ffprompt prompts show {file}
# and at what is wrong with the file with:               ffprompt prompts check {file}

name = "{name}"
version = 1  # another number for other texts, so that runs can be told apart
summary = "what it is about, in one line"
{task}
{values}

# How each event of the string reads.
[instructions]
{events}
read = "{read}"  # {{{{ answer }}}}: the answer, best at the end

# Base models go on with a text. The elicitations forced and next need nothing here.
[completion]
# For list: the string with blanks, and {{{{ answers }}}} at the end.
list_string = "{{{{ events }}}}\\nAnswers: {{{{ answers }}}}"

# Chat models get messages. {{{{ events }}}} is the string, {{{{ count }}}} the number of its reads.
[chat]
list = \"\"\"
Some answers are missing here and stand as ___.

{{{{ events }}}}

Number of missing answers: {{{{ count }}}}. Reply with them alone, in order, separated by commas.\"\"\"
next = \"\"\"
The last answer is missing here and stands as ___.

{{{{ events }}}}

Reply with the missing answer alone.\"\"\"
# With --shots, also list_again and next_again: the same for every string after the first.
# For --elicitation dialogue, dialogue (and with shots dialogue_again): how the first message begins.

[reply]
ignore_case = true  # whether "On" is the answer "on"
"""
_FLIP_FLOP = """\
write = "The lamp is turned {{ value }}."  # {{ value }}: the symbol of the event, as in values
ignore = "The radio is turned {{ value }}.\""""


def write(name: str, task: str = registry.DEFAULT, folder: Path | None = None) -> Path:
    """Write a new template file and return its path.

    Args:
        name: Its name, or the path of the file, which ends in ``.toml``.
        task: The task or family of tasks whose events it words.
        folder: Where the file goes that is given by its name; by default here.

    Raises:
        TemplateError: The name cannot be used, or the file is there already.
    """
    path = Path(name) if name.endswith(".toml") else (folder or Path()) / f"{name}.toml"
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", path.stem):
        raise TemplateError(f"template {path.stem!r}: expected small letters, digits and hyphens, such as my-lamp")
    if path.stem in names():
        raise TemplateError(f"template {path.stem!r}: a bundled template has this name; choose another")
    try:
        content = _content(path, task)
    except SpecError as error:
        raise TemplateError(str(error)) from error
    try:
        if path.exists():
            raise TemplateError(f"template {path}: is there already; choose another name")
        write_atomically(path, content.encode())
    except OSError as error:
        raise TemplateError(f"template {path}: cannot be written ({error.strerror or error})") from error
    load(str(path))
    return path


def _content(path: Path, name: str) -> str:
    task = registry.example(name)
    flip_flop = name == registry.DEFAULT
    words = '["off", "on"]  # values[0] is how symbol 0 is written, values[1] symbol 1'
    events = [_line(event) for event in task.events if not event.is_read]
    return _TEXT.format(
        file=path,
        name=path.stem,
        task=f"values = {words}" if flip_flop else f'task = "{name}"',
        values="" if flip_flop else _values(task),
        events=_FLIP_FLOP if flip_flop else "\n".join(events),
        read="The lamp is {{ answer }}" if flip_flop else _read(task),
    ).replace("\n\n\n", "\n\n")


def _values(task: Task) -> str:
    return f'values = "numbers"  # the answers 0 to {(task.symbols or 2) - 1}; or a list of that many texts'


def _read(task: Task) -> str:
    (event,) = (event for event in task.events if event.is_read)
    return f"{_worded(event)}: {{{{ answer }}}}"


def _line(event: Event) -> str:
    return f'{event.name} = "{_worded(event)}"'


def _worded(event: Event) -> str:
    names = "".join(f" {{{{ {key} }}}}" for key in event.keys) if event.has_argument else ""
    return event.name + names
