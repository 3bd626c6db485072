"""Text out of files that people wrote, and text from outside, which may be anything, on its way into files.

A string of Python can hold what UTF-8 cannot (half of an emoji, as some servers send it) and what XML and terminals
cannot (control characters). JSON keeps all of it, escaped. Everything else shows it as an escape.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

_POINTER = b"version https://git-lfs.github.com/spec/"

# Halves of surrogate pairs, which UTF-8 has no bytes for, and what some tools take for the end of a line.
_ESCAPED = re.compile("[\ud800-\udfff\x7f-\x9f\u2028\u2029]")
# What XML 1.0 does not allow, and what moves the cursor of a terminal.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def read_text(path: Path) -> str:
    """The text of a file that a person has written: UTF-8, with or without a byte order mark, any ends of lines.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else, with what that is and the cure.
    """
    content = path.read_bytes()
    refuse_other_text(content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8; save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def refuse_other_text(content: bytes) -> None:
    """Raise ValueError for the beginning of a file in another encoding than UTF-8, or of one that Git LFS has."""
    refuse_pointer(content)
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise ValueError("it is UTF-32; save it as UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content:
        raise ValueError("it is UTF-16, or no text at all; save it as UTF-8")


def refuse_pointer(content: bytes) -> None:
    """Raise ValueError for the beginning of what Git leaves in place of a file that Git LFS has."""
    if content.startswith(_POINTER):
        raise ValueError("a Git LFS pointer stands in its place; get the file itself with: git lfs pull")


def json_bytes(value: object, indent: int | None = None) -> bytes:
    r"""JSON as UTF-8, on one line unless ``indent`` is given, whatever text is in it.

    Every string reads back equal. Two halves of a pair that follow each other read back as their character.

    >>> json_bytes({"reply": "caf\u00e9 \ud83d"}).decode()
    '{"reply": "café \\ud83d"}'

    Raises:
        ValueError: a number is not finite.
        TypeError: a value is not plain.
    """
    text = _ON_ONE_LINE.encode(value) if indent is None else _encoder(indent).encode(value)
    if not text.isascii() or "\x7f" in text:  # few lines of a log, where looking at each character takes time
        text = _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode()


def _encoder(indent: int | None = None) -> json.JSONEncoder:
    return json.JSONEncoder(indent=indent, ensure_ascii=False, allow_nan=False)


_ON_ONE_LINE = _encoder()


def well_formed(text: str) -> str:
    """A text that can be sent: halves of surrogate pairs are replaced by U+FFFD, and whole pairs joined."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def shortened(text: str, most: int = 2000) -> str:
    """A text of a few lines at most, for what may be of any length."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def printable(value: T) -> T:
    r"""A value with every string in it, at any depth and in dataclasses too, as UTF-8, XML and terminals can hold it.

    >>> printable(["half \ud83d", {"bell": "\x07"}])
    ['half \\ud83d', {'bell': '\\x07'}]
    """
    return cast("T", _printable(value))


def _printable(value: Any) -> Any:
    if value is None or type(value) in (int, float):  # most values by far
        return value
    if isinstance(value, str):
        return _UNPRINTABLE.sub(_escape, value)
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _printable(getattr(value, one.name)) for one in fields(value)})
    return type(value)(map(_printable, value)) if type(value) in (list, tuple) else value


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
