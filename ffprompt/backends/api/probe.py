"""What a server is, found out before a run begins: whether an API is there, and whether it is ready."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

from ffprompt.backends.api.transport import http_library
from ffprompt.errors import ModelError

# Seconds for which a server that is loading its model is waited for, and the waits between two looks.
_LONGEST_WAIT, _FIRST_PAUSE, _LONGEST_PAUSE = 600.0, 1.0, 15.0


def speaks(response: Any) -> bool:
    """Whether a response with a good status is JSON, as an API's are, and no web page."""
    try:
        json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return True


def refusal(response: Any) -> str:
    """Return the error that a response with a good status holds. Some servers have no other for a wrong path."""
    body = json.loads(response.content)
    error = body.get("error") if isinstance(body, dict) else None
    return str(error.get("message") or error) if isinstance(error, dict) else str(error or "")


def other_url(sdk: Any, client: Any, base_url: str) -> str:
    """``; did you mean …/v1?`` where the API is found there. Empty otherwise."""
    if re.search(r"/v\d+(beta)?/?$", base_url):
        return ""
    there = base_url.rstrip("/") + "/v1"
    try:
        response = client.get(f"{there}/models", cast_to=http_library(sdk).Response)
    except sdk.APIError:
        return ""
    return f"; did you mean {there}?" if speaks(response) and not refusal(response) else ""


def web_page(name: str, response: Any, hint: str) -> ModelError:
    """The error for an address where people, and no programs, are answered."""
    kind = response.headers.get("content-type", "no content type")
    return ModelError(f"{name}: a web page and no API is at this base URL ({kind}){hint}")


def wait_until_ready(name: str, loading: Callable[[], str], pause: Callable[[float], None]) -> None:
    """Wait while ``loading`` says that a server is not ready, and why.

    Raises:
        ModelError: when that takes too long.
    """
    waited, step = 0.0, _FIRST_PAUSE
    while why := loading():
        if not waited:
            sys.stderr.write(f"{name}: {why}; waiting up to {_LONGEST_WAIT:.0f} s until it is ready\n")
        if waited >= _LONGEST_WAIT:
            raise ModelError(f"{name}: not ready after {waited:.0f} s: {why}")
        pause(step)
        waited, step = waited + step, min(step * 1.5, _LONGEST_PAUSE)
