"""A part of a run: ``--shard I/N``. Chunks of strings are dealt by their number, so all parts make the whole run.

Example, five chunks dealt to two shards. Chunks are numbered through all conditions::

    chunk    0    1    2    3    4
    shard   1/2  2/2  1/2  2/2  1/2

A chunk is what a model is asked together, and the same trials are together in a shard and in the whole run. Numbers are
therefore the same to the last bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shard:
    """Part ``number`` of ``count``, from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return what ``I/N`` says.

        >>> Shard.parse("2/3")
        Shard(number=2, count=3)

        Raises:
            ValueError: It is not that, or I is not from 1 to N.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise ValueError("I/N, such as 1/4 for the first of four parts")
        return shard

    def own(self, chunks: Iterable[T]) -> Iterator[T]:
        """Yield those of all chunks of a run that are this shard's.

        >>> list(Shard(2, 3).own("abcdefg"))
        ['b', 'e']
        """
        return islice(chunks, self.number - 1, None, self.count)
