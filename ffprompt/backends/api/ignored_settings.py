"""Settings that a server ignores without an error, found out from its replies.

Servers drop settings that they do not know. A run that asked for a schema, or for no thinking, and got neither would
carry a wrong label, so the first reply that shows this ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ffprompt.backends.base import Reply, Request
from ffprompt.backends.json_schema import conforms
from ffprompt.backends.reasoning_marks import strip_marks, strip_reasoning

_SHOWN = 60  # characters of a reply that are quoted
# Characters of an empty block with its marks, which is how some templates say that there was no reasoning.
_EMPTY_BLOCK = 64


@dataclass(slots=True)
class IgnoredSettings:
    """Looks for replies that ignore a setting: a schema, or ``no_thinking``, which asks for no reasoning.

    ``tags`` are a user's own marks around reasoning. ``kept`` counts replies that followed their schema.
    """

    no_thinking: bool = False
    tags: tuple[str, ...] = ()
    kept: int = 0

    def shown_by(self, request: Request, reply: Reply, reasoning_tokens: int | None) -> str | None:
        """Return which setting a reply shows to be ignored, with the cure, or None."""
        said = strip_reasoning(reply.text, self.tags)
        if self.no_thinking and (why := self._thought(reply, said, reasoning_tokens)):
            return f"--thinking off is not honoured: {why}; give the server's own switch with --extra-body"
        if request.schema is None or reply.stop != "stop" or not reply.text.strip() or said is None:
            return None
        if conforms(strip_marks(said), request.schema):
            self.kept += 1
        elif not self.kept:
            return (
                f"the server ignores --answers schema: a reply is {_quoted(reply.text)}; leave it out, or use a server "
                "with structured outputs"
            )
        return None

    def _thought(self, reply: Reply, said: str | None, reasoning_tokens: int | None) -> str:
        if reasoning_tokens:
            return f"a reply took {reasoning_tokens:,} tokens of reasoning"
        if reply.reasoning and reply.reasoning.strip():
            return f"a reply came with reasoning ({_quoted(reply.reasoning)})"
        if said is None:
            return f"a reply holds reasoning that never ends ({_quoted(reply.text)})"
        thoughts = len("".join(reply.text.split())) - len("".join(said.split()))
        return f"a reply holds reasoning ({_quoted(reply.text)})" if thoughts > _EMPTY_BLOCK else ""


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[:_SHOWN] + "…")
