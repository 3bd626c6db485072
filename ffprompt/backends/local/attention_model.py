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

from ffprompt.backends.base import Request
from ffprompt.backends.local.attention import WHAT_WORKS, Change, Look, Place, Rows, Tokens, overlapping, placed
from ffprompt.backends.local.attention_rows_model import Watching, cut_rows, rows_of, tables
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.transformers_model import Forward
from ffprompt.errors import AuditError, ModelError

NAME = "ffprompt"
# What families call the norm before the output head.
_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f")
# Numbers in the rows of one layer of a batch: reads × heads × tokens.
_ROW_NUMBERS = 1 << 26


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
    seen: set[int] = field(default_factory=set)
    heads: tuple[int, int] = (0, 0)  # query heads, key and value heads


_STATE: ContextVar[_State | None] = ContextVar("attention", default=None)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
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
        dropout: As transformers hands it over.
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
    options = {**options, "dropout": dropout, "scaling": scaling}
    if softcap is None and s_aux is None:
        if position_bias is not None:
            options["position_bias"] = position_bias
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    else:
        output = _eager(module, query, key, value, attention_mask, {"softcap": softcap, "s_aux": s_aux, **options})
    if state is None:
        return output, None
    state.seen.add(layer)
    state.heads = int(query.shape[1]), int(key.shape[1])
    if state.sums is not None and state.lengths is not None:
        real = torch.arange(output.shape[1], device=output.device)[None] < state.lengths[:, None]  # (B, T)
        state.sums[layer] = state.sums.get(layer, 0) + (output * real[..., None, None]).sum((0, 1), dtype=torch.float32)
    cut = state.change.cut if state.change is not None else None
    at = state.watching.at if state.watching is not None else state.at
    if at is not None and (state.watching is not None or cut is not None):
        scores, visible = _scores(query, key, at, attention_mask, scaling, softcap, position_bias)
        if state.watching is not None:
            state.watching.note(layer, scores, visible, s_aux)
        if cut is not None and state.roles is not None:
            values = repeat_kv(value, query.shape[1] // value.shape[1])
            rows = cut_rows(scores, visible, values, state.roles, cut, s_aux)  # (B, H, R, D)
            index = at[:, :, None, None].expand(-1, -1, rows.shape[1], rows.shape[3])
            output = output.scatter(1, index, rows.transpose(1, 2).to(output.dtype))
    if state.change is not None and (heads := state.change.heads.get(layer)):
        output = output.clone()
        instead: Any = 0.0
        if state.change.mode == "mean" and state.change.means is not None:
            instead = torch.from_numpy(state.change.means[layer][list(heads)]).to(output)
        output[:, :, list(heads)] = instead
    return output, None


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


class TransformersAttention:
    """The attention of a model that transformers has loaded; attributes and methods as in ``AttentionModel``.

    Raises:
        ModelError: The model does not dispatch its attention through transformers' ``AttentionInterface``.
    """

    def __init__(self, backend: TransformersBackend) -> None:
        self._backend, self._model = backend, backend.model
        kind = type(self._model).__name__
        if not getattr(self._model, "_supports_attention_backend", False):
            raise ModelError(f"model {backend.name}: {_undispatched(kind)}")
        state = _State()
        with self._watched(state), torch.inference_mode():
            self._model(input_ids=torch.tensor([[0, 0]], device=self._model.device), use_cache=False)
        if not state.seen:
            raise ModelError(f"model {backend.name}: {_undispatched(kind)}")
        self.layers = tuple(sorted(state.seen))
        self.heads = state.heads[0]
        self.groups = state.heads[0] // state.heads[1]

    def tokens(self, request: Request, place: Place) -> Tokens:
        """Return a prompt in tokens. Raises AuditError."""
        encoder = self._backend.encoder
        found = encoder.tokenise(request)
        text, offset = encoder.text(request)
        if not encoder.tokenizer.is_fast:
            raise ModelError(f"model {encoder.name}: its tokenizer does not say which characters a token holds")
        encoding = encoder.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        shift = len(found.ids) - len(encoding["input_ids"])
        if shift < 0 or found.ids[shift:] != encoding["input_ids"]:
            raise AuditError(f"trial {request.key}: the tokens of its prompt cannot be put beside its characters")
        bounds = np.array(encoding["offset_mapping"], np.int64).reshape(-1, 2)
        starts, ends = np.r_[[0] * shift, bounds[:, 0]], np.r_[[0] * shift, bounds[:, 1]]
        values = placed(place, text, starts, ends, request.key)
        if found.kind != "suffix":
            queries, candidates = found.position - 1, found.answers
            answers: list[tuple[int, ...]] = [(int(token),) for token in found.position]
        else:
            queries, candidates = _several(found.suffixes, found.ids, request.key)
            answers = [overlapping(starts, ends, low + offset, high + offset) for low, high in request.reads]
        ids = np.array(found.ids[: int(queries[-1]) + 1], np.int64)
        return Tokens(ids, np.asarray(queries), np.asarray(candidates), values, answers, found.kind != "suffix")

    def look(self, looks: Sequence[Look], full: bool = False) -> list[Rows]:
        """Return what all heads do at the reads of some prompts."""
        found: dict[int, Rows] = {}
        for batch in self._batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._model.device)
            watching = Watching(at, roles, full)
            logprobs = self._pass(chosen, _State(watching=watching))
            for row, (number, own) in enumerate(zip(batch, logprobs, strict=True)):
                found[number] = rows_of(watching.found, self.layers, row, looks[number], own)
        return [found[number] for number in range(len(looks))]

    def answers(self, looks: Sequence[Look], change: Change) -> list[NDArray[np.float64]]:
        """Return the log-probabilities of the answers in a changed model."""
        found: dict[int, NDArray[np.float64]] = {}
        for batch in self._batches(looks):
            chosen = [looks[number] for number in batch]
            at, roles = tables(chosen, self._model.device)
            state = _State(change=change, at=at, roles=roles)
            if change.frozen:
                before = _State(kept={})
                self._pass(chosen, before)
                state.frozen = before.kept
            found.update(zip(batch, self._pass(chosen, state), strict=True))
        return [found[number] for number in range(len(looks))]

    def means(self, looks: Sequence[Look]) -> Mapping[int, NDArray[np.float32]]:
        """Return the mean output of every head over all tokens of some prompts."""
        state = _State(sums={})
        for batch in self._batches(looks):
            chosen = [looks[number] for number in batch]
            state.lengths = torch.tensor([len(look.tokens) for look in chosen], device=self._model.device)
            self._pass(chosen, state)
        count = sum(len(look.tokens) for look in looks)
        return {layer: (total / count).cpu().numpy() for layer, total in (state.sums or {}).items()}

    def lens(self, looks: Sequence[Look]) -> list[NDArray[np.float32]] | None:
        """Return the logits of the answers, read off after each block. None where the last norm is not known."""
        norm = next((found for name in _NORMS if (found := getattr(self._model.base_model, name, None))), None)
        head = self._model.get_output_embeddings()
        if norm is None or head is None:
            return None
        found = []
        for look in looks:
            ids = torch.from_numpy(look.tokens.ids)[None].to(self._model.device)
            with torch.inference_mode():
                states = self._model.base_model(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
                at = torch.from_numpy(look.tokens.queries)
                made = [state[0, at.to(state.device)] for state in states]  # (R, d) each; the last is behind the norm
                logits = torch.stack(
                    [head(state if n == len(made) - 1 else norm(state)) for n, state in enumerate(made)]
                )
                index = torch.from_numpy(look.tokens.candidates).to(logits.device).expand(len(made), -1, -1)
                found.append(logits.gather(2, index).float().cpu().numpy())
        return found

    def _pass(self, looks: Sequence[Look], state: _State) -> list[NDArray[np.float64]]:
        """One batch through the model."""
        rows = [look.tokens.ids.tolist() for look in looks]
        at = [(look.tokens.queries + 1).tolist() for look in looks]
        wanted = [look.tokens.candidates.tolist() for look in looks]
        with self._watched(state):
            try:
                scores = Forward(self._model, [])(rows, at, wanted)
            except torch.OutOfMemoryError as error:
                raise ModelError(
                    f"model {self._backend.name}: out of memory with {len(looks)} prompts of "
                    f"{max(map(len, rows))} tokens; use a smaller --batch-size or a shorter --length"
                ) from error
        return [np.array(logprobs) for logprobs, _ in scores]

    def _batches(self, looks: Sequence[Look]) -> Iterator[list[int]]:
        """Prompts of similar length, as many as the memory for tokens and rows allows."""
        order = sorted(range(len(looks)), key=lambda number: -len(looks[number].tokens))
        while order:
            longest = len(looks[order[0]].tokens)
            reads = max(len(looks[number].tokens.queries) for number in order)
            size = self._backend.batch_size or max(1, self._backend.tokens // longest)
            size = max(1, min(size, _ROW_NUMBERS // (longest * reads * self.heads)))
            yield order[:size]
            order = order[size:]

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


def _several(
    suffixes: Sequence[Sequence[tuple[list[int], list[int]]]], ids: list[int], key: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return queries and first tokens of answers of several tokens.

    Raises:
        AuditError: The prompt up to an answer is not the beginning of the whole prompt, or answers begin alike.
    """
    queries, candidates = [], []
    for read in suffixes:
        common = read[0][0]
        if ids[: len(common)] != common:
            raise AuditError(f"trial {key}: the tokens before an answer depend on it; use another --template")
        first = [suffix[0] for _, suffix in read]
        if len(set(first)) < len(first):
            raise AuditError(f"trial {key}: two answers begin with the same token; use another --template")
        queries.append(len(common) - 1)
        candidates.append(first)
    return np.array(queries, np.int64), np.array(candidates, np.int64)
