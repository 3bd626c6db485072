"""The parts of the transformers backend that touch tensors.

In shapes: B prompts or trees, T tokens, P tokens of a shared prefix, R reads (the most in a batch), d width,
V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache, LogitsProcessor, LogitsProcessorList

from ffprompt.backends.base import Failure, Reply, Request
from ffprompt.backends.local.answer_tree import AnswerTree
from ffprompt.backends.local.candidate_scores import NOT_FINITE, RowScores
from ffprompt.backends.local.tokenization import Encoder, Ids

_NEVER = 1 << 62


def keeps_plain_cache(model: Any) -> bool:
    """Whether the model's state after a prefix is keys and values of full attention, which can be copied to a batch."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or []
    return (
        getattr(model, "_supports_default_dynamic_cache", lambda: True)()
        and not getattr(model, "_is_stateful", False)
        and all(kind == "full_attention" for kind in kinds)
        and not getattr(config, "sliding_window", None)
    )


class Forward:
    """Teacher-forced passes over prompts that begin with the same ``prefix`` (empty: with nothing in common)."""

    def __init__(self, model: Any, prefix: Ids) -> None:
        self.model = model
        self.prefix = prefix
        self.head = model.get_output_embeddings()
        self.cache: DynamicCache | None = None
        if prefix:
            with torch.inference_mode():
                ids = torch.tensor([prefix], device=model.device)  # (1, P)
                self.cache = model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def __call__(
        self, rows: Sequence[Ids], at: Sequence[Sequence[int]], wanted: Sequence[Sequence[Sequence[int]]]
    ) -> list[tuple[list[list[float]], list[int]]]:
        """For each row and each index in its ``at``: log-probabilities of the wanted tokens, and the first-ranked one.

        ``at`` are indices of tokens in the whole row. Each is predicted from the token before it.
        """
        return self._scores(rows, [[index - 1 for index in indices] for indices in at], wanted, {})

    def trees(self, trees: Sequence[AnswerTree]) -> list[list[RowScores]]:
        """Return the scores of every row of every tree, from one pass over all nodes.

        Raises whatever a model raises that does not take the mask of a tree or positions of its own.
        """
        skip = len(self.prefix)
        longest = max(len(tree.ids) for tree in trees) - skip
        positions = np.zeros((len(trees), longest), np.int64)  # (B, T)
        sees = np.zeros((len(trees), longest, skip + longest), bool)  # (B, T, P + T)
        sees[:, range(longest), range(skip, skip + longest)] = True  # padding sees itself, or it would have no numbers
        depths = np.zeros((len(trees), skip + longest), np.int64)
        for number, tree in enumerate(trees):
            size = len(tree.ids)
            positions[number, : size - skip] = tree.depths[skip:]
            sees[number, : size - skip, :size] = tree.ancestors()[skip:]
            depths[number, :size] = tree.depths
        options = {
            "attention_mask": self._masks(sees, depths),
            "position_ids": torch.from_numpy(positions).to(self.model.device),
        }
        found = self._scores(
            [tree.ids for tree in trees], [tree.nodes for tree in trees], [tree.candidates for tree in trees], options
        )
        return [tree.scores(*scores) for tree, scores in zip(trees, found, strict=True)]

    def _masks(self, sees: NDArray[np.bool_], depths: NDArray[np.int64]) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return what the attention adds to its scores: one mask, or one for each kind of layer.

        A sliding window hides what is too far above in the tree, as it does in a row.
        """
        config = self.model.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        if not isinstance(window, int) or int(depths.max()) < window:
            return self._mask(sees)
        skip = len(self.prefix)
        near = depths[:, None, :] > depths[:, skip:, None] - window
        kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
        masks = {"full_attention": sees, "sliding_attention": sees & near}
        if len(kinds) == 1:
            return self._mask(masks.get(kinds.pop(), sees))
        return {kind: self._mask(masks.get(kind, sees)) for kind in kinds}

    def _mask(self, sees: NDArray[np.bool_]) -> torch.Tensor:
        """(B, T, P + T) to (B, 1, T, P + T): 0 where a token is seen, and the lowest number where it is not."""
        dtype = self.model.dtype
        mask = torch.zeros(sees.shape, dtype=dtype)
        mask.masked_fill_(torch.from_numpy(~sees), torch.finfo(dtype).min)
        return mask[:, None].to(self.model.device)

    def _scores(
        self,
        rows: Sequence[Ids],
        places: Sequence[Sequence[int]],
        wanted: Sequence[Sequence[Sequence[int]]],
        options: Mapping[str, Any],
    ) -> list[tuple[list[list[float]], list[int]]]:
        """For each row and each of its ``places``: the wanted tokens after it, and the first-ranked one.

        ``options`` are the model's own, beside its ids.
        """
        skip = len(self.prefix)
        longest = max(len(row) for row in rows) - skip
        ids = np.zeros((len(rows), longest), np.int64)
        for row, own in enumerate(rows):
            # Padding stands behind all reads, and zero times a NaN is still a NaN: a row's own token spoils no other.
            ids[row] = own[-1]
            ids[row, : len(own) - skip] = own[skip:]
        most = max(len(indices) for indices in places)
        before = np.zeros((len(rows), most), np.int64)  # (B, R) rows with fewer reads repeat their first position
        for row, indices in enumerate(places):
            before[row, : len(indices)] = np.array(indices) - skip
        with torch.inference_mode():
            logits = self._logits(torch.from_numpy(ids), torch.from_numpy(before), options)  # (B, R, V)
            norm = logits.logsumexp(-1, keepdim=True)  # (B, R, 1)
            argmax = logits.argmax(-1).cpu().tolist()  # (B, R)
            width = max(len(tokens) for row in wanted for tokens in row)
            picks = np.zeros((len(rows), most, width), np.int64)
            for row, per_read in enumerate(wanted):
                for read, tokens in enumerate(per_read):
                    picks[row, read, : len(tokens)] = tokens
            chosen = logits.gather(-1, torch.from_numpy(picks).to(logits.device)) - norm  # (B, R, width)
            logprobs = chosen.double().cpu().tolist()
        return [
            (
                [logprobs[row][read][: len(wanted[row][read])] for read in range(len(places[row]))],
                argmax[row][: len(places[row])],
            )
            for row in range(len(rows))
        ]

    def _logits(self, ids: torch.Tensor, before: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
        """(B, T) ids and (B, R) positions to (B, R, V) float32 logits."""
        before = before.to(self.model.device)
        picked = False

        def only_reads(_module: Any, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            nonlocal picked
            picked = True
            hidden, *rest = arguments  # (B, T, d)
            index = before.to(hidden.device)[..., None].expand(-1, -1, hidden.shape[-1])
            return (hidden.gather(1, index), *rest)  # (B, R, d)

        cached: dict[str, Any] = {"use_cache": False}
        if self.cache is not None:
            cache = copy.deepcopy(self.cache)
            cache.batch_repeat_interleave(len(ids))
            cached = {"use_cache": True, "past_key_values": cache}
        # The head is a module of its own in every causal model. Scaling and capping of logits happen after it.
        hook = self.head.register_forward_pre_hook(only_reads) if self.head is not None else None
        try:
            logits: torch.Tensor = self.model(input_ids=ids.to(self.model.device), **cached, **options).logits
        finally:
            if hook is not None:
                hook.remove()
        if not picked:
            index = before.to(logits.device)[..., None].expand(-1, -1, logits.shape[-1])
            logits = logits.gather(1, index)
        return logits.float()


class _Sample(LogitsProcessor):
    """Gumbel-max sampling with a generator for each request, so that a reply does not depend on its batch."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.temperature = [request.temperature for request in requests]
        self.noise = [np.random.default_rng(request.seed) for request in requests]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores = scores.float()
        for row, (temperature, rng) in enumerate(zip(self.temperature, self.noise, strict=True)):
            if temperature:
                noise = torch.from_numpy(rng.gumbel(size=scores.shape[-1])).to(scores)
                scores[row] = scores[row] / temperature + noise
        return scores


