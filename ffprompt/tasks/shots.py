"""Demonstrations: solved strings to be shown before a question."""

from __future__ import annotations

import numpy as np

from ffprompt.tasks.base import Spec
from ffprompt.tasks.strings import Strings


def sample_shots(
    shot_spec: Spec, seed: int, start: int, questions: Strings, shots: int, shared: bool = False
) -> list[Strings]:
    """``shots`` demonstrations for each of the questions ``start``, ``start + 1``, …: one Strings of N rows a shot.

    A shot comes from its own stream and is drawn again while it equals the question. ``shared`` shows every question
    the same demonstrations (but for one that would be its own solution). The first shot of four is the shot of one.
    """
    drawn = []
    for slot in range(shots):
        if shared:
            one = shot_spec.sample(seed, 0, 1, f"shots/shared/{slot}")
            shown = one[np.zeros(len(questions), np.int64)]  # copies of its own
        else:
            shown = shot_spec.sample(seed, start, start + len(questions), f"shots/{slot}")
        if shot_spec.length == questions.length:
            for row in range(len(questions)):
                attempt = 0
                while _same(shown, questions, row):
                    attempt += 1
                    again = shot_spec.sample(seed, start + row, start + row + 1, f"shots/{slot}/again/{attempt}")
                    for mine, other in zip(_arrays(shown), _arrays(again), strict=True):
                        mine[row] = other[0]
        # The rows may have changed, so nothing that was computed from them is handed on.
        drawn.append(Strings(shown.task, shown.events, shown.arguments, shown.answers, shown.symbols))
    return drawn


def _arrays(strings: Strings) -> tuple[np.ndarray, ...]:
    return strings.events, strings.arguments, strings.answers


def _same(strings: Strings, others: Strings, row: int) -> bool:
    return all((one[row] == other[row]).all() for one, other in zip(_arrays(strings), _arrays(others), strict=True))
