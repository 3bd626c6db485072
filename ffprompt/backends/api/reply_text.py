"""The text of a reply without what a server may have put around it."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.backends.base import Request, Stop

# Characters of a prompt that stand in a reply only where all of it is repeated.
_REPEATED = 200


def trimmed(text: str, stop: Stop, request: Request) -> tuple[str, Stop]:
    """Return a reply without an echo of the prompt and what follows a stop text, and how it ended."""
    text = _without_echo(text, request)
    if stop == "refusal" or (shorter := _cut_at_stop(text, request.stop)) is None:
        return text, stop
    return shorter, "stop"


def _without_echo(text: str, request: Request) -> str:
    """Return a text without the prompt, which some servers send back with the reply.

    A prompt may hold an example with its answers, and these are not the reply's.
    """
    prompt = (request.messages[-1].text if request.messages else request.text).strip()
    if len(prompt) < _REPEATED:
        return text
    before, *rest = text.split(prompt)
    return "\n".join(rest if rest and not before.strip() else [before, *rest])


def _cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """Return a text up to the first of the stop texts, or None where it holds none.

    Some APIs have no such setting and some servers ignore it.
    """
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return text[: min(places)] if places else None
