"""A condition: one row of the result table, never pooled with another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ffprompt.elicitation.base import Elicitation, Form
from ffprompt.tasks.base import Spec


@dataclass(frozen=True)
class Condition:
    """One row of the result table. ``spec`` is None for strings from a file, whose length is ``length``."""

    number: int
    template: str
    shots: int
    shot_length: int
    elicitation: Elicitation
    form: Form
    length: int
    spec: Spec | None
    turn_instructions: int | None = None  # instructions a turn. None: all up to the next read
    answers: Literal["text", "schema"] | None = None  # how a reply is to be written. None: there is none

    @cached_property
    def language(self) -> str:
        """The language as a run's table and log name it."""
        return str(self.spec) if self.spec else f"file({self.length})"

    @cached_property
    def name(self) -> str:
        """Unique in its run: template, shots and their length, elicitation, form, schema, language."""
        shots = f"{self.shots}-shot" + (f"-of-{self.shot_length}" if self.shots else "")
        turns = f"-by-{self.turn_instructions}" if self.turn_instructions else ""
        form = self.form + ("-schema" if self.structured else "")
        return f"{self.template}/{shots}/{self.elicitation.name}{turns}/{form}/{self.language}"

    @property
    def structured(self) -> bool:
        """Whether a reply is to be JSON of a schema."""
        return self.answers == "schema"

    @property
    def expected_reads(self) -> float | None:
        """The mean number of reads that are asked of a string. None where that is not known."""
        if self.elicitation.asks_one_read:
            return 1.0
        return self.spec.expected_reads if self.spec else None
