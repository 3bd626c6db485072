"""Log-probabilities that a server gives for a prompt it echoes, as the scores of the answers in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ffprompt.backends import counts
from ffprompt.requests import Failure, Request, Scores


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of an echoed prompt: where it begins, how it is written, and the most probable ones in its place."""

    start: int
    text: str
    logprob: float | None
    top: Mapping[str, float]


def echoed(body: Mapping[str, Any], prompt: str) -> list[Token]:
    """The tokens of an echoed prompt. Raises ValueError unless they spell the prompt, character by character.

    A token for the beginning of the text may stand in front. Offsets are counted here: servers disagree on theirs.
    """
    found = (body.get("choices") or [{}])[0].get("logprobs") or {}
    columns = [found.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs")]
    if not columns[0] or len({len(column) for column in columns}) != 1:
        raise ValueError("the server returns no log-probabilities of the prompt")
    tokens: list[Token] = []
    position = 0
    for number, (text, logprob, top) in enumerate(zip(*columns, strict=True)):
        if position == len(prompt):
            break
        if text and prompt.startswith(text, position):
            tokens.append(Token(position, text, logprob, top or {}))
            position += len(text)
        elif number > 0:
            raise ValueError(f"token {number} of the echo, {text!r}, is not what stands at character {position}")
    if position < len(prompt):
        raise ValueError("the server echoes no log-probabilities of the prompt, or not of all of it")
    return tokens


def read_scores(request: Request, body: Mapping[str, Any], top_logprobs: int) -> Scores | Failure:
    """The answers' log-probabilities at every read. Nothing is filled in: what the server left out is a Failure."""
    try:
        tokens = {token.start + len(token.text): token for token in echoed(body, request.text)}
        rows = [_score(request, tokens.get(end), start) for start, end in request.reads]
    except ValueError as error:
        return Failure(f"cannot be scored: {error}")
    answers = np.array([row for row, _, _ in rows], np.float64).reshape(len(rows), len(request.surfaces))
    symbols = np.array([symbol for _, symbol, _ in rows], np.int64)
    bounds = tuple((read, symbol) for read, (_, _, bounded) in enumerate(rows) for symbol in bounded)
    # The server names tokens by their text, so there is no number of the first-ranked token to record.
    unknown = np.full(len(rows), -1, np.int64)
    used = counts.openai(body)
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
    if token.logprob is None or written is None or abs(token.logprob - written) > 1e-3:
        raise ValueError(f"two tokens are written {token.text!r} and cannot be told apart in the server's answer")
    shown = {**token.top, token.text: written}
    missing = [symbol for symbol, name in enumerate(names) if name not in shown]
    # What is not shown is at most as probable as the least of the most probable tokens, beside which servers show the
    # token that is written, however improbable.
    bound = min((value for name, value in token.top.items() if name != token.text), default=0.0)
    row = [float(shown.get(name, bound)) for name in names]
    best = max((value for symbol, value in enumerate(row) if symbol not in missing), default=-math.inf)
    if missing and best <= bound:
        raise ValueError(
            f"{names[missing[0]]!r} is not among the {len(token.top)} most probable tokens that the server shows at "
            f"character {start}, and could be the more probable answer; raise --top-logprobs (vLLM: up to its "
            "--max-logprobs)"
        )
    if not all(math.isfinite(value) and -9000 < value <= 1e-3 for value in row):  # vLLM writes -9999 for -inf
        raise ValueError(f"the server gives no log-probability of an answer at character {start}")
    first = max(token.top, key=lambda name: token.top[name])
    return row, names.index(first) if first in names else -1, missing
