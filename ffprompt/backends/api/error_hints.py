"""What is likely to help against an error, read off a server's words."""

from __future__ import annotations

import re
from typing import Literal

Api = Literal["chat", "responses", "completions"]

_NAMES: dict[Api, str] = {
    "chat": r"(v1/)?chat[/ -]completions?( api)?",
    "responses": r"(v1/responses|responses (api|endpoint))",
    "completions": r"(v1/completions|(?<!chat[/ -])completions? (api|endpoint))",
}
_ANY = "|".join(f"({name})" for name in _NAMES.values())
# "not supported in the v1/chat/completions endpoint", "does not support Chat Completions"
_REFUSED = re.compile(
    rf"(\bnot|n't|\bunsupported|\binstead of)\b( \w+){{0,2}}?( (in|with|by|through|on|via|for|the))* ({_ANY})"
)
_ADVICE = re.compile(r"\b(use|using|only|mean|try|switch|supports?|supported|requires?|available)\b")


def api_named(text: str) -> Api | None:
    """Return the one of OpenAI's APIs that an error text sends a caller to. None where it names none or several.

    >>> api_named("This model is only supported in v1/responses and not in v1/chat/completions.")
    'responses'
    >>> api_named("This is not a chat model and thus not supported in the v1/chat/completions endpoint. "
    ...           "Did you mean to use v1/completions?")
    'completions'
    >>> api_named("Invalid URL (POST /v1/responses)"), api_named("The model `nobody` does not exist")
    (None, None)
    """
    plain = " ".join(text.casefold().replace("`", "").split())
    rest = _REFUSED.sub(" ", plain)
    named: list[Api] = [api for api, name in _NAMES.items() if re.search(name, rest)] if _ADVICE.search(plain) else []
    if not named and re.search(r"not a chat model|chat template|not support chat", plain):
        return "completions"
    if not named and re.search(r"is a chat model|not support (text )?completions?\b", plain):
        return "chat"
    return named[0] if len(named) == 1 else None


def likely_cure(status: int | str, text: str, missing_key: str = "") -> str:
    """Return `` (…)`` to put behind an error: what to try. Empty where nothing is known.

    ``missing_key`` is the variable of the key that is not set, where the server was sent none.
    """
    client = isinstance(status, int) and 400 <= status < 500
    if client and (api := api_named(text)):
        return f" (use --api {api})"
    hints = ["are the model's name and the base URL right?"] if status == 404 else []
    if client and missing_key and status not in (405, 429):
        hints.append(
            f"no key is set, so that 'no-key' was sent; does the server need one? set {missing_key} or --key-file"
        )
    elif status == 401:
        hints.append("is the API key right?")
    return f" ({' '.join(hints)})" if hints else ""
