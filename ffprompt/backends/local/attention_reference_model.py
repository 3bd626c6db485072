"""Attention at reads inside reference models: their own layers are watched and changed by hooks.

In shapes: B prompts, T tokens, R reads, H heads, D width of a head.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffprompt.backends.base import Request
from ffprompt.backends.local.attention import WHAT_WORKS, Change, Look, Place, Rows, Tokens, placed
from ffprompt.backends.local.attention_rows_model import NEVER, Watching, cut_rows, rows_of, tables
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.errors import ModelError
from ffprompt.reference.networks.architectures import name_of
from ffprompt.reference.networks.base import Network
from ffprompt.reference.networks.handbuilt import Handbuilt
from ffprompt.reference.networks.positions import rotate
from ffprompt.reference.networks.transformer import Attention, Transformer
from ffprompt.reference.tokens import INSTRUCTIONS, read_positions, tokenise

# Tokens in one pass: 16 strings at T = 512.
_PASS = 1 << 13


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
    def hooked(self, before: Callable[[Tensor], None], after: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Call ``before`` with the input (B, T, d), and put what ``after`` makes of the outputs (B, T, H, D) there."""

        def entering(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            before(arguments[0])

        def changed(output: Tensor) -> Tensor:
            B, T = output.shape[:2]  # noqa: N806
            return after(output.view(B, T, self.heads, -1)).reshape(B, T, -1)

        handles = [self.module.register_forward_pre_hook(entering)]
        if isinstance(self.module, Attention):
            handles.append(self.module.out.register_forward_pre_hook(lambda _m, given: (changed(given[0]), *given[1:])))
        else:
            handles.append(self.module.register_forward_hook(lambda _m, _given, output: changed(output)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class ReferenceAttention:
    """The attention of a reference model; attributes and methods as in ``AttentionModel``.

    Raises:
        ModelError: The model has no softmax attention.
    """

    groups = 1

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend, self._model = backend, backend.network
        self._layers = _layers_of(self._model, backend.identity.model)
        self.layers = tuple(range(len(self._layers)))
        self.heads = self._layers[0].heads

    def tokens(self, request: Request, place: Place) -> Tokens:
        """Return a prompt in tokens. Raises AuditError."""
        symbols = self._model.config.symbols
        (own,) = tokenise([request.text], symbols)
        queries = read_positions(own, request.reads, request.text)
        values = placed(place, request.text, own.starts, own.ends, request.key)
        candidates = np.tile(np.arange(INSTRUCTIONS, INSTRUCTIONS + len(request.surfaces)), (len(queries), 1))
        answers = [(int(token),) for token in queries]
        return Tokens(own.ids[: int(queries[-1])], queries - 1, candidates, values, answers)

    def look(self, looks: Sequence[Look], full: bool = False) -> list[Rows]:
        """Return what all heads do at the reads of some prompts."""
        found: dict[int, Rows] = {}
        for batch in _batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._device)
            watching = Watching(at, roles, full)

            def note(number: int, layer: _Layer, x: Tensor, at: Tensor = at, watching: Watching = watching) -> None:
                q, k = layer.parts(x)
                watching.note(number, layer.scores(_asked(q, at), k, at), _visible(at, x.shape[1]))

            logprobs = self._pass(chosen, note)
            for row, (number, own) in enumerate(zip(batch, logprobs, strict=True)):
                found[number] = rows_of(watching.found, self.layers, row, looks[number], own)
        return [found[number] for number in range(len(looks))]

    def answers(self, looks: Sequence[Look], change: Change) -> list[NDArray[np.float64]]:
        """Return the log-probabilities of the answers in a changed model."""
        found: dict[int, NDArray[np.float64]] = {}
        for batch in _batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._device)
            kept: dict[int, tuple[Tensor, Tensor]] = {}

            def hold(number: int, layer: _Layer, x: Tensor, kept: dict[int, tuple[Tensor, Tensor]] = kept) -> None:
                kept[number] = layer.parts(x)

            if change.frozen:
                self._pass(chosen, hold)
            inputs: dict[int, Tensor] = {}

            def keep(number: int, layer: _Layer, x: Tensor, inputs: dict[int, Tensor] = inputs) -> None:
                inputs[number] = x

            def changed(
                number: int,
                layer: _Layer,
                output: Tensor,
                at: Tensor = at,
                roles: Tensor = roles,
                kept: dict[int, tuple[Tensor, Tensor]] = kept,
                inputs: dict[int, Tensor] = inputs,
            ) -> Tensor:
                x = inputs[number]
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
                    index = at[:, :, None, None].expand(-1, -1, rows.shape[1], rows.shape[3])
                    output = output.scatter(1, index, rows.transpose(1, 2).to(output.dtype))
                if heads := change.heads.get(number):
                    output = output.clone()
                    means = change.means[number][list(heads)] if change.means and change.mode == "mean" else None
                    output[:, :, list(heads)] = 0.0 if means is None else torch.from_numpy(means).to(output)
                return output

            found.update(zip(batch, self._pass(chosen, keep, changed), strict=True))
        return [found[number] for number in range(len(looks))]

    def means(self, looks: Sequence[Look]) -> Mapping[int, NDArray[np.float32]]:
        """Return the mean output of every head over all tokens of some prompts."""
        sums: dict[int, Tensor] = {}
        for batch in _batches(looks):
            chosen = [looks[number] for number in batch]
            lengths = torch.tensor([len(look.tokens) for look in chosen], device=self._device)

            def add(number: int, layer: _Layer, output: Tensor, lengths: Tensor = lengths) -> Tensor:
                real = torch.arange(output.shape[1], device=output.device)[None] < lengths[:, None]
                sums[number] = sums.get(number, 0) + (output * real[..., None, None]).sum((0, 1))
                return output

            self._pass(chosen, lambda *_: None, add)
        count = sum(len(look.tokens) for look in looks)
        return {number: (total / count).cpu().numpy() for number, total in sums.items()}

    def lens(self, looks: Sequence[Look]) -> list[NDArray[np.float32]] | None:
        """Return the logits of the answers, read off after each block. None for the model that is built by hand."""
        model = self._model
        if not isinstance(model, Transformer):
            return None
        found = []
        for look in looks:
            states: list[Tensor] = []
            handles = [model.blocks[0].register_forward_pre_hook(lambda _m, given: states.append(given[0]))]  # noqa: B023
            handles += [
                block.register_forward_hook(lambda _m, _given, output: states.append(output))  # noqa: B023
                for block in model.blocks
            ]
            try:
                with torch.inference_mode():
                    model.hidden(torch.from_numpy(look.tokens.ids)[None].to(self._device))
                    made = torch.stack([state[0, torch.from_numpy(look.tokens.queries)] for state in states])
                    logits = model.head(model.norm(made)).cpu().numpy()  # (S, R, V)
            finally:
                for handle in handles:
                    handle.remove()
            found.append(
                np.take_along_axis(
                    logits,
                    np.broadcast_to(look.tokens.candidates, (*logits.shape[:2], look.tokens.candidates.shape[1])),
                    2,
                )
            )
        return found

    @property
    def _device(self) -> torch.device:
        return self._model.head.weight.device

    def _pass(
        self,
        looks: Sequence[Look],
        before: Callable[[int, _Layer, Tensor], None],
        after: Callable[[int, _Layer, Tensor], Tensor] = lambda number, layer, output: output,
    ) -> list[NDArray[np.float64]]:
        """One batch through the model."""
        longest = max(len(look.tokens) for look in looks)
        ids = np.zeros((len(looks), longest), np.int64)
        for row, look in enumerate(looks):
            ids[row, : len(look.tokens)] = look.tokens.ids
        with contextlib.ExitStack() as stack, torch.inference_mode():
            for number, layer in enumerate(self._layers):
                stack.enter_context(
                    layer.hooked(
                        lambda x, number=number, layer=layer: before(number, layer, x),  # type: ignore[misc]
                        lambda output, number=number, layer=layer: after(number, layer, output),  # type: ignore[misc]
                    )
                )
            logp = self._model(torch.from_numpy(ids).to(self._device)).double().log_softmax(-1).cpu().numpy()
        return [
            np.take_along_axis(logp[row, look.tokens.queries], look.tokens.candidates, 1)
            for row, look in enumerate(looks)
        ]


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


def _batches(looks: Sequence[Look]) -> Iterator[list[int]]:
    """Prompts of similar length; padding stands behind all reads, where causal attention never sees it."""
    order = sorted(range(len(looks)), key=lambda number: -len(looks[number].tokens))
    while order:
        size = max(1, _PASS // len(looks[order[0]].tokens))
        yield order[:size]
        order = order[size:]
