"""Log-probabilities of a prompt, as Inspect's providers of vLLM servers give them, as the scores of its answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from inspect_ai.model import Logprob, ModelOutput

from ffprompt.backends.api.echo import echoed, read_scores
from ffprompt.backends.base import Failure, Request, Scores
from ffprompt.errors import ConfigError
from ffprompt.scoring.response_records import ScoresRecord

TOP = 20  # the most that Inspect and a vLLM server as it is started by default give
PROVIDERS = "vllm-completions/NAME or openai-api-completions/SERVICE/NAME, with a vLLM server"


def scores(output: ModelOutput, request: Request, model: str) -> Scores | Failure:
    """Return the scores of every answer at every read. Nothing is filled in: what a server leaves out is a Failure.

    Raises:
        ConfigError: The provider gives no log-probabilities of a prompt.
    """
    found = output.choices[0].prompt_logprobs if output.choices else None
    if found is None or not found.content:
        raise ConfigError(f"model {model}: it gives no log-probabilities of a prompt, expected {PROVIDERS}")
    places = [_place(each) for each in found.content]
    text = "".join(each.token for each in found.content)
    if request.text.endswith(text) and text != request.text:
        # Inspect leaves out the first token, which has no log-probability.
        places.insert(0, {"token": request.text[: -len(text)], "logprob": None, "top_logprobs": []})
    body: dict[str, Any] = {"choices": [{"logprobs": {"content": places}}]}
    if output.usage is not None:
        body["usage"] = {
            "prompt_tokens": output.usage.input_tokens,
            "completion_tokens": output.usage.output_tokens,
        }
    try:
        return read_scores(request, body, echoed(body, request.text))
    except ValueError as error:
        return Failure(f"cannot be scored: {error}")


def _place(each: Logprob) -> dict[str, Any]:
    """One place of the prompt. Inspect keeps the written token apart from the most probable ones."""
    written = {"token": each.token, "logprob": each.logprob}
    others = [{"token": one.token, "logprob": one.logprob} for one in each.top_logprobs or ()]
    return {**written, "top_logprobs": [written, *others]}


def of_record(kept: ScoresRecord) -> Scores:
    """Return the scores that a log holds."""
    return Scores(
        np.array(kept.logprobs, np.float64),
        np.array(kept.argmax, np.int64),
        np.array(kept.argmax_symbol, np.int64),
        kept.prompt_tokens,
        tuple(kept.bounds or ()),
        kept.reply_tokens,
    )
