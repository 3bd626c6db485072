"""Events: the kinds of instructions that the strings of a task are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# Arguments and answers are kept in one byte each.
MAX_SYMBOLS = 256

U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
Effect = Literal["reset", "step", "idle", "read"]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of instruction.

    Attributes:
        name: Its key in a template.
        letter: Its sign in a task's own notation.
        effect: What it does to the state. ``reset`` sets it whatever it was, ``step`` changes it depending on what it
            was, ``idle`` leaves it, and ``read`` leaves it and asks for it.
        arguments: How many different arguments it can have: 0 for none, None for one of the symbols that answers are
            made of. A tuple is for several arguments at once, such as (4, None) for one of four names and a symbol.
        keys: What a template calls the arguments.
        words: How the values of a single argument are called where they are no plain numbers from 0.

    Several arguments are kept as one number, the last of them counting fastest: with (4, None) and 2 symbols the name
    3 and the symbol 1 are 3 * 2 + 1 = 7.
    """

    name: str
    letter: str
    effect: Effect
    arguments: int | tuple[int | None, ...] | None = 0
    keys: tuple[str, ...] = ("value",)
    words: tuple[str, ...] = ()

    @property
    def is_read(self) -> bool:
        """Whether a model must supply the answer."""
        return self.effect == "read"

    @property
    def has_argument(self) -> bool:
        """Whether something stands behind the name that is no answer."""
        return self.arguments != 0

    def sizes(self, symbols: int) -> tuple[int, ...]:
        """Return how many values each argument can have; nothing for an event without arguments."""
        sizes = self.arguments if isinstance(self.arguments, tuple) else (self.arguments,) if self.has_argument else ()
        return tuple(symbols if size is None else size for size in sizes)

    def count(self, symbols: int) -> int:
        """Return how many different arguments, or combinations of them, it can have; 1 for none."""
        return math.prod(self.sizes(symbols))

    def split(self, number: int, symbols: int) -> tuple[int, ...]:
        """Return the arguments that one number stands for.

        >>> Event("write", "w", "reset", arguments=(4, None)).split(7, symbols=2)
        (3, 1)
        """
        arguments: list[int] = []
        for size in reversed(self.sizes(symbols)):
            number, value = divmod(number, size)
            arguments.append(value)
        return tuple(reversed(arguments))
