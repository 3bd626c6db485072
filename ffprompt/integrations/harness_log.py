"""What the log of another harness says, whichever harness it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ffprompt.integrations.recorded import Answer


@dataclass(frozen=True, slots=True)
class Sample:
    """What a log says about one trial.

    ``string`` is the digest of the string that the harness has shown. ``answers`` go by the key of their request: a
    dialogue has one for each turn.
    """

    trial: int
    string: str
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class HarnessLog:
    """A log as it was read.

    ``settings`` are those of its documents, ``model`` is the harness's name for the model, and ``served_by`` what the
    harness was told about it.
    """

    harness: str
    version: str
    settings: Mapping[str, Any]
    model: str
    served_by: str | None
    samples: Sequence[Sample]
