"""Colours of the figures: readable on white and on near-black, and told apart with the common colour blindnesses."""

from __future__ import annotations

# Nine hues of similar lightness, after Okabe & Ito (2008).
SERIES = ("#3b82c4", "#e0812a", "#1f9e77", "#c76aa8", "#b8a11a", "#d1495b", "#53b3cb", "#8d6e54", "#7d74c9")
OUTCOMES = {
    "correct": "#1f9e77",
    "wrong": "#d1495b",
    "invalid": "#e0a12a",
    "refused": "#8d6ac9",
    "truncated": "#3b82c4",
    "error": "#8a8f98",
}
NEUTRAL = "#8a8f98"


def colour(key: int | str | None) -> str:
    """The colour of a series by its number, of an outcome, or the neutral one."""
    if key is None:
        return NEUTRAL
    return SERIES[key % len(SERIES)] if isinstance(key, int) else OUTCOMES[key]
