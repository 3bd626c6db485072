"""What a user adds to every request: headers, and an object in the body. Neither may undo what a run says of itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ffprompt.backends.api.payloads import JsonObject
from ffprompt.errors import ModelError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that the HTTP client writes, or that say how to read the body.
_OURS = ("host", "content-length", "content-type", "transfer-encoding", "connection", "accept-encoding")
# Parts of every payload, and the flag that sets them; None for what is not to be set at all.
_FLAGS: Mapping[str, str | None] = {
    "model": "--model", "messages": None, "input": None, "prompt": None, "system": None, "instructions": None,
    "stream": None, "n": "--repeats", "best_of": None, "echo": None, "logprobs": "--top-logprobs",
    "top_logprobs": "--top-logprobs", "temperature": "--temperature", "seed": "--seed", "stop": None,
    "stop_sequences": None, "max_tokens": "--max-tokens", "max_completion_tokens": "--max-tokens",
    "max_output_tokens": "--max-tokens", "response_format": "--answers schema", "text": "--answers schema",
    "reasoning_effort": "--reasoning-effort", "suffix": None, "logit_bias": None,
}  # fmt: skip
# Settings under which a server shortens a prompt that is too long.
_CUTS = ("truncate_prompt_tokens", "truncation", "transforms", "truncation_strategy")


def parse_headers(given: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` pairs, or ``NAME: VALUE`` as curl takes them. Raises ModelError, which never shows a value.

    >>> parse_headers(["X-Team=memory", "X-Run: 7"])
    {'X-Team': 'memory', 'X-Run': '7'}
    """
    found: dict[str, str] = {}
    for number, text in enumerate(given, start=1):
        match = re.match(r"([^=:]*)[=:](.*)\Z", text, re.DOTALL)
        name, value = (match[1].strip(), match[2].strip(" \t")) if match else (text, "")
        if match is None or not _NAME.fullmatch(name):
            raise ModelError(f"--extra-header number {number}: expected NAME=VALUE")
        if not value.isascii() or not value.isprintable():
            raise ModelError(
                f"--extra-header {name}: its value has a newline, a control character or a character outside ASCII"
            )
        if name.lower() in _OURS:
            raise ModelError(f"--extra-header {name}: this header is written by the HTTP client; leave it out")
        if name.lower() in {known.lower() for known in found}:
            raise ModelError(f"--extra-header {name}: given twice")
        found[name] = value
    return found


def check_extra_body(extra: JsonObject, payload: JsonObject) -> None:
    """Raises ModelError where an extra body would override what a run sends: a part of ``payload``, or of its plan."""
    for name in extra:
        if name in _CUTS:
            raise ModelError(f"--extra-body {name}: prompts are never cut to fit; leave it out")
        if name in _FLAGS:
            flag = _FLAGS[name]
            cure = f"use {flag}" if flag else "leave it out"
            raise ModelError(f"--extra-body {name}: a setting of the run; {cure}")
        if name in payload:
            _check_inside(name, extra[name], payload[name])


def _check_inside(path: str, extra: object, sent: object) -> None:
    """Objects may hold different keys, and nothing else may stand in both."""
    if not isinstance(extra, Mapping) or not isinstance(sent, Mapping):
        raise ModelError(f"--extra-body {path}: the run's own settings send {sent!r} there; leave one of them out")
    for name in extra:
        if name in sent:
            _check_inside(f"{path}.{name}", extra[name], sent[name])
