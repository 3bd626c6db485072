"""What a model has on top of its attention where it is wrong: the right write, an earlier one, or an ignored value.

The query is the token that a read is predicted from, in the last layer. The token on top is the one with the largest
weight, mean over heads. The words are those of ``ffprompt diagnose``.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffprompt.reference.networks.transformer import Transformer
from ffprompt.reference.training.attention_record import View, token_events
from ffprompt.reference.vocabulary import Encoded, Vocabulary
from ffprompt.tasks.base import Spec
from ffprompt.tasks.strings import Strings

KINDS = ("dilution", "stale: first", "stale: previous", "stale: other", "distractor", "elsewhere")
"""``dilution``: the right write is on top, and the answer is wrong all the same. ``distractor``: an ignored value."""
SHARP = 0.9
"""Attention is sharp where one token has at least this weight."""
STRINGS, _BATCH = 200, 16


def has_kinds(data: Spec) -> bool:
    """Whether the errors of a task have kinds: some event sets the state, whatever it was."""
    return any(event.effect == "reset" for event in data.task.events)


class ShownString(TypedDict):
    """A look at one string, with its tokens and reads."""

    tokens: list[str]
    reads: list[list[int]]
    panels: dict[str, str]
    wrong: list[int]


class ErrorKinds(TypedDict):
    """Reads by what is on top, over a number of strings.

    ``kinds`` are [wrong, wrong and sharp, right, right and sharp] by name. ``worst`` is the string with the wrong read
    whose attention to a token other than the right write is sharpest, None without one.
    """

    strings: int
    kinds: dict[str, list[int]]
    worst: ShownString | None


def error_kinds(model: Transformer, data: Spec, seed: int, strings: int, vocabulary: Vocabulary) -> ErrorKinds:
    """Count wrong and right reads of the strings 0 … ``strings`` - 1 by what is on top, as JSON takes it."""
    counts = {kind: [0, 0, 0, 0] for kind in KINDS}
    worst: tuple[float, Strings | None] = (0.0, None)
    for low in range(0, strings, _BATCH):
        part = data.sample(seed, low, min(low + _BATCH, strings))
        made = vocabulary.encode(part)
        wrong, place, weight = _on_top(model, made)
        kinds = _kinds(part, made, place, vocabulary)
        for kind, name in enumerate(KINDS):
            for side, reads in enumerate((wrong, ~wrong)):
                here = (kinds == kind) & reads
                counts[name][2 * side] += int(here.sum())
                counts[name][2 * side + 1] += int((here & (weight >= SHARP)).sum())
        misled = np.where(wrong & (kinds != KINDS.index("dilution")), weight, 0.0)
        if len(misled) and misled.max() > worst[0]:
            row = int(made.rows[misled.argmax()])
            worst = float(misled.max()), data.sample(seed, low + row, low + row + 1)
    return {"strings": strings, "kinds": counts, "worst": _shown(model, worst[1], vocabulary)}


def _shown(model: Transformer, string: Strings | None, vocabulary: Vocabulary) -> ShownString | None:
    if string is None:
        return None
    view = View(string, vocabulary)
    look = view.look(0, model)
    return {"tokens": view.names, "reads": view.reads, "panels": look["panels"], "wrong": look["wrong"]}


def _on_top(model: Transformer, made: Encoded) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
    """For each read (R,): whether it is wrong, the token on top of the last layer's attention, and its weight."""
    device, training = model.head.weight.device, model.training
    rows, positions = torch.from_numpy(made.rows).to(device), torch.from_numpy(made.positions).to(device)
    model.eval()
    seen: list[Tensor] = []
    try:
        with torch.no_grad():
            states = model.hidden(torch.from_numpy(made.tokens).to(device), seen)
            answers = model.head(states[rows, positions - 1]).argmax(-1)
            weight, place = seen[-1].mean(1)[rows, positions - 1].max(-1)  # of (R, T)
    finally:
        model.train(training)
    wrong = answers.cpu().numpy() != made.answers
    return wrong, place.cpu().numpy(), weight.double().cpu().numpy()


def _kinds(strings: Strings, made: Encoded, place: NDArray[np.int64], vocabulary: Vocabulary) -> NDArray[np.int64]:
    """The kind (R,) of each read, as a place in ``KINDS``, by the token on top."""
    rows = made.rows
    top = token_events(strings, vocabulary)[rows, place]  # (R,) events
    governing = made.events - strings.task.covariates(strings)["gap"][rows, made.events]
    resets, idle = strings.having("reset"), strings.having("idle")
    order = resets.cumsum(1)  # (B, n): which write it is, from 1
    kinds = np.full(len(rows), KINDS.index("elsewhere"))
    kinds[idle[rows, top]] = KINDS.index("distractor")
    stale = resets[rows, top]
    number, own = order[rows, top], order[rows, governing]
    kinds[stale] = KINDS.index("stale: other")
    kinds[stale & (number == 1)] = KINDS.index("stale: first")
    # The only earlier write is both the first and the previous one, and counts as the previous one.
    kinds[stale & (number == own - 1)] = KINDS.index("stale: previous")
    kinds[top == governing] = KINDS.index("dilution")
    return kinds
