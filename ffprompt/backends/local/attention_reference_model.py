"""Attention at reads inside reference models: their own layers are watched and changed by hooks.

In shapes: B prompts, T tokens, R reads, H heads, D width of a head.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffprompt.backends.local.attention import WHAT_WORKS, Change, Look, Pair, Patched, Rows
from ffprompt.backends.local.attention_change_model import put, start_of, without_heads
from ffprompt.backends.local.attention_patch_model import HeadOutputs, patch
from ffprompt.backends.local.attention_reference_states_model import PASS, ReferenceStates, batches
from ffprompt.backends.local.attention_rows_model import NEVER, Watching, cut_rows, rows_of, tables
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.errors import ModelError
from ffprompt.reference.networks.architectures import name_of
from ffprompt.reference.networks.base import Network
from ffprompt.reference.networks.handbuilt import Handbuilt
from ffprompt.reference.networks.positions import rotate
from ffprompt.reference.networks.transformer import Attention, Transformer


class _Layer:
    """One attention layer: queries, keys and values of its heads, and where its outputs can be changed."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    @property
    def heads(self) -> int:
        return self.module.config.heads if isinstance(self.module, Attention) else 1

    def parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Queries and keys (B, H, T, D) of an input (B, T, d)."""
        layer: Any = self.module
        if not isinstance(layer, Attention):
            return layer.query(x)[:, None], layer.key(x)[:, None]
        q = layer.query_norm(layer._heads(x, layer.query))
        k = layer.key_norm(layer._heads(x, layer.key))
        if layer.config.positions == "rope":
            everywhere = torch.arange(x.shape[1], device=x.device)[None]
            q, k = rotate(q, everywhere), rotate(k, everywhere)
        return q, k

    def values(self, x: Tensor) -> Tensor:
        """Values (B, H, T, D)."""
        layer: Any = self.module
        made: Tensor = layer._heads(x, layer.value) if isinstance(layer, Attention) else layer.value(x)[:, None]
        return made

    def scores(self, q: Tensor, k: Tensor, at: Tensor | None) -> Tensor:
        """Scores (B, H, R, T) of queries ``q`` (B, H, R, D), which stand at the tokens ``at`` (B, R)."""
        layer: Any = self.module
        made: Tensor = layer._scores(q, k, at) if isinstance(layer, Attention) else q @ k.transpose(2, 3)
        return made

    @contextlib.contextmanager
    def hooked(self, change: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
        """Put what ``change`` makes of the input (B, T, d) and the outputs (B, T, H, D) in place of these."""
        inputs: list[Tensor] = []
        out: Any = self.module.out

        def entering(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            inputs[:] = [arguments[0]]

        def leaving(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            output = arguments[0]
            B, T = output.shape[:2]  # noqa: N806
            return (change(inputs[0], output.view(B, T, self.heads, -1)).reshape(B, T, -1), *arguments[1:])

        handles = [self.module.register_forward_pre_hook(entering), out.register_forward_pre_hook(leaving)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


Changed = Callable[[int, _Layer, Tensor, Tensor], Tensor]
"""Outputs of a layer from its number, itself, its input and its outputs."""


class ReferenceAttention(ReferenceStates):
    """The attention of a reference model; attributes and methods as in ``AttentionModel``.

    Raises:
        ModelError: The model has no softmax attention.
    """

    def __init__(self, backend: ReferenceBackend) -> None:
        super().__init__(backend)
        self._layers = _layers_of(self._model, backend.identity.model)
        self.layers = tuple(range(len(self._layers)))
        self.heads = self._layers[0].heads

    def look(self, looks: Sequence[Look], full: bool = False) -> list[Rows]:
        """Return what all heads do at the reads of some prompts."""
        found: dict[int, Rows] = {}
        for batch in batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._device)
            watching = Watching(at, roles, full)

            def note(
                number: int, layer: _Layer, x: Tensor, output: Tensor, at: Tensor = at, watching: Watching = watching
            ) -> Tensor:
                q, k = layer.parts(x)
                watching.note(number, layer.scores(_asked(q, at), k, at), _visible(at, x.shape[1]))
                return output

            with self._hooked(note):
                logprobs = self._run(chosen)
            for row, (number, own) in enumerate(zip(batch, logprobs, strict=True)):
                found[number] = rows_of(watching.found, self.layers, row, looks[number], own)
        return [found[number] for number in range(len(looks))]

    def answers(self, looks: Sequence[Look], changes: Sequence[Change]) -> list[list[NDArray[np.float64]]]:
        """Return for each change the log-probabilities of the answers in the changed model."""
        starts = {start_of(change) for change in changes} - {None, 0}
        found: list[dict[int, NDArray[np.float64]]] = [{} for _ in changes]
        for batch in batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._device)
            kept: dict[int, tuple[Tensor, Tensor]] = {}

            def hold(
                number: int, layer: _Layer, x: Tensor, output: Tensor, kept: dict[int, tuple[Tensor, Tensor]] = kept
            ) -> Tensor:
                kept[number] = layer.parts(x)
                return output

            hooked = self._hooked(hold) if any(change.frozen for change in changes) else contextlib.nullcontext()
            with self._blocks.kept([start for start in starts if start is not None]) as inputs, hooked:
                plain = self._run(chosen)
            for made, change in zip(found, changes, strict=True):
                start, own = start_of(change), plain
                if start is not None:
                    begun = self._blocks.begun(start, inputs[start]) if start else contextlib.nullcontext()
                    with begun, self._hooked(_changed(change, at, roles, kept if change.frozen else {})):
                        own = self._run(chosen)
                made.update(zip(batch, own, strict=True))
        return [[made[number] for number in range(len(looks))] for made in found]

    def means(self, looks: Sequence[Look]) -> Mapping[int, NDArray[np.float32]]:
        """Return the mean output of every head over all tokens of some prompts."""
        sums: dict[int, Tensor] = {}
        for batch in batches(looks):
            chosen = [looks[number] for number in batch]
            lengths = torch.tensor([len(look.tokens) for look in chosen], device=self._device)

            def add(number: int, layer: _Layer, x: Tensor, output: Tensor, lengths: Tensor = lengths) -> Tensor:
                real = torch.arange(output.shape[1], device=output.device)[None] < lengths[:, None]
                sums[number] = sums.get(number, 0) + (output * real[..., None, None]).sum((0, 1))
                return output

            with self._hooked(add):
                self._run(chosen)
        count = sum(len(look.tokens) for look in looks)
        return {number: (total / count).cpu().numpy() for number, total in sums.items()}

    def patch(self, pair: Pair) -> Patched:
        """Return what states and heads of the clean prompt do in the corrupt one."""

        def run(rows: Sequence[NDArray[np.int64]], outputs: HeadOutputs) -> NDArray[np.float64]:
            def change(number: int, layer: _Layer, x: Tensor, output: Tensor) -> Tensor:
                return outputs.changed(number, output)

            with self._hooked(change):
                logits = self._model(torch.from_numpy(np.stack(rows)).to(self._device))[:, -1].double()
            return np.asarray(logits.log_softmax(-1)[:, list(pair.candidates)].cpu())

        most = max(1, PASS // len(pair.corrupt))
        with torch.inference_mode():
            return patch(run, self._blocks, self.layers, self.heads, pair, 0, most)

    @contextlib.contextmanager
    def _hooked(self, change: Changed) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for number, layer in enumerate(self._layers):
                stack.enter_context(layer.hooked(functools.partial(change, number, layer)))
            yield


def _changed(change: Change, at: Tensor, roles: Tensor, kept: Mapping[int, tuple[Tensor, Tensor]]) -> Changed:
    """Outputs of a layer under a change. ``kept`` are queries and keys that stay."""

    def changed(number: int, layer: _Layer, x: Tensor, output: Tensor) -> Tensor:
        if kept:
            q, k = kept[number]
            scores = layer.scores(q, k, None).float()
            hidden = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
            weights = scores.masked_fill(hidden, NEVER).softmax(-1)
            output = (weights.to(x.dtype) @ layer.values(x)).transpose(1, 2)
        if change.cut is not None:
            q, k = kept[number] if kept else layer.parts(x)
            scores = layer.scores(_asked(q, at), k, at)
            rows = cut_rows(scores, _visible(at, x.shape[1]), layer.values(x), roles, change.cut, None)
            output = put(output, at, rows)
        return without_heads(change, number, output)

    return changed


def _layers_of(model: Network, name: str) -> list[_Layer]:
    if isinstance(model, Transformer) and model.config.attention == "softmax":
        return [_Layer(block.attention) for block in model.blocks]  # type: ignore[arg-type]
    if isinstance(model, Handbuilt):
        return [_Layer(model.before), _Layer(model.latest)]
    kind = model.config.attention if isinstance(model, Transformer) else name_of(model.config)
    raise ModelError(f"model {name}: it is of kind {kind} and has no softmax attention to look at. {WHAT_WORKS}")


def _asked(q: Tensor, at: Tensor) -> Tensor:
    return q.gather(2, at[:, None, :, None].expand(-1, q.shape[1], -1, q.shape[3]))


def _visible(at: Tensor, length: int) -> Tensor:
    return (torch.arange(length, device=at.device) <= at[..., None])[:, None]
