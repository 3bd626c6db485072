"""Standard output and error that take any text, whatever their encoding is and whether they are there at all."""

from __future__ import annotations

import codecs
import io
import os
import sys

# What ffprompt itself writes beyond ASCII, for code pages without it.
_PLAIN = {
    "⟦": "[[", "⟧": "]]", "▌": "_", "–": "-", "—": "-", "…": "...", "·": "*", "×": "x", "→": "->", "†": "+",
    "“": '"', "”": '"', "‘": "'", "’": "'", "─": "-", "━": "-", "╸": "-", "╺": "-", "•": "*",
}  # fmt: skip
_ERRORS = "ffprompt"


def prepare() -> None:
    """Let the streams replace what they cannot write. A stream that is closed swallows everything."""
    codecs.register_error(_ERRORS, _replace)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(
        _PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in bad
    ), error.end
