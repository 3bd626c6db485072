"""Patching: what states and heads of a clean prompt do in the same prompt with one write flipped, in torch.

All tokens before the write are the same, so their states are too. ``run`` may therefore begin at the write. A pass with
a patch begins at the patched block.

In shapes: B rows, T tokens from the first that is run, d width, H heads, D width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ffprompt.backends.local.attention import Pair, Patched
from ffprompt.backends.local.attention_blocks_model import Blocks


@dataclass
class HeadOutputs:
    """Outputs of heads, (B, T, H, D) a layer, that are kept or put in place of others.

    Attributes:
        kept: By layer, where they are kept.
        layer: The layer whose heads are patched. None without one.
        row: Rows with a patched head.
        head: The head of each of these rows.
        source: (T, H, D) the outputs that are put there.
    """

    kept: dict[int, Tensor] | None = None
    layer: int | None = None
    row: Sequence[int] = ()
    head: Sequence[int] = ()
    source: Tensor | None = None

    def changed(self, layer: int, output: Tensor) -> Tensor:
        """Keep the outputs of a layer, and return those that take their place."""
        if self.kept is not None:
            self.kept[layer] = output
        if layer != self.layer or self.source is None or not len(self.row):
            return output
        output = output.clone()
        row, head = torch.tensor(self.row), torch.tensor(self.head)
        output[row, :, head] = self.source[:, head].transpose(0, 1)  # (rows, T, D)
        return output


Run = Callable[[Sequence[NDArray[np.int64]], HeadOutputs], NDArray[np.float64]]
"""Runs rows of tokens, with the heads as they say, and returns (B, 2) log-probabilities of the pair's answers."""


def patch(run: Run, blocks: Blocks, layers: Sequence[int], heads: int, pair: Pair, skip: int, most: int) -> Patched:
    """Patch every group and head of a pair.

    Args:
        run: What runs the tokens from ``skip`` on.
        blocks: The blocks of the model. The number of a layer is that of its block.
        layers: Those with attention.
        heads: Of each layer.
        pair: The two prompts.
        skip: Tokens at the beginning of both that are not run again.
        most: Rows in one pass.
    """
    outputs = HeadOutputs(kept={})
    with blocks.kept(range(len(blocks))) as inputs:
        clean, corrupt = _difference(run([pair.clean[skip:], pair.corrupt[skip:]], outputs))
    assert outputs.kept is not None
    groups = np.full((len(blocks), len(pair.groups)), np.nan)
    of_heads = np.full((len(layers), heads), np.nan)
    filled = [number for number, group in enumerate(pair.groups) if group]
    for block in range(len(blocks)):
        own, other = inputs[block]  # (T, d) of the clean and of the corrupt prompt
        rows = []
        for number in filled:
            where = torch.tensor(pair.groups[number], device=own.device) - skip
            rows.append(other.index_copy(0, where, own[where]))
        has_heads = block in layers
        rows += [other] * (heads if has_heads else 0)
        found = np.empty(len(rows))
        for low in range(0, len(rows), most):
            some = range(low, min(low + most, len(rows)))
            put = HeadOutputs(
                layer=block if has_heads else None,
                row=[row - low for row in some if row >= len(filled)],
                head=[row - len(filled) for row in some if row >= len(filled)],
                source=outputs.kept[block][0] if has_heads else None,
            )
            with blocks.begun(block, torch.stack([rows[row] for row in some])):
                found[low : low + len(some)] = _difference(run([pair.corrupt[skip:]] * len(some), put))
        groups[block, filled] = found[: len(filled)]
        if has_heads:
            of_heads[list(layers).index(block)] = found[len(filled) :]
    return Patched(float(clean), float(corrupt), groups, of_heads)


def _difference(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(logprobs[:, 0] - logprobs[:, 1])
