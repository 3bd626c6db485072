"""How many examples of a property are tried: as many as a test asks for, fewer with ``-m fast``."""

from __future__ import annotations

from hypothesis import settings

FEW = 5


def examples(most: int) -> int:
    """Return ``most``, or FEW under the profile of the fast lane."""
    return FEW if settings.get_current_profile_name() == "fast" else most
