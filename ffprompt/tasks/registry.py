"""Every task by its name. A new task is a module of its own and a line here."""

from __future__ import annotations

from ffprompt.errors import SpecError, did_you_mean
from ffprompt.tasks.base import Task
from ffprompt.tasks.flipflop import FLIP_FLOP

DEFAULT = FLIP_FLOP.name
_TASKS: dict[str, Task] = {FLIP_FLOP.name: FLIP_FLOP}


def register(task: Task) -> None:
    """Make a task known under its own name."""
    _TASKS[task.name] = task


def names() -> list[str]:
    """The tasks, sorted."""
    return sorted(_TASKS)


def get(name: str) -> Task:
    """The task of a name. Raises SpecError for an unknown one."""
    if name not in _TASKS:
        raise SpecError(f"task {name}: unknown task{did_you_mean(name, names())}")
    return _TASKS[name]


def rule_names() -> list[str]:
    """The rules without memory of all tasks, but for the constant ones."""
    return list(dict.fromkeys(name for task in _TASKS.values() for name in task.rule_names))
