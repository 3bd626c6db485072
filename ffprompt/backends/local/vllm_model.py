"""A vLLM engine in this process: rows in, log-probabilities out. Prompts in, replies out.

Only what vLLM has had for long is taken for granted. What newer versions do better is used where it is found by
looking at ``SamplingParams``: the scoring of fixed tokens of a prompt, flat containers, log-probabilities of chosen
tokens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from vllm import LLM, SamplingParams
from vllm.engine.arg_utils import EngineArgs

from ffprompt.backends.base import AnswerSchema, Failure, Reply, Request
from ffprompt.backends.local.candidate_scores import NOT_FINITE, TOP_LOGPROBS, Row, RowScores
from ffprompt.backends.local.tokenization import Encoder, Ids

_MOST_NAMED = 128  # tokens that one request may name
_PROBE = 24  # tokens of the prompt on which two ways of scoring are compared
Scoring = Literal["fixed", "prompt", "by name"]
_MEANS_MORE, _LITERALLY = r"([\\^$.|?*+()\[\]{}])", r"\\\1"  # of a regular expression
_FINISHED = ("stop", "length")


class Engine:
    """``arguments`` are those of ``vllm.LLM``. ``adapter`` is a folder with LoRA weights."""

    def __init__(self, arguments: Mapping[str, Any], adapter: str | None = None) -> None:
        bar = {"use_tqdm_on_load": sys.stderr.isatty()} if "use_tqdm_on_load" in engine_arguments() else {}
        self.llm = LLM(**{**bar, **arguments})
        self.config: Any = self.llm.llm_engine.vllm_config
        self.adapter: Any = None
        if adapter is not None:
            from vllm.lora.request import LoRARequest

            self.adapter = LoRARequest("adapter", 1, adapter)
        self.known = set(SamplingParams.__struct_fields__)
        # vLLM applies an adapter to the logits of a step's last tokens only, so that prompts are not scored through it.
        self.scoring: Scoring = "by name" if self.adapter else "fixed" if self._scores_fixed_tokens() else "prompt"

    def score(self, rows: Sequence[Row]) -> list[RowScores]:
        """Log-probabilities of every wanted token, and the token ranked first, from one request a row.

        Where vLLM shows the most probable tokens only, a wanted one that is not among them is asked for by name in a
        request of its own. Nothing is filled in.
        """
        match self.scoring:
            case "fixed":
                return self._score_fixed(rows)
            case "prompt":
                return self._fill_in(rows, self._score_top(rows))
            case "by name":
                return self._fill_in(rows, [_unknown(row) for row in rows])

    @property
    def takes_schemas(self) -> bool:
        """Whether this vLLM can be held to a JSON schema."""
        return bool(self.known & {"structured_outputs", "guided_decoding"})

    def generate(self, encoder: Encoder, prompts: Sequence[Ids], requests: Sequence[Request]) -> list[Reply | Failure]:
        """Replies, in order. Prompts go in sorted, so that those with a common beginning meet in the prefix cache."""
        order = sorted(range(len(prompts)), key=lambda index: prompts[index])
        parameters = [
            SamplingParams(
                temperature=requests[index].temperature or 0.0,
                max_tokens=encoder.limit(requests[index], len(prompts[index])),
                stop=list(requests[index].stop) or None,
                seed=requests[index].seed & 0x7FFFFFFF if requests[index].temperature else None,
                skip_special_tokens=False,  # stop texts are looked for in the text that is kept
                spaces_between_special_tokens=False,
                logprobs=0,  # of the token that is written, which shows whether the model's numbers are any
                **self._held_to(requests[index].schema),
            )
            for index in order
        ]
        outputs = self._run([prompts[index] for index in order], parameters)
        replies = {
            index: _reply(encoder, requests[index], output) for index, output in zip(order, outputs, strict=True)
        }
        return [replies[index] for index in range(len(prompts))]

    def _held_to(self, schema: AnswerSchema | None) -> dict[str, Any]:
        """The sampling parameter that enforces a schema, under the name that this version has for it."""
        if schema is None:
            return {}
        if "structured_outputs" in self.known:
            from vllm.sampling_params import StructuredOutputsParams

            return {"structured_outputs": StructuredOutputsParams(regex=pattern_of(schema))}
        from vllm.sampling_params import GuidedDecodingParams

        return {"guided_decoding": GuidedDecodingParams(regex=pattern_of(schema))}

    def close(self) -> None:
        """Stop the engine's processes and free its memory."""
        from vllm.distributed import cleanup_dist_env_and_memory

        core = getattr(self.llm.llm_engine, "engine_core", None)
        del self.llm
        with contextlib.suppress(AttributeError, RuntimeError):
            core.shutdown()  # type: ignore[union-attr]
        with contextlib.suppress(RuntimeError, AssertionError):
            cleanup_dist_env_and_memory()

    def _run(self, prompts: Sequence[Ids], parameters: Sequence[SamplingParams]) -> list[Any]:
        given = [{"prompt_token_ids": ids} for ids in prompts]
        outputs: list[Any] = self.llm.generate(given, list(parameters), use_tqdm=False, lora_request=self.adapter)
        return outputs

    def _parameters(self, **more: Any) -> SamplingParams:
        """For scoring: one token is written, because vLLM writes at least one, and thrown away."""
        wanted = {"detokenize": False, "skip_reading_prefix_cache": True, "flat_logprobs": True}
        also = {key: value for key, value in wanted.items() if key in self.known}
        return SamplingParams(temperature=0.0, max_tokens=1, **{**also, **more})

    def _score_top(self, rows: Sequence[Row]) -> list[RowScores]:
        """What the most probable tokens tell. NaN for a wanted token that is not among them."""
        most = min(TOP_LOGPROBS, self.config.model_config.get_vocab_size())  # a model of raw symbols has fewer tokens
        outputs = self._run([_whole(row) for row in rows], [self._parameters(prompt_logprobs=most)] * len(rows))
        return [_from_top(row, output.prompt_logprobs) for row, output in zip(rows, outputs, strict=True)]

    def _fill_in(self, rows: Sequence[Row], found: list[RowScores]) -> list[RowScores]:
        """Ask by name for what is still NaN. All answers of such a read, so that they are of one forward pass."""
        missing = [
            (number, place)
            for number, (logprobs, _) in enumerate(found)
            for place, values in enumerate(logprobs)
            if np.isnan(values).any()
        ]
        asked: list[tuple[int, int, Sequence[int]]] = []
        most = _MOST_NAMED if "logprob_token_ids" in self.known else 1
        for number, place in missing:
            wanted = rows[number].candidates[place]
            asked += [(number, place, wanted[first : first + most]) for first in range(0, len(wanted), most)]
        prompts = [rows[number].ids[: rows[number].positions[place]] for number, place, _ in asked]
        outputs = self._run(prompts, [self._naming(list(tokens)) for _, _, tokens in asked]) if asked else []
        named: dict[tuple[int, int], dict[int, float]] = {}
        for (number, place, _), output in zip(asked, outputs, strict=True):
            made = output.outputs[0]
            shown = {token: one.logprob for token, one in made.logprobs[0].items()}
            named.setdefault((number, place), {}).update(shown)
            if most > 1:  # nothing was masked, so the token that was written is the one ranked first
                found[number][1][place] = made.token_ids[0]
        for (number, place), values in named.items():
            found[number][0][place] = [values.get(token, np.nan) for token in rows[number].candidates[place]]
        return found

    def _naming(self, tokens: Ids) -> SamplingParams:
        """One step whose log-probabilities include those of ``tokens``. vLLM reports them before any mask."""
        if "logprob_token_ids" in self.known:
            return self._parameters(logprob_token_ids=tokens, skip_reading_prefix_cache=False)
        return self._parameters(allowed_token_ids=tokens, logprobs=0)

    def _score_fixed(self, rows: Sequence[Row]) -> list[RowScores]:
        """The scoring of fixed tokens: a table of token ids a prompt, one line for every place from the first read."""
        parameters = []
        for row in rows:
            start = row.positions[0] - 1
            width = max(len(tokens) for tokens in row.candidates)
            table = np.full((len(_whole(row)) - 1 - start, width), -1, np.int64)
            for place, tokens in zip(row.positions, row.candidates, strict=True):
                table[place - 1 - start, : len(tokens)] = tokens
            parameters.append(
                self._parameters(prompt_logprob_token_ids=table, prompt_logprob_start=start, prompt_logprobs=1)
            )
        found: list[RowScores] = []
        for row, output in zip(rows, self._run([_whole(row) for row in rows], parameters), strict=True):
            scores = output.prompt_token_id_logprobs
            lines = [scores[place - row.positions[0]].tolist() for place in row.positions]
            answers = [line[: len(tokens)] for line, tokens in zip(lines, row.candidates, strict=True)]
            found.append((answers, [_first(output.prompt_logprobs[place]) for place in row.positions]))
        return found

    def _scores_fixed_tokens(self) -> bool:
        """Whether this engine scores fixed tokens of a prompt, and as the other way does, on a prompt of its own."""
        if "prompt_logprob_token_ids" not in self.known or not getattr(self.config, "use_v2_model_runner", False):
            return False
        ids = [token % self.config.model_config.get_vocab_size() for token in range(7, 7 + _PROBE)]
        row = Row(ids[:-1], [_PROBE // 2, _PROBE - 1], [ids[:2], ids[-2:]])
        try:
            (fixed, _), (plain, _) = self._score_fixed([row])[0], self._fill_in([row], [_unknown(row)])[0]
        except (ValueError, TypeError, AttributeError, IndexError, RuntimeError):
            return False
        return bool(np.allclose(fixed, plain, atol=0.1, rtol=0.01))


def pattern_of(schema: AnswerSchema) -> str:
    """Return the regular expression of a schema's JSON, written as Python writes it.

    A JSON schema allows any white space, and some models write nothing else until their limit.

    >>> pattern_of(AnswerSchema(("off", "on"), 3))
    '\\\\{"answers": \\\\[("off"|"on")(, ("off"|"on")){2}\\\\]\\\\}'
    """
    values = [json.dumps(value, ensure_ascii=False) for value in schema.values]
    item = f"({'|'.join(re.sub(_MEANS_MORE, _LITERALLY, value) for value in values)})"
    more = f"(, {item}){{{schema.count - 1}}}" if schema.count > 1 else ""
    return rf'\{{"answers": \[{item}{more}\]\}}'


def _unknown(row: Row) -> RowScores:
    return [[np.nan] * len(tokens) for tokens in row.candidates], [-1] * len(row.positions)


def engine_arguments() -> set[str]:
    """The names of vLLM's engine arguments."""
    return {field.name for field in dataclasses.fields(EngineArgs)}


def _whole(row: Row) -> Ids:
    """The ids with one candidate at the last place, whose log-probabilities a prompt must reach to show."""
    return row.ids if len(row.ids) > row.positions[-1] else [*row.ids, row.candidates[-1][0]]


def _from_top(row: Row, shown: Sequence[Mapping[int, Any]]) -> RowScores:
    places = [shown[place] for place in row.positions]
    answers = [
        [places[number][token].logprob if token in places[number] else np.nan for token in tokens]
        for number, tokens in enumerate(row.candidates)
    ]
    return answers, [_first(place) for place in places]


def _first(shown: Mapping[int, Any]) -> int:
    """The token ranked first."""
    return max(shown, key=lambda token: shown[token].logprob)


def _reply(encoder: Encoder, request: Request, output: Any) -> Reply | Failure:
    made = output.outputs[0]
    ended = str(made.finish_reason)
    if ended not in _FINISHED:
        return Failure(f"vLLM ended the request with {made.finish_reason!r}")
    ids = list(made.token_ids)
    if not _finite(made.logprobs or (), ids):
        return Failure(NOT_FINITE)
    # A reply that a token has ended holds that token. One that a text has ended names the text.
    by_token = ended == "stop" and not isinstance(made.stop_reason, str)
    text, _ = encoder.reply(request, ids[:-1] if by_token else ids)
    return Reply(
        text,
        "length" if ended == "length" else "stop",
        prompt_tokens=len(output.prompt_token_ids),
        reply_tokens=len(ids),
        ended=ended,
    )


def _finite(shown: Sequence[Mapping[int, Any]], ids: Ids) -> bool:
    """Whether each written token has a log-probability. One NaN or infinite logit leaves none a number."""
    return all(math.isfinite(place[token].logprob) for place, token in zip(shown, ids, strict=False))
