"""The attention of one string while a model trains, at a few looks: the first, those around each trouble, the last.

A look is kept as a line of the log with the event ``attention``. It holds one matrix for each panel, a head or, where
there are many, the mean over the heads of a layer. What is kept is bounded, whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from ffprompt.reference.networks.transformer import Transformer
from ffprompt.reference.vocabulary import Vocabulary
from ffprompt.tasks.strings import Strings

MOST_TOKENS, MOST_PANELS, MOST_TROUBLES = 48, 8, 6


class Look(TypedDict):
    """The attention at a step. ``panels`` are T x T weights by name, bytes in hexadecimal, 255 for a weight of 1."""

    step: int
    panels: dict[str, str]
    wrong: list[int]  # 1 for a wrong read


class AttentionLine(TypedDict):
    """A line of the log: the T tokens of a string, its reads as :class:`View` has them, and looks at it."""

    tokens: list[str]
    reads: list[list[int]]
    looks: list[Look]


class AttentionState(TypedDict, total=False):
    """What a resumed training has to know of the looks so far."""

    last: Look | None
    written: int | None
    troubles: list[str]


class AttentionRecord:
    """Looks at the first of ``strings`` and says which looks the log is to keep.

    Each kind of trouble is kept once, with the look before it, and no more than six kinds. ``state`` holds what a
    resumed training has to know.
    """

    def __init__(self, strings: Strings, vocabulary: Vocabulary) -> None:
        self._view = View(strings, vocabulary)
        self._last: Look | None = None
        self._written: int | None = None  # the step of the newest look in the log
        self._troubles: list[str] = []

    def first(self, model: Transformer) -> AttentionLine:
        """The line of the log before the first step."""
        self._last = self._view.look(0, model)
        return self._line([self._last])

    def look(self, step: int, model: Transformer, monitors: Sequence[str]) -> AttentionLine | None:
        """Look at ``model``. Returns a line of the log where one of ``monitors`` is heard of for the first time."""
        before, now = self._last, self._view.look(step, model)
        self._last = now
        new = [name for name in dict.fromkeys(monitors) if name not in self._troubles]
        room = MOST_TROUBLES - len(self._troubles)
        if not new or room <= 0:
            return None
        self._troubles += new[:room]
        earlier = [before] if before is not None and before["step"] != self._written else []
        return self._line([*earlier, now])

    def end(self, step: int, model: Transformer) -> AttentionLine | None:
        """The line of the log after the last step, None where that look is in the log already."""
        return None if self._written == step else self._line([self._view.look(step, model)])

    def broken_off(self) -> AttentionLine | None:
        """The line of the log when the weights are numbers no more: the last look, None where the log has it."""
        last = self._last
        return None if last is None or last["step"] == self._written else self._line([last])

    def state(self) -> AttentionState:
        """What a resumed training has to know, as JSON takes it."""
        return {"last": self._last, "written": self._written, "troubles": self._troubles}

    def restore(self, state: AttentionState) -> None:
        """Go on from what ``state`` gave.

        Raises:
            KeyError: when something is missing.
        """
        self._last, self._written, self._troubles = state["last"], state["written"], list(state["troubles"])

    def _line(self, looks: Sequence[Look]) -> AttentionLine:
        self._written = looks[-1]["step"]
        return {"tokens": self._view.names, "reads": self._view.reads, "looks": list(looks)}


class View:
    """The first of ``strings`` as tokens, cut to a bounded length.

    ``names`` are its T tokens. ``reads`` are pairs: the token that a read is predicted from, and the token that holds
    its answer, -1 where the task does not say.
    """

    def __init__(self, strings: Strings, vocabulary: Vocabulary) -> None:
        made = vocabulary.encode(strings)
        own = made.rows == 0
        size = min(MOST_TOKENS, int(made.positions[own].max()))
        self._tokens = made.tokens[:1, :size]
        self._keep = own & (made.positions <= size)
        self._positions, self._answers = made.positions[self._keep], made.answers[self._keep]
        self.names = [vocabulary.names[token] for token in self._tokens[0]]
        sources = source_tokens(strings, vocabulary)[self._keep]
        self.reads = [[int(query) - 1, int(source)] for query, source in zip(self._positions, sources, strict=True)]

    def look(self, step: int, model: Transformer) -> Look:
        """The attention of ``model`` on the string, and which of its reads are wrong. The model is left as it was."""
        device, training = model.head.weight.device, model.training
        model.eval()
        seen: list[Tensor] = []
        try:
            with torch.no_grad():
                states = model.hidden(torch.from_numpy(self._tokens).to(device), seen)
                best = model.head(states)[0].argmax(-1).cpu().numpy()  # (T,)
        finally:
            model.train(training)
        wrong = best[self._positions - 1] != self._answers
        return {"step": step, "panels": _panels([layer[0] for layer in seen]), "wrong": wrong.astype(int).tolist()}


def _panels(layers: Sequence[Tensor]) -> dict[str, str]:
    """Weights (H, T, T) of each layer as bytes: each head while there are few, or else the mean of a layer's heads."""
    heads = sum(len(layer) for layer in layers)
    if heads <= MOST_PANELS:
        named = {f"layer {n}, head {h}": head for n, layer in enumerate(layers) for h, head in enumerate(layer)}
    else:
        places = sorted({round(x) for x in np.linspace(0, len(layers) - 1, min(len(layers), MOST_PANELS))})
        named = {f"layer {n}, mean of {len(layers[n])} heads": layers[n].mean(0) for n in places}
    return {name: _hex(weights) for name, weights in named.items()}


def _hex(weights: Tensor) -> str:
    """Weights as text, a byte each; what is no number is 0."""
    return (weights.float().nan_to_num() * 255).round().byte().cpu().numpy().tobytes().hex()


def token_events(strings: Strings, vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The event (B, L) that each token of ``strings`` belongs to; -1 behind the end of a string."""
    made = vocabulary.encode(strings)
    if vocabulary.in_pairs:
        return np.broadcast_to(np.arange(made.tokens.shape[1]) // 2, made.tokens.shape)
    leads = vocabulary.first[strings.events] >= 0
    counts = leads + (strings.is_read & vocabulary.scratchpad).astype(np.int64)  # tokens of each event
    owners = np.full(made.tokens.shape, -1, np.int64)
    for row, count in enumerate(counts):
        own = np.repeat(np.arange(strings.instructions), count)
        owners[row, : len(own)] = own
    return owners


def source_tokens(strings: Strings, vocabulary: Vocabulary) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The token (R,) that holds the value each read asks for; -1 in a task that says no gap to one event."""
    made = vocabulary.encode(strings)
    found = np.full(len(made.rows), -1, np.int64)
    resets = {event.name for event in strings.task.events if event.effect == "reset"}
    if not resets:
        return found
    governing = made.events - strings.task.covariates(strings)["gap"][made.rows, made.events]  # (R,)
    if vocabulary.in_pairs:
        return np.asarray(2 * governing + 1)
    owners = token_events(strings, vocabulary)
    for read, (row, event) in enumerate(zip(made.rows, governing, strict=True)):
        places = np.flatnonzero(owners[row] == event)
        found[read] = places[0] if len(places) else -1
    return found
