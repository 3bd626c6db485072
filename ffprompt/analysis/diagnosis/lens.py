"""Where in the layers the answer is decided: the logit lens.

The state of the token before an answer is read off after each block, as if the model ended there. The lens says when
the answer can be read by the output head. A state may hold the answer in a form that this head does not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.estimates import Estimate, Ints, means


@dataclass(frozen=True)
class Lens(Plain):
    """What the lens shows in one condition.

    Attributes:
        right: For each place, the share of reads whose true answer is ahead: before the first block, then after each.
        settled: Over the reads that end right, the mean number of blocks from which the true answer stays ahead.
        lost: Over the reads that end wrong, the share whose true answer was ahead after some block of the last half.
        lost_by_right: The same for reads that end right: how often a wrong answer was ahead there.
    """

    right: list[Estimate | None]
    settled: Estimate | None
    lost: Estimate | None
    lost_by_right: Estimate | None


def lens(logits: Sequence[NDArray[np.float32]], truths: Sequence[Sequence[int]], strings: Ints) -> Lens:
    """Return what the lens shows.

    Args:
        logits: (S, R, M) for each string.
        truths: The true answers of its reads.
        strings: The numbers of the strings.
    """
    ahead = np.concatenate([_ahead(one, truth) for one, truth in zip(logits, truths, strict=True)], 1)  # (S, N)
    string = np.concatenate([np.full(len(truth), number) for number, truth in zip(strings, truths, strict=True)])
    last = ahead[-1]
    places = len(ahead)
    stays = np.logical_and.accumulate(ahead[::-1])[::-1]  # from here on to the end
    settled = np.where(last, places - stays.sum(0), np.nan).astype(np.float64)
    half = ahead[places // 2 : -1]
    lost = np.where(last, np.nan, half.any(0)).astype(np.float64)
    other = np.where(last, (~half).any(0), np.nan).astype(np.float64)
    return Lens(
        means(ahead.T.astype(np.float64), string, 1.0),
        means(settled, string)[0],
        means(lost, string)[0],
        means(other, string)[0],
    )


def _ahead(logits: NDArray[np.float32], truth: Sequence[int]) -> NDArray[np.bool_]:
    """Whether the true answer has a higher logit than every other, (S, R)."""
    right = np.take_along_axis(logits, np.array(truth)[None, :, None], 2)
    return np.asarray((logits >= right).sum(2) == 1)
