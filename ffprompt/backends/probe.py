"""What a server is and can do, found out before a run begins: one look at its models, one echo of a short prompt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ffprompt.backends.wire import library
from ffprompt.errors import ModelError

# Log-probabilities are rounded on their way; their probabilities may sum to a little more than 1.
_ROUNDING = 0.01


class Scored(Protocol):
    """A token of an echoed prompt."""

    @property
    def logprob(self) -> float | None:
        """Its natural log-probability."""
        ...

    @property
    def top(self) -> Mapping[str, float]:
        """The most probable tokens in its place with theirs."""
        ...


def doubt(tokens: Sequence[Scored], given: int | None) -> str:
    """Why the log-probabilities of an echoed prompt are of no use; empty where they are.

    ``given`` is how many of the most probable tokens a user insists on.
    """
    later = tokens[1:]  # nothing stands before the first
    known = [token.logprob for token in later if token.logprob is not None]
    shown = min((len(token.top) for token in later), default=0)
    if len(known) < len(later) or not later:
        return "the server leaves log-probabilities of the prompt out"
    if shown < 2:
        return f"the server shows {shown} of the most probable tokens and at least 2 are wanted"
    if given is not None and shown < given:
        return f"--top-logprobs {given}: the server shows {shown}"
    everywhere = {round(value, 6) for token in later for value in [token.logprob or 0.0, *token.top.values()]}
    if len(everywhere) == 1:
        return f"the server makes its log-probabilities up: all of them are {everywhere.pop():g}"
    mass = max(math.fsum(math.exp(min(value, 1.0)) for value in token.top.values()) for token in later)
    if mass > 1 + _ROUNDING:
        return f"the server's log-probabilities are none: the probabilities of one place sum to {mass:.3g}"
    return ""


def speaks(response: Any) -> bool:
    """Whether a response with a good status is JSON, as an API's are, and no web page."""
    try:
        json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return True


def other_url(sdk: Any, client: Any, base_url: str) -> str:
    """``; did you mean …/v1?`` where the API is found there; empty otherwise."""
    if re.search(r"/v\d+(beta)?/?$", base_url):
        return ""
    there = base_url.rstrip("/") + "/v1"
    try:
        response = client.get(f"{there}/models", cast_to=library(sdk).Response)
    except sdk.APIError:
        return ""
    return f"; did you mean {there}?" if speaks(response) else ""


def web_page(name: str, response: Any, hint: str) -> ModelError:
    """The error for an address where people, and no programs, are answered."""
    kind = response.headers.get("content-type", "no content type")
    return ModelError(f"{name}: a web page and no API is at this base URL ({kind}){hint}")
