"""Hidden states inside models of transformers, with or without attention that can be looked at.

In shapes: B prompts, T tokens, R reads, S states, d width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ffprompt._util.formatting import counted
from ffprompt.backends.base import Request
from ffprompt.backends.local.attention import Look, Place, Rows, States, Tokens, overlapping, placed
from ffprompt.backends.local.attention_blocks_model import blocks_in
from ffprompt.backends.local.attention_rows_model import no_rows
from ffprompt.backends.local.transformers import TransformersBackend
from ffprompt.backends.local.transformers_model import Forward
from ffprompt.errors import AuditError, ModelError

# What families call the norm before the output head.
_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "ln_out")


class TransformersStates:
    """The states of a model that transformers has loaded; attributes and methods as in ``StatesModel``.

    Raises:
        ModelError: The blocks of the model are not found.
    """

    layers: tuple[int, ...] = ()
    heads = 0
    groups = 1

    def __init__(self, backend: TransformersBackend) -> None:
        self._backend, self._model = backend, backend.model
        blocks = blocks_in(self._model.base_model, self._model.config.get_text_config().num_hidden_layers)
        if blocks is None:
            raise ModelError(f"model {backend.name}: {type(self._model).__name__} has no list of blocks to look into")
        self._blocks = blocks
        self.states_are = ("embedding", *(f"block {number}" for number in range(1, len(blocks) + 1)))

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
        """Return the answers to some prompts, without a head."""
        found: dict[int, Rows] = {}
        for batch in self._batches(looks):
            logprobs = self._forward([looks[number] for number in batch])
            found.update({number: no_rows(own) for number, own in zip(batch, logprobs, strict=True)})
        return [found[number] for number in range(len(looks))]

    def states(self, looks: Sequence[Look]) -> Iterator[States]:
        """Yield the hidden states of each prompt."""
        for look in looks:
            ids = torch.from_numpy(look.tokens.ids)[None].to(self._model.device)
            with torch.inference_mode(), self._blocks.kept(range(len(self._blocks) + 1)) as found:
                last = self._model.base_model(input_ids=ids, use_cache=False)[0]
                values = torch.stack([found[number][0].float().cpu() for number in range(len(found))])
            yield States(values.numpy(), last[0].float().cpu().numpy())

    def lens(self, looks: Sequence[Look]) -> list[NDArray[np.float32]] | None:
        """Return the logits of the answers, read off after each block. None where the last norm is not known."""
        norm = next((found for name in _NORMS if (found := getattr(self._model.base_model, name, None))), None)
        head = self._model.get_output_embeddings()
        if norm is None or head is None:
            return None
        made = []
        for look in looks:
            ids = torch.from_numpy(look.tokens.ids)[None].to(self._model.device)
            at = torch.from_numpy(look.tokens.queries)
            with torch.inference_mode(), self._blocks.kept(range(len(self._blocks) + 1)) as found:
                self._model.base_model(input_ids=ids, use_cache=False)
                states = [found[number][0][at.to(found[number].device)] for number in range(len(found))]  # (R, d) each
                logits = torch.stack([head(norm(state)) for state in states])
                index = torch.from_numpy(look.tokens.candidates).to(logits.device).expand(len(states), -1, -1)
                made.append(logits.gather(2, index).float().cpu().numpy())
        return made

    def _forward(self, looks: Sequence[Look]) -> list[NDArray[np.float64]]:
        """Log-probabilities (R, M) of the answers to prompts of one batch."""
        rows = [look.tokens.ids.tolist() for look in looks]
        at = [(look.tokens.queries + 1).tolist() for look in looks]
        wanted = [look.tokens.candidates.tolist() for look in looks]
        try:
            scores = Forward(self._model, [])(rows, at, wanted)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"model {self._backend.name}: out of memory with {counted(len(looks), 'prompt')} of "
                f"{counted(max(map(len, rows)), 'token')}; use a smaller --batch-size or a shorter --length"
            ) from error
        return [np.array(logprobs) for logprobs, _ in scores]

    def _batches(self, looks: Sequence[Look], most: Callable[[int, int], int] | None = None) -> Iterator[list[int]]:
        """Prompts of similar length, at most ``most(tokens, reads)``."""
        order = sorted(range(len(looks)), key=lambda number: -len(looks[number].tokens))
        while order:
            longest = len(looks[order[0]].tokens)
            reads = max(len(looks[number].tokens.queries) for number in order)
            size = self._backend.batch_size or max(1, self._backend.tokens // longest)
            size = max(1, size if most is None else min(size, most(longest, reads)))
            yield order[:size]
            order = order[size:]


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
