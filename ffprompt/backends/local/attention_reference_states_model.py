"""Hidden states inside reference models, of every kind.

In shapes: B prompts, T tokens, R reads, S states, d width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ffprompt.backends.base import Request
from ffprompt.backends.local.attention import Look, Place, Rows, States, Tokens, placed
from ffprompt.backends.local.attention_blocks_model import Blocks
from ffprompt.backends.local.attention_rows_model import no_rows
from ffprompt.backends.local.reference import ReferenceBackend
from ffprompt.reference.networks.base import Network
from ffprompt.reference.networks.handbuilt import Handbuilt
from ffprompt.reference.networks.lstm import LSTM
from ffprompt.reference.networks.recurrent import Stack
from ffprompt.reference.networks.transformer import Transformer
from ffprompt.reference.tokens import INSTRUCTIONS, read_positions, tokenise

# Tokens in one pass: 16 strings at T = 512.
PASS = 1 << 13


class ReferenceStates:
    """The states of a reference model; attributes and methods as in ``StatesModel``.

    An LSTM shows for each layer its output and its cell, which are the state of the next token.
    """

    layers: tuple[int, ...] = ()
    heads = 0
    groups = 1

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend, self._model = backend, backend.network
        self._blocks = Blocks(_blocks(self._model))
        if isinstance(self._model, LSTM):
            each = range(1, self._model.config.layers + 1)
            self.states_are: tuple[str, ...] = (
                "embedding", *(f"{part} {layer}" for layer in each for part in ("cell", "output")),
            )  # fmt: skip
        else:
            self.states_are = ("embedding", *(f"block {number}" for number in range(1, len(self._blocks) + 1)))

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
        """Return the answers to some prompts, without a head."""
        found: dict[int, Rows] = {}
        for batch in batches(looks):
            logprobs = self._run([looks[number] for number in batch])
            found.update({number: no_rows(own) for number, own in zip(batch, logprobs, strict=True)})
        return [found[number] for number in range(len(looks))]

    def states(self, looks: Sequence[Look]) -> Iterator[States]:
        """Yield the hidden states of each prompt."""
        for look in looks:
            ids = torch.from_numpy(look.tokens.ids)[None].to(self._device)
            with torch.inference_mode():
                values = self._states(ids)
                # What the output head reads is the last state behind the final norm, where there is one.
                normed = self._model.hidden(ids)[0] if hasattr(self._model, "norm") else values[-1]
            yield States(values.float().cpu().numpy(), normed.float().cpu().numpy())

    def lens(self, looks: Sequence[Look]) -> list[NDArray[np.float32]] | None:
        """Return the logits of the answers, read off after each block. None without a norm or for a recurrent state."""
        norm, made = getattr(self._model, "norm", None), []
        if norm is None:
            return None
        for look in looks:
            ids = torch.from_numpy(look.tokens.ids)[None].to(self._device)
            with torch.inference_mode():
                states = self._states(ids)[:, torch.from_numpy(look.tokens.queries)]  # (S, R, d)
                logits = self._model.head(norm(states)).cpu().numpy()  # (S, R, V)
            index = np.broadcast_to(look.tokens.candidates, (*logits.shape[:2], look.tokens.candidates.shape[1]))
            made.append(np.take_along_axis(logits, index, 2))
        return made

    @property
    def _device(self) -> torch.device:
        return self._model.head.weight.device

    def _states(self, ids: Tensor) -> Tensor:
        """(S, T, d) of one prompt (1, T)."""
        model = self._model
        if isinstance(model, LSTM):
            return _of_lstm(model, ids)
        if isinstance(model, Stack):  # whose mixers are added outside of a module
            with _inputs([*model.norms, model.norm]) as found:
                model.hidden(ids)
            return torch.stack([state[0] for state in found])
        with self._blocks.kept(range(len(self._blocks) + 1)) as kept:
            model.hidden(ids)
        return torch.stack([kept[number][0] for number in range(len(kept))])

    def _run(self, looks: Sequence[Look]) -> list[NDArray[np.float64]]:
        """Log-probabilities (R, M) of the answers to prompts of one batch."""
        longest = max(len(look.tokens) for look in looks)
        ids = np.zeros((len(looks), longest), np.int64)
        for row, look in enumerate(looks):
            ids[row, : len(look.tokens)] = look.tokens.ids
        with torch.inference_mode():
            logp = self._model(torch.from_numpy(ids).to(self._device)).double().log_softmax(-1).cpu().numpy()
        return [
            np.take_along_axis(logp[row, look.tokens.queries], look.tokens.candidates, 1)
            for row, look in enumerate(looks)
        ]


def _blocks(model: Network) -> list[nn.Module]:
    if isinstance(model, Transformer):
        return list(model.blocks)
    if isinstance(model, Handbuilt):
        return [model.before, model.latest]
    return list(model.norms) if isinstance(model, Stack) else []


def _of_lstm(model: LSTM, ids: Tensor) -> Tensor:
    """(S, T, d) token by token, since torch gives out the cells of the last token alone."""
    x = model.embedding(ids.T)  # (T, 1, e)
    layers, state, found = model.config.layers, None, []
    for token in x:
        _, state = model.lstm(token[None], state)
        h, c = state  # (layers, 1, d) each
        found.append(torch.stack([c[:, 0], h[:, 0]], 1).flatten(0, 1))  # (2 · layers, d)
    made = torch.stack(found, 1)  # (2 · layers, T, d)
    width = max(x.shape[2], made.shape[2])
    padded = [nn.functional.pad(part, (0, width - part.shape[-1])) for part in (x[:, 0][None], made)]
    assert len(made) == 2 * layers
    return torch.cat(padded)


@contextlib.contextmanager
def _inputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Keep what goes into some modules, in the order in which they run."""
    found: list[Tensor] = []
    handles = [module.register_forward_pre_hook(lambda _m, given: found.append(given[0])) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def batches(looks: Sequence[Look]) -> Iterator[list[int]]:
    """Prompts of similar length; padding stands behind all reads, where causal attention never sees it."""
    order = sorted(range(len(looks)), key=lambda number: -len(looks[number].tokens))
    while order:
        size = max(1, PASS // len(looks[order[0]].tokens))
        yield order[:size]
        order = order[size:]
