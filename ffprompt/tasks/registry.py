"""Every task by its name. A new task is a module of its own and a line here.

Tasks that are worded alike make up a family: ``counter-3`` and ``counter-10`` are of the family ``counter``, which is
what a template names. A family has a line in ``_FAMILIES``, which says how the names of its members are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ffprompt.errors import SpecError, did_you_mean
from ffprompt.tasks.addition import Addition
from ffprompt.tasks.base import Task
from ffprompt.tasks.dihedral import Dihedral
from ffprompt.tasks.dyck import Dyck
from ffprompt.tasks.events import MAX_SYMBOLS
from ffprompt.tasks.flipflop import FLIP_FLOP
from ffprompt.tasks.grid import Grid
from ffprompt.tasks.groups import Counter, Cube, Parity
from ffprompt.tasks.permutations import Alternating, Symmetric
from ffprompt.tasks.quaternions import Quaternions
from ffprompt.tasks.registers import Registers
from ffprompt.tasks.segments import DenseThenSparse
from ffprompt.tasks.undo import Undo

DEFAULT = FLIP_FLOP.name


@dataclass(frozen=True)
class Family:
    """Tasks of different sizes.

    Attributes:
        pattern: What their names look like, with a group for each size.
        shown: The same, for people.
        make: Returns a task from its sizes.
        example: The member that templates of the family are checked with.
        least: The smallest sizes.
        most: The largest ones.
        even: Whether the size must be even.
    """

    pattern: str
    shown: str
    make: Callable[..., Task]
    example: Task
    least: tuple[int, ...]
    most: tuple[int, ...]
    even: bool = False

    def member(self, name: str) -> Task | None:
        """Return the task of a name, None where it is none of this family.

        Raises:
            SpecError: for an impossible size.
        """
        match = re.fullmatch(self.pattern, name)
        if match is None:
            return None
        sizes = [int(text) for text in match.groups()]
        for size, least, most in zip(sizes, self.least, self.most, strict=True):
            if not least <= size <= most or (self.even and size % 2):
                kind = "an even number" if self.even else "a number"
                raise SpecError(
                    f"task {name}: {size} is out of range; {self.shown} takes {kind} from {least} to {most}"
                )
        return self.make(*sizes)


_TASKS: dict[str, Task] = {
    task.name: task
    for task in (FLIP_FLOP, Parity(), Cube(), Quaternions(), Undo(), DenseThenSparse(), Addition())
}  # fmt: skip
_FAMILIES: dict[str, Family] = {
    "counter": Family(
        r"(?:counter-|c)(\d{1,9})", "counter-N", lambda n: Counter(size=n), Counter(), (2,), (MAX_SYMBOLS,)
    ),
    "dihedral": Family(
        r"(?:dihedral-|d)(\d{1,9})", "dihedral-N (N states: N/2 places, two directions)", lambda n: Dihedral(size=n),
        Dihedral(), (6,), (MAX_SYMBOLS,), even=True,
    ),
    "grid": Family(r"grid-?(\d{1,9})", "grid-N", lambda n: Grid(size=n), Grid(), (2,), (MAX_SYMBOLS,)),
    "dyck": Family(
        r"dyck-(\d{1,9})-(\d{1,9})", "dyck-K-D (K kinds, at most D deep)", lambda k, d: Dyck(kinds=k, deepest=d),
        Dyck(), (1, 1), (MAX_SYMBOLS - 1, MAX_SYMBOLS - 1),
    ),
    "registers": Family(r"registers-(\d{1,9})", "registers-K", lambda k: Registers(names=k), Registers(), (2,), (64,)),
    "symmetric": Family(r"s-?(\d{1,9})", "sN", lambda n: Symmetric(size=n), Symmetric(), (3,), (8,)),
    "alternating": Family(r"a-?(\d{1,9})", "aN", lambda n: Alternating(size=n), Alternating(), (4,), (8,)),
}  # fmt: skip


# What a name without a size stands for.
_USUAL = {"registers": "registers-4"}


def register(task: Task) -> None:
    """Make a task known under its own name."""
    _TASKS[task.name] = task


def names() -> list[str]:
    """The tasks and the examples of families, sorted."""
    return sorted([*_TASKS, *(family.example.name for family in _FAMILIES.values())])


def get(name: str, arguments: Iterable[str] = ()) -> Task:
    """Return the task of a name, with its own settings as texts ``KEY=VALUE``.

    Raises:
        SpecError: for an unknown task or setting, and for a task with more answers than there can be.
    """
    name = _USUAL.get(name, name)
    task = _TASKS.get(name) or next(filter(None, (family.member(name) for family in _FAMILIES.values())), None)
    if task is None:
        hint = f"; one of {_FAMILIES[name].shown}?" if name in _FAMILIES else did_you_mean(name, names())
        raise SpecError(f"task {name}: unknown task{hint}")
    given: dict[str, str] = {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"task-arg {text}: expected KEY=VALUE, such as p_read=0.1")
        if key.strip() in given:
            raise SpecError(f"task-arg {key.strip()}: given twice")
        given[key.strip()] = value.strip()
    task = task.configured(given) if given else task
    if task.symbols is not None and task.symbols > MAX_SYMBOLS:
        raise SpecError(
            f"task {name}: its {task.symbols} states are more than the {MAX_SYMBOLS} answers there can be; "
            "use --task-arg read=first"
        )
    return task


def example(name: str) -> Task:
    """Return a task of a name or of a family, to check a template with.

    Raises:
        SpecError: for an unknown one.
    """
    return _FAMILIES[name].example if name in _FAMILIES else get(name)


def is_worded_by(task: Task, name: str) -> bool:
    """Whether a template that names ``name`` words a task: names it, an alias of it, or its family."""
    if name in (task.name, task.family):
        return True
    try:
        return get(name).name == task.name
    except SpecError:
        return False


def every() -> Mapping[str, Task]:
    """Return all tasks and the examples of all families, by name."""
    return {**_TASKS, **{family.example.name: family.example for family in _FAMILIES.values()}}


def rule_names() -> list[str]:
    """The rules without memory of all tasks, but for the constant ones with a number."""
    return list(dict.fromkeys(name for task in every().values() for name in task.rule_names))
