"""Every error that ffprompt raises on purpose.

::

    FFPromptError
    ├── UsageError            bad input: one line, exit code 2
    │   ├── SpecError         a length, a probability, a number of symbols
    │   ├── StringError       text that is not a valid flip-flop string
    │   ├── TemplateError     a prompt template
    │   ├── ConfigError       a flag, a suite, a run configuration
    │   ├── ModelError        a model that is missing, refused or cannot do what was asked
    │   ├── StoreError        a results folder or a run in it
    │   └── CountsError       counts, a level, a margin or a bound that no statistic can be computed from
    ├── AuditError            the tokenizer does not let this prompt be scored exactly (exit code 2)
    ├── IncompleteRunError    trials of a run that was to be compared have no answer (exit code 3)
    └── RunFailedError        the run stopped; what was finished is kept (exit code 3)
        └── GoneError         results that a provider no longer keeps
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FFPromptError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with."""

    exit_code = 2


class UsageError(FFPromptError):
    """Bad input. The message is one line that names the thing, its value and what would be right."""


class SpecError(UsageError):
    """A specification that describes no flip-flop language."""


class StringError(UsageError):
    """Text that is not a valid flip-flop string; names the offending position."""


class TemplateError(UsageError):
    """A prompt template that cannot be used."""


class ConfigError(UsageError):
    """A setting that is unknown, out of range or contradicts another."""


class ModelError(UsageError):
    """A model that is not there, is refused, or cannot do what was asked of it."""


class StoreError(UsageError):
    """A results folder that cannot be written, or a run in it that cannot be read."""


class CountsError(UsageError):
    """Counts, a confidence level, a margin or a bound that no statistic can be computed from."""


class AuditError(FFPromptError):
    """The tokenisation audit found that a prompt cannot be scored exactly."""


class IncompleteRunError(FFPromptError):
    """A run that was to be compared has trials without an answer, or no read at all."""

    exit_code = 3


class RunFailedError(FFPromptError):
    """The run stopped before its end. Finished trials are on disk."""

    exit_code = 3


class GoneError(RunFailedError):
    """Results of a batch that the provider no longer keeps."""


_MOST_LISTED = 60  # beyond that, nobody reads on


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint such as ``; did you mean 'game'? (known: code, game)``.

    >>> did_you_mean("gmae", ["code", "game"])
    "; did you mean 'game'? (known: code, game)"
    """
    options = sorted(known)
    close = difflib.get_close_matches(str(name), options, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint} (known: {', '.join(options)})" if len(options) <= _MOST_LISTED else hint
