"""Log-probabilities that a server gives for a prompt it echoes, as the scores of the answers in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.usage_fields import openai_usage
from ffprompt.backends.base import Failure, Request, Scores

# Servers round log-probabilities; two decimals are the fewest that tell answers apart.
ROUNDING = 0.01
# vLLM writes -9999 for minus infinity, others write smaller numbers for what they do not know.
LEAST = -9000.0
# How OpenAI names a token that is a part of a character: bytes:\xe2\x80
_BYTES = "bytes:"


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of an echoed prompt: where it begins, how it is written, and the most probable ones in its place."""

    start: int
    text: str
    logprob: float | None
    top: Mapping[str, float]

    @property
    def bound(self) -> float | None:
        """What the log-probability of a token that is not shown is at most. None where nothing says.

        Servers show the written token beside the most probable ones, however improbable it is.
        """
        return min((value for name, value in self.top.items() if name != self.text and value > LEAST), default=None)


def echoed(body: JsonObject, prompt: str) -> list[Token]:
    """Return the tokens of an echoed prompt.

    A token for the beginning of the text may stand in front. Offsets are counted here: servers disagree on theirs.

    Raises:
        ValueError: they do not spell the prompt, byte by byte.
    """
    whole = prompt.encode()
    tokens: list[Token] = []
    position = 0
    for number, (name, logprob, top) in enumerate(_columns(body)):
        if position == len(whole):
            break
        written = _bytes(name)
        if written and whole.startswith(written, position):
            # A token that begins inside a character is counted as beginning with it.
            start = len(whole[:position].decode(errors="ignore"))
            tokens.append(Token(start, name if name.startswith(_BYTES) else written.decode(), logprob, top))
            position += len(written)
        elif number > 0:
            at = len(whole[:position].decode(errors="ignore"))
            raise ValueError(f"token {number} of the echo, {name!r}, is not what stands at character {at}")
    if position < len(whole):
        raise ValueError("the server echoes no log-probabilities of the prompt, or not of all of it")
    return tokens


def _columns(body: JsonObject) -> list[tuple[str, float | None, Mapping[str, float]]]:
    """(token, its log-probability, the most probable ones with theirs) of every place, in any of the usual shapes."""
    found = (body.get("choices") or [{}])[0].get("logprobs") or {}
    if isinstance(content := found.get("content"), list):  # the shape of chat completions
        return [(each["token"], _number(each.get("logprob")), _top(each.get("top_logprobs"))) for each in content]
    columns = [found.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs")]
    if not columns[0] or len({len(column) for column in columns}) != 1:
        raise ValueError("the server returns no log-probabilities of the prompt")
    return [(name, _number(logprob), _top(top)) for name, logprob, top in zip(*columns, strict=True)]


def _top(given: Any) -> Mapping[str, float]:
    """The most probable tokens of one place: a map, or a list of ``{"token": …, "logprob": …}``."""
    pairs = given.items() if isinstance(given, Mapping) else [(each["token"], each["logprob"]) for each in given or ()]
    top: dict[str, float] = {}
    for name, value in pairs:
        number = _number(value)
        if number is None:
            raise ValueError(f"the server shows {name!r} without its log-probability")
        top[name] = max(number, top.get(name, -math.inf))  # two tokens may be written alike
    return top


def _number(value: object) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"the log-probability {value!r} is no number")
    return None if value is None else float(value)


def _bytes(name: str) -> bytes:
    if not name.startswith(_BYTES):
        return name.encode(errors="surrogatepass")
    return name.removeprefix(_BYTES).encode().decode("unicode_escape").encode("latin-1")


def read_scores(request: Request, body: JsonObject, tokens: Sequence[Token]) -> Scores | Failure:
    """Return the answers' log-probabilities at every read. Nothing is filled in: what was left out is a Failure."""
    try:
        ends = {token.start + len(token.text): token for token in tokens}
        rows = [_score(request, ends.get(end), start) for start, end in request.reads]
    except ValueError as error:
        return Failure(f"cannot be scored: {error}")
    answers = np.array([row for row, _, _ in rows], np.float64).reshape(len(rows), len(request.surfaces))
    symbols = np.array([symbol for _, symbol, _ in rows], np.int64)
    bounds = tuple((read, symbol) for read, (_, _, bounded) in enumerate(rows) for symbol in bounded)
    # The server names tokens by their text, so there is no number of the first-ranked token to record.
    unknown = np.full(len(rows), -1, np.int64)
    used = openai_usage(body)
    return Scores(answers, unknown, symbols, used.prompt, bounds, used.reply)


def _score(request: Request, token: Token | None, start: int) -> tuple[list[float], int, list[int]]:
    """(log-probability of each symbol, the symbol ranked first or -1, the symbols of which only a bound is known)."""
    before = request.text[token.start : start] if token is not None else ""
    if token is None or token.start > start or before.strip():
        raise ValueError(
            f"the answer at character {start} is not one token of its own; use another template, or the transformers "
            "backend"
        )
    names = [before + surface for surface in request.surfaces]
    written = token.top.get(token.text, token.logprob)
    if token.logprob is None or written is None or abs(token.logprob - written) > ROUNDING:
        raise ValueError(f"two tokens are written {token.text!r} and cannot be told apart in the server's answer")
    shown = {**token.top, token.text: written}
    missing = [symbol for symbol, name in enumerate(names) if name not in shown]
    bound = 0.0 if token.bound is None else token.bound
    row = [float(shown.get(name, bound)) for name in names]
    best = max((value for symbol, value in enumerate(row) if symbol not in missing), default=-math.inf)
    if missing and best <= bound:
        raise ValueError(
            f"{names[missing[0]]!r} is not among the {len(token.top)} most probable tokens that the server shows at "
            f"character {start}, and could be the more probable answer; raise --top-logprobs (vLLM: up to its "
            "--max-logprobs)"
        )
    if not all(math.isfinite(value) and LEAST < value <= 1e-3 for value in row):
        raise ValueError(f"the server gives no log-probability of an answer at character {start}")
    first = max(token.top, key=lambda name: token.top[name])
    return row, names.index(first) if first in names else -1, missing
