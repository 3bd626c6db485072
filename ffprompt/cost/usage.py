"""How many tokens calls have used, as providers report it, and how many they may use at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call. ``cached`` and ``written`` are parts of ``prompt``, ``reasoning`` is part of ``reply``.

    ``cached`` were read from the provider's cache and ``written`` put into it. None where the provider does not say.
    """

    prompt: int
    reply: int
    cached: int | None = None
    written: int | None = None
    reasoning: int | None = None
    batch: bool = False  # asked through the provider's batch interface, which is cheaper

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.reply


@dataclass(frozen=True, slots=True)
class Bound:
    """The most tokens that one call can use."""

    prompt: int = 0
    reply: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.prompt + self.reply


def count(value: object) -> int | None:
    """Return a number of tokens as a server gave it, or None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
