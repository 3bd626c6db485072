"""When a provider shuts a model down, as its list of models says."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from ffprompt.backends.api.payloads import JsonObject

# Where a list of models has the date: OpenAI, Anthropic, OpenRouter, Mistral, LiteLLM, Fireworks.
_DATES = ("shutdown_date", "retires_at", "expiration_date", "deprecation", "deprecation_date", "deprecationDate")
_MOST_SHOWN = 80  # characters of a model's name


def shutdown(entry: JsonObject, today: dt.date | None = None) -> str | None:
    """Return one line on the end of a model from its entry in ``/v1/models``. None where no end is announced.

    A date that cannot be read is taken for none. ``today`` is the day from which a date counts as past.

    >>> shutdown({"id": "o3", "shutdown_date": "2026-12-11"}, dt.date(2026, 11, 26))
    'o3: its provider shuts it down on 2026-12-11'
    """
    name = _printable(entry.get("id")) or "this model"
    if entry.get("lifecycle") == "retired":
        return f"{name}: its provider has shut it down"
    day = next((day for key in _DATES if (day := _day(entry.get(key))) is not None), None)
    if day is None:
        deprecated = "deprecated" in (entry.get("lifecycle"), entry.get("lifecycle_status"))
        return f"{name}: its provider will shut it down and gives no date yet" if deprecated else None
    if day > (today or dt.datetime.now(dt.UTC).date()):
        return f"{name}: its provider shuts it down on {day}"
    return f"{name}: its provider was to shut it down on {day}"  # that it is listed may mean that it goes on


def announced(response: Any, model: str) -> str | None:
    """Return the same from the HTTP response to a question for one model, or for all of them."""
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return None
    listed = body.get("data") if isinstance(body, dict) else None
    entries = listed if isinstance(listed, list) else [body]
    mine = [entry for entry in entries if isinstance(entry, dict) and entry.get("id") == model]
    return shutdown(mine[0]) if mine else None


def _day(value: object) -> dt.date | None:
    """The day that a date or a time means in UTC: ISO 8601, seconds since 1970, or one of these by its use."""
    if isinstance(value, Mapping):
        if "inference" in value:  # Azure has another one for fine-tuning
            return _day(value["inference"])
        value = "-".join(f"{value.get(part)!s:0>2}" for part in ("year", "month", "day"))
    try:
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value.strip())
        if isinstance(value, dt.datetime):
            return (value.astimezone(dt.UTC) if value.tzinfo else value).date()
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            return dt.datetime.fromtimestamp(value, dt.UTC).date()
    except (ValueError, OverflowError, OSError):
        pass
    return None


def _printable(value: object) -> str:
    """Text from outside, as it fits into a line."""
    text = value if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()[:_MOST_SHOWN]
