"""The tokens of a reply's lines: answers, numbers, words, and what stands between them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

# A group names a kind of token: v value, e left blank, o alternative, s separator, n other number, w word, g bracket,
# p end of sentence, i introduction, q equals, d dash, x other; and, found out later, c values run together.
_INNER = r"[-_'.][^\W_]"  # goes on with a word: "on-going", "1.5", "read_1"
# A letter with a bar over it or a stroke through it is another one.
_END = rf"(?![^\W_]|[\u0300-\u036f\u20d0-\u20ff]|{_INNER})"
_TOKEN = (
    r"(?P<e>(?i:n/a|unknown|unclear|undefined|none|null|unsure|blank|skip)\b|\.\.+|…|\?+|___+|,(?: ?,)+)"
    r"|(?P<o>(?i:or|nor)\b|[/|]+)|(?P<s>[,;&]|(?i:and|then)\b)|(?P<g>[\[\](){}_]+)|(?P<i>[:：→⇒]+|->|=>)|(?P<q>=+)"
    rf"|(?P<n>[-+−.]?[0-9][^\W_]*(?:{_INNER}+)*)|(?P<w>[^\W_]+(?:{_INNER}+)*)|(?P<p>[.!])|(?P<d>[-–—]+)"
    r"|(?P<x>(?P<y>\S)(?P=y)*)"
)


class Token(NamedTuple):
    """A piece of a line: its kind, its text in lower case, where it begins in the reply, and the answers in it."""

    kind: str
    text: str
    at: int
    values: tuple[int, ...]


@lru_cache(1024)
def tokenizer_of(values: tuple[str, ...], count: int, ignore_case: bool) -> Callable[[str, int], list[Token]]:
    """Return what turns a line that begins at some place of the reply into tokens.

    Args:
        values: How each symbol is written, in symbol order.
        count: How many answers the reply is to hold. With more than one, ``0110`` may be as many of them.
        ignore_case: Whether ``On`` is ``on``.
    """
    index = {value.casefold() if ignore_case else value: number for number, value in enumerate(values) if value}
    whole = [re.escape(value) + (_END if value[-1].isalnum() else "") for value in values if value]
    pattern = re.compile(rf"(?P<v>{'|'.join(whole) or '(?!)'})|{_TOKEN}", re.IGNORECASE if ignore_case else 0)

    def tokens(line: str, at: int) -> list[Token]:
        found: list[Token] = []
        for match in pattern.finditer(line):
            kind, text = match.lastgroup or "x", match[0]
            parts = [text] if kind == "v" else text if kind in "nw" and 1 < count == len(text) else []
            known = tuple(index.get(part.casefold() if ignore_case else part, -1) for part in parts)
            kind = kind.replace("v", "w") if -1 in known or not known else "v" if kind == "v" else "c"
            kind = "x" if text == "(" and found and found[-1].kind in "vc" else kind  # a remark, and no longer a list
            found.append(Token(kind, text.lower(), at + match.start(), known))
        return found

    return tokens
