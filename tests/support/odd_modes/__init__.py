"""All modes of odd servers, by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.support.odd_modes import bodies, numbers, refusals, replies
from tests.support.odd_modes.mode import Mode

KINDS: Mapping[str, Sequence[Mode]] = {
    "Log-probabilities that contradict themselves": numbers.BOUNDS,
    "Log-probabilities that stand elsewhere": numbers.PLACES,
    "Log-probabilities on another scale or in another shape": numbers.SCALES,
    "Prompts that are cut": numbers.PROMPTS,
    "The model that answers": numbers.ANSWERING,
    "Settings that are ignored": numbers.SETTINGS,
    "Ends of replies": replies.ENDS,
    "Reasoning and marks": replies.MARKS,
    "Empty answers": replies.EMPTY,
    "Clear answers": replies.CLEAR,
    "Text from outside": replies.OUTSIDE,
    "Shapes of answers": replies.SHAPES,
    "Bodies": bodies.BYTES,
    "Failures with a good status": bodies.GOOD_STATUS,
    "Parameters that are refused": refusals.PARAMETERS,
    "Addresses and APIs": refusals.ADDRESSES,
    "Keys": refusals.KEYS,
    "Servers that are loading": refusals.LOADING,
    "Secrets": refusals.SECRETS,
}
MODES = {f"{kind}: {mode.name}": mode for kind, modes in KINDS.items() for mode in modes}