class _Finite(LogitsProcessor):
    """Remembers for each row the first step at which the model's logits said nothing. Never waits for the device."""

    def __init__(self, rows: int, device: Any) -> None:
        self.step = 0
        self.first = torch.full((rows,), _NEVER, dtype=torch.int64, device=device)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        highest = scores.amax(-1).to(self.first.device)  # (B,) NaN where any is, -inf where all are
        self.first.masked_fill_(~highest.isfinite() & (self.first == _NEVER), self.step)
        self.step += 1
        return scores


def generate(
    model: Any, encoder: Encoder, prompts: Sequence[Ids], requests: Sequence[Request], limits: Sequence[int]
) -> list[Reply | Failure]:
    """Replies to prompts of one batch, each up to its own limit: greedy at temperature 0, sampled above."""
    longest = max(len(ids) for ids in prompts)
    end = _end_tokens(model, encoder.tokenizer)
    pad = min(end, default=0)
    ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        # Padding is masked, and zero times a NaN is still a NaN: a row's own token spoils no other row.
        ids[row] = prompt[0]
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    options: dict[str, Any] = {}
    stops = sorted({stop for request in requests for stop in request.stop})
    if stops:
        options = {"stop_strings": stops, "tokenizer": encoder.tokenizer}
    finite = _Finite(len(prompts), model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max(limits),
            do_sample=False,
            # A model's own generation config may ask for sampling. The settings of the run decide alone.
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            remove_invalid_values=False,
            pad_token_id=pad,
            eos_token_id=sorted(end) or None,
            logits_processor=LogitsProcessorList([finite, _Sample(requests)]),
            **options,
        )
    new, first_bad = out[:, longest:].cpu().tolist(), finite.first.cpu().tolist()
    return [
        _reply(encoder, new[row][: limits[row]], end, request, len(prompts[row]), first_bad[row])
        for row, request in enumerate(requests)
    ]


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a reply, of those that the model can write."""
    end = getattr(model.generation_config, "eos_token_id", None)
    tokens = set(end if isinstance(end, list) else [end])
    tokens.add(tokenizer.eos_token_id)
    written = model.get_input_embeddings().weight.shape[0]
    return {int(token) for token in tokens if token is not None and 0 <= int(token) < written}


def _reply(
    encoder: Encoder, ids: Ids, end: set[int], request: Request, prompt_tokens: int, first_bad: int
) -> Reply | Failure:
    length = next((place for place, token in enumerate(ids) if token in end), len(ids))
    text, stopped = encoder.reply(request, ids[:length])
    ended = "stop_string" if stopped else "eos" if length < len(ids) else "length"
    used = length + (ended == "eos")
    if first_bad < used:
        return Failure(NOT_FINITE)
    return Reply(
        text, "length" if ended == "length" else "stop", prompt_tokens=prompt_tokens, reply_tokens=used, ended=ended
    )
