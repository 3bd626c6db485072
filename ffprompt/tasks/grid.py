"""The robot on a strip: ``grid-N`` has the tiles 0 … N - 1, the robot starts on tile 0 and stops at either end.

``left`` and ``right`` are equally probable. A read asks for the tile, or with ``read=boundary`` whether it is an end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ffprompt.tasks.events import U8, Event
from ffprompt.tasks.strings import Strings
from ffprompt.tasks.table import TableAutomaton


@dataclass(frozen=True)
class Grid(TableAutomaton):
    """A walk that is stopped at both ends."""

    size: int = 9

    family: ClassVar[str] = "grid"
    events: ClassVar[tuple[Event, ...]] = (
        Event("left", "l", "step"), Event("right", "r", "step"), Event("read", "?", "read"),
    )  # fmt: skip
    templates: ClassVar[tuple[str, ...]] = ("robot", "grid-symbols")
    functions: ClassVar[tuple[str, ...]] = ("state", "boundary")
    rule_names: ClassVar[tuple[str, ...]] = (*TableAutomaton.rule_names, "counts")

    @property
    def name(self) -> str:
        """``grid-9`` has 9 tiles."""
        return f"grid-{self.size}"

    @cached_property
    def transitions(self) -> NDArray[np.int32]:
        """One tile to the left or right, as far as there is one."""
        tiles = np.arange(self.size)
        return np.column_stack([np.maximum(tiles - 1, 0), np.minimum(tiles + 1, self.size - 1)]).astype(np.int32)

    @cached_property
    def answers_of_states(self) -> U8:
        """The tile, or whether it is an end."""
        tiles = np.arange(self.size)
        ends = (tiles == 0) | (tiles == self.size - 1)
        return (ends if self.read_function == "boundary" else tiles).astype(np.uint8)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many tiles there are, and the last of them."""
        return {"size": self.size, "last": self.size - 1}

    @property
    def parts(self) -> Mapping[str, int]:
        """The answer itself: a tile, or whether it is an end."""
        return {"boundary": 2} if self.read_function == "boundary" else {"tile": self.size}

    def part_values(self, answer: int) -> Mapping[str, int | tuple[int, ...]]:
        """The answer itself."""
        return dict.fromkeys(self.parts, answer)

    def own_rules(self, strings: Strings, see_reads: bool) -> dict[str, U8]:
        """``counts`` takes steps to the right less steps to the left, as if no end had stopped the robot between."""
        steps = (strings.events == 1).astype(np.int64) - (strings.events == 0)
        tile = np.clip(np.cumsum(steps, axis=1), 0, self.size - 1)
        return {"counts": np.ascontiguousarray(self.answers_of_states[tile])}
