"""Attention at reads inside models of transformers, through its registry of attention functions.

A function of our own computes the outputs as torch's fused kernel does, and beside them the rows of the reads alone.
It is registered together with the function that makes its masks: for a name without one transformers makes no mask.

In shapes: B prompts, T tokens, R reads, H query heads, K key and value heads, D width of a head.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ffprompt.backends.local.attention import WHAT_WORKS, Change, Look, Pair, Patched, Rows
from ffprompt.backends.local.attention_change_model import put, start_of, without_heads
from ffprompt.backends.local.attention_patch_model import HeadOutputs, patch
from ffprompt.backends.local.attention_rows_model import Watching, cut_rows, rows_of, tables
from ffprompt.backends.local.attention_states_model import TransformersStates
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.transformers_model import Forward, keeps_plain_cache
from ffprompt.errors import ModelError

NAME = "ffprompt"
# Numbers in the rows of one layer of a batch: reads × heads × tokens.
_ROW_NUMBERS = 1 << 26
# Numbers in the states of a batch that are kept before changed blocks.
_KEPT_NUMBERS = 1 << 28


@dataclass
class _State:
    """What the registered function does beside its work while one batch goes through the model."""

    watching: Watching | None = None
    change: Change | None = None
    roles: Tensor | None = None  # (B, R, T) for a cut
    at: Tensor | None = None  # (B, R) for a cut
    kept: dict[int, tuple[Tensor, Tensor]] | None = None  # queries and keys that are kept for a frozen pass
    frozen: Mapping[int, tuple[Tensor, Tensor]] | None = None  # those that are used
    sums: dict[int, Tensor] | None = None  # (H, D) sums of outputs over all tokens
    lengths: Tensor | None = None  # (B,) tokens of each prompt without padding
    outputs: HeadOutputs | None = None
    seen: set[int] = field(default_factory=set)
    heads: tuple[int, int] = (0, 0)  # query heads, key and value heads


_STATE: ContextVar[_State | None] = ContextVar("attention", default=None)


@dataclass(frozen=True)
class _Call:
    """One call of the attention function, with what changes its scores."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    scaling: float | None
    softcap: float | None
    sink: Tensor | None
    bias: Tensor | None

    def output(self, module: Any, options: dict[str, Any]) -> Tensor:
        """(B, T, H, D) what transformers computes."""
        options = {**options, "scaling": self.scaling}
        if self.softcap is None and self.sink is None:
            if self.bias is not None:
                options["position_bias"] = self.bias
            output, _ = sdpa_attention_forward(module, self.query, self.key, self.value, self.mask, **options)
            return output
        options |= {"softcap": self.softcap, "s_aux": self.sink}
        return _eager(module, self.query, self.key, self.value, self.mask, options)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Compute attention as transformers does, and note the rows of the reads where somebody looks.

    Args:
        module: The attention layer. Its ``layer_idx`` says which.
        query: (B, H, T, D).
        key: (B, K, T, D).
        value: (B, K, T, D).
        attention_mask: (B, 1, T, T), True where a token is seen, or what is added to the scores. None is causal.
        scaling: What scores are multiplied by, 1 / √D where None.
        softcap: Scores are capped at it, by tanh.
        s_aux: (H,) scores of a learned sink.
        position_bias: What is added to the scores for positions.
        **options: What else transformers hands over.

    Returns:
        (B, T, H, D) outputs, and None in place of weights.
    """
    state, layer = _STATE.get(), int(module.layer_idx)
    if state is not None:
        if state.kept is not None:
            state.kept[layer] = query, key
        elif state.frozen is not None:
            query, key = state.frozen[layer]
    call = _Call(query, key, value, attention_mask, scaling, softcap, s_aux, position_bias)
    output = call.output(module, options)
    if state is None:
        return output, None
    state.seen.add(layer)
    state.heads = int(query.shape[1]), int(key.shape[1])
    if state.sums is not None and state.lengths is not None:
        real = torch.arange(output.shape[1], device=output.device)[None] < state.lengths[:, None]  # (B, T)
        state.sums[layer] = state.sums.get(layer, 0) + (output * real[..., None, None]).sum((0, 1), dtype=torch.float32)
    output = _rows(state, layer, call, output)
    if state.change is not None:
        output = without_heads(state.change, layer, output)
    return (output if state.outputs is None else state.outputs.changed(layer, output)), None


def _rows(state: _State, layer: int, call: _Call, output: Tensor) -> Tensor:
    """Note the rows of the reads where somebody looks, and return outputs whose reads are cut off from a role."""
    cut = state.change.cut if state.change is not None else None
    at = state.watching.at if state.watching is not None else state.at
    if at is None or (state.watching is None and cut is None):
        return output
    scores, visible = _scores(call.query, call.key, at, call.mask, call.scaling, call.softcap, call.bias)
    if state.watching is not None:
        state.watching.note(layer, scores, visible, call.sink)
    if cut is None or state.roles is None:
        return output
    values = repeat_kv(call.value, call.query.shape[1] // call.value.shape[1])
    return put(output, at, cut_rows(scores, visible, values, state.roles, cut, call.sink))


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)


def _scores(
    query: Tensor,
    key: Tensor,
    at: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    softcap: float | None,
    bias: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return scores (B, H, R, T) of the tokens ``at`` (B, R), and which tokens they see, (B, 1, R, T)."""
    B, H, _, D = query.shape  # noqa: N806
    K, T = key.shape[1], key.shape[2]  # noqa: N806
    asked = query.gather(2, at[:, None, :, None].expand(-1, H, -1, D)).float()  # (B, H, R, D)
    grouped = asked.view(B, K, H // K, -1, D)
    scores = torch.einsum("bkgrd,bktd->bkgrt", grouped, key.float()).reshape(B, H, -1, T)
    scores = scores * (scaling if scaling is not None else D**-0.5)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + _at(bias, at, T)
    if mask is None:
        visible = (torch.arange(T, device=at.device) <= at[..., None])[:, None]
    else:
        own = _at(mask, at, T)
        visible = own if own.dtype == torch.bool else own > torch.finfo(own.dtype).min / 2
        if own.dtype != torch.bool:
            scores = scores + own.masked_fill(~visible, 0.0).float()
    return scores, visible


def _at(table: Tensor, at: Tensor, length: int) -> Tensor:
    """Rows (B, …, R, T) of a table (B or 1, …, T, T)."""
    table = table.expand(len(at), -1, -1, -1)[..., :length]
    return table.gather(2, at[:, None, :, None].expand(-1, table.shape[1], -1, length))


def _eager(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> Tensor:
    """Compute outputs with the model's own plain function, which knows its cap and its sink."""
    plain = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    if plain is None:
        raise ModelError(f"{type(module).__name__}: its attention has a cap or a sink and no plain function")
    if mask is None:
        T = query.shape[2]  # noqa: N806
        mask = torch.ones(T, T, dtype=torch.bool, device=query.device).tril()[None, None]
    if mask.dtype == torch.bool:
        added = torch.zeros(mask.shape, dtype=query.dtype, device=query.device)
        mask = added.masked_fill(~mask, torch.finfo(query.dtype).min)
    given = {name: option for name, option in options.items() if option is not None}
    output: Tensor = plain(module, query, key, value, mask, **given)[0]
    return output


class TransformersAttention(TransformersStates):
    """The attention of a model that transformers has loaded; attributes and methods as in ``AttentionModel``.

    Raises:
        ModelError: The model does not dispatch its attention through transformers' ``AttentionInterface``.
    """

    def __init__(self, backend: TransformersBackend) -> None:
        super().__init__(backend)
        kind = type(self._model).__name__
        if not getattr(self._model, "_supports_attention_backend", False):
            raise ModelError(f"model {backend.name}: {_undispatched(kind)}")
        state = _State()
        with self._watched(state), self._blocks.learnt(), torch.inference_mode():
            self._model(input_ids=torch.tensor([[0, 0]], device=self._model.device), use_cache=False)
        if not state.seen:
            raise ModelError(f"model {backend.name}: {_undispatched(kind)}")
        self.layers = tuple(sorted(state.seen))
        self.heads = state.heads[0]
        self.groups = state.heads[0] // state.heads[1]

    def look(self, looks: Sequence[Look], full: bool = False) -> list[Rows]:
        """Return what all heads do at the reads of some prompts."""
        found: dict[int, Rows] = {}
        for batch in self._batches(looks, self._most):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._model.device)
            watching = Watching(at, roles, full)
            logprobs = self._pass(chosen, _State(watching=watching))
            for row, (number, own) in enumerate(zip(batch, logprobs, strict=True)):
                found[number] = rows_of(watching.found, self.layers, row, looks[number], own)
        return [found[number] for number in range(len(looks))]

    def answers(self, looks: Sequence[Look], changes: Sequence[Change]) -> list[list[NDArray[np.float64]]]:
        """Return for each change the log-probabilities of the answers in the changed model."""
        starts = {start_of(change) for change in changes} - {None, 0}
        width = int(self._model.get_input_embeddings().weight.shape[1])

        def most(longest: int, reads: int) -> int:
            return min(self._most(longest, reads), _KEPT_NUMBERS // (longest * width * max(1, len(starts))))

        found: list[dict[int, NDArray[np.float64]]] = [{} for _ in changes]
        for batch in self._batches(looks, most):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._model.device)
            before = _State(kept={} if any(change.frozen for change in changes) else None)
            with self._blocks.kept([start for start in starts if start is not None]) as inputs:
                plain = self._pass(chosen, before)
            for made, change in zip(found, changes, strict=True):
                start = start_of(change)
                state = _State(change=change, at=at, roles=roles, frozen=before.kept if change.frozen else None)
                if start is None:
                    own = plain
                elif start:
                    with self._blocks.begun(start, inputs[start]):
                        own = self._pass(chosen, state)
                else:
                    own = self._pass(chosen, state)
                made.update(zip(batch, own, strict=True))
        return [[made[number] for number in range(len(looks))] for made in found]

    def means(self, looks: Sequence[Look]) -> Mapping[int, NDArray[np.float32]]:
        """Return the mean output of every head over all tokens of some prompts."""
        state = _State(sums={})
        for batch in self._batches(looks, self._most):
            chosen = [looks[number] for number in batch]
            state.lengths = torch.tensor([len(look.tokens) for look in chosen], device=self._model.device)
            self._pass(chosen, state)
        count = sum(len(look.tokens) for look in looks)
        return {layer: (total / count).cpu().numpy() for layer, total in (state.sums or {}).items()}

    def patch(self, pair: Pair) -> Patched:
        """Return what states and heads of the clean prompt do in the corrupt one."""
        first = int(np.flatnonzero(pair.clean != pair.corrupt)[0])
        skip = first if keeps_plain_cache(self._model) else 0
        prefix = pair.corrupt[:skip].tolist()
        forward = Forward(self._model, prefix)

        def run(rows: Sequence[NDArray[np.int64]], outputs: HeadOutputs) -> NDArray[np.float64]:
            ids = [[*prefix, *row.tolist()] for row in rows]
            wanted = [[list(pair.candidates)]] * len(ids)
            with self._watched(_State(outputs=outputs)):
                scores = forward(ids, [[len(ids[0])]] * len(ids), wanted)
            return np.array([logprobs[0] for logprobs, _ in scores])

        most = max(1, 4 * self._backend.tokens // len(pair.corrupt))
        with torch.inference_mode():
            return patch(run, self._blocks, self.layers, self.heads, pair, skip, most)

    def _most(self, longest: int, reads: int) -> int:
        return _ROW_NUMBERS // (longest * reads * self.heads)

    def _pass(self, looks: Sequence[Look], state: _State) -> list[NDArray[np.float64]]:
        """One batch through the model."""
        with self._watched(state):
            return self._forward(looks)

    @contextlib.contextmanager
    def _watched(self, state: _State) -> Iterator[None]:
        """Let the registered function do the attention of the model."""
        before = self._model.config._attn_implementation
        token = _STATE.set(state)
        try:
            self._model.set_attn_implementation(NAME)
            yield
        finally:
            _STATE.reset(token)
            self._model.set_attn_implementation(before)


def _undispatched(kind: str) -> str:
    return (
        f"{kind} does not dispatch its attention through transformers' AttentionInterface, so its rows cannot be "
        f"looked at. {WHAT_WORKS}"
    )
