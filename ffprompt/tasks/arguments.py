"""The settings of a task: what each can be, and those that all automata have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ffprompt.errors import SpecError


@dataclass(frozen=True, slots=True)
class Argument:
    """One setting of a task: its default, what it may be, and what it is about.

    Attributes:
        default: Its value where none is given. Its type is the type of every value.
        help: What it says, in a few words.
        choices: The texts that it can be; none for a number.
        least: The smallest number.
        most: The largest number.
    """

    default: float | str
    help: str
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 1

    def parse(self, name: str, text: str) -> float | str:
        """Return the value that a text stands for. Raises SpecError."""
        if self.choices:
            if text not in self.choices:
                raise SpecError(f"task-arg {name}={text}: expected {either(self.choices)}")
            return text
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not self.least <= value <= self.most or (isinstance(self.default, int) and value != int(value)):
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise SpecError(f"task-arg {name}={text}: expected {kind} from {self.least:g} to {self.most:g}")
        return int(value) if isinstance(self.default, int) else value + 0.0


ANYWHERE, EVERY = "anywhere", "every"
SYMBOLS = Argument(2, "number of different symbols", least=2, most=256)
P_READ = Argument(0.2, "probability that a position inside the string is a read; 0 reads at the end only", most=0.999)
READS = Argument(
    ANYWHERE, "where reads stand: anywhere, or after every input, which T then counts", choices=(ANYWHERE, EVERY)
)


def either(names: Sequence[str]) -> str:
    """Return names as in "a, b or c"."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
