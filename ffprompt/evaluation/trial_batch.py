"""A batch: consecutive trials of one condition with their strings, and what is asked in each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.elicitation.condition import Condition
from ffprompt.tasks.floors import hits
from ffprompt.tasks.strings import Strings


@dataclass(frozen=True)
class Batch:
    """Consecutive trials of one condition, from its trial ``start`` on: a row each, and what is asked in it.

    The same string stands in several rows where its prompt is repeated.
    """

    condition: Condition
    start: int
    first_trial: int
    strings: Strings
    shots: Sequence[Strings]
    asked: Sequence[NDArray[np.int64]]  # for each string, the numbers of its reads that are asked, from 0
    digests: Sequence[str]
    repeats: int = 1  # times that each prompt of the run is asked

    def __len__(self) -> int:
        return len(self.strings)

    def string(self, row: int) -> int:
        """The number of a trial's string in its language or file."""
        return (self.start + row) // self.repeats

    def repeat(self, row: int) -> int:
        """Which of the repeats of its prompt a trial is, from 0."""
        return (self.start + row) % self.repeats

    def positions(self, row: int) -> NDArray[np.int64]:
        """(reads,) the instructions, from 0, at which the asked reads of a string stand."""
        return self._positions[row]

    @cached_property
    def _positions(self) -> Sequence[NDArray[np.int64]]:
        """The positions of all rows, which are asked for several times each."""
        places = (np.flatnonzero(is_read) for is_read in self.strings.is_read)
        return [found[asked] for found, asked in zip(places, self.asked, strict=True)]

    def truth(self, row: int) -> list[int]:
        """The true answers to the asked reads of a string."""
        return self._truths[row]

    @cached_property
    def _truths(self) -> Sequence[list[int]]:
        return self._at_reads(self.strings.answers)

    def _at_reads(self, values: NDArray[Any]) -> Sequence[list[Any]]:
        """Of (N, n) values those at the asked reads, a list for each string. One look at all is much the fastest."""
        rows, columns, ends = self._reads
        flat = values[rows, columns].tolist()
        return [flat[start:end] for start, end in itertools.pairwise(ends)]

    @cached_property
    def _reads(self) -> tuple[NDArray[np.int64], NDArray[np.int64], list[int]]:
        """The row and the column of every asked read, and where those of each string begin and end."""
        counts = [len(places) for places in self._positions]
        rows = np.repeat(np.arange(len(self)), counts)
        columns = np.concatenate(self._positions) if len(self) else np.zeros(0, np.int64)
        return rows, columns, np.cumsum([0, *counts]).tolist()

    @cached_property
    def floor_hits(self) -> dict[str, NDArray[np.bool_]]:
        """(N, n) where each rule without memory would be right, in the order of the rules. Empty with ``prior``."""
        if self.condition.elicitation.blanks:
            return {}
        return hits(self.strings, self.condition.elicitation.sees_answers)

    @cached_property
    def floor_counts(self) -> Sequence[dict[str, int]]:
        """For each string, the number of its asked reads at which each rule without memory would be right."""
        rows, columns, _ = self._reads
        counts = {
            name: np.bincount(rows[hit[rows, columns]], minlength=len(self)).tolist()
            for name, hit in self.floor_hits.items()
        }
        return [dict(zip(counts, each, strict=True)) for each in zip(*counts.values(), strict=True)] or [{}] * len(self)

    def covariate(self, name: str, row: int) -> list[Any]:
        """What makes the asked reads of a string hard, by the name of its column. None where the task says nothing."""
        known = self._covariates.get(name)
        return [None] * len(self.asked[row]) if known is None else known[row]

    @cached_property
    def _covariates(self) -> dict[str, Sequence[list[Any]]]:
        found = self.strings.task.covariates(self.strings)
        return {name: self._at_reads(values) for name, values in found.items()}

    def trial_id(self, row: int, seed: int) -> str:
        """The name of a trial, unique in its run. Runs that differ in other settings may use it again.

        The first repeat is named like the only trial of a run without repeats, and draws the same sampled reply.
        """
        repeat = self.repeat(row)
        name = f"{self.condition.name}/seed-{seed}/{self.string(row)}"
        return f"{name}/repeat-{repeat}" if repeat else name
