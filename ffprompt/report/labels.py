"""Short names: of several things, each is called by what tells it from the others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

_LANGUAGE = re.compile(r"(?P<task>[^(]*)\((?P<length>\d+)(?:, (?P<rest>.*))?\)")
_FORMS = {"completion", "chat"}
# A comma that stands in no parentheses: "game, FFL(20, 0.6)" has one.
_COMMA = re.compile(r",\s+(?![^()]*\))")


def apart(parts: Sequence[Sequence[str]]) -> tuple[list[str], str]:
    """Return a name for each of several things, made of the parts in which they differ, and the parts they share.

    Empty parts are left out, and the form of a prompt where the way of asking before it implies it. No two names are
    the same: where all parts agree, the later ones are counted.

    >>> apart([("lstm", "1-shot", "T=64"), ("lstm", "1-shot", "T=128")])
    (['T=64', 'T=128'], 'lstm, 1-shot')
    >>> apart([("lstm", "1-shot")])
    (['lstm, 1-shot'], 'lstm, 1-shot')
    """
    if not parts:
        return [], ""
    same = [len(set(column)) == 1 for column in zip(*parts, strict=True)]
    shared = ", ".join(part for part, alike in zip(parts[0], same, strict=True) if alike and part)
    if all(same):
        return _counted([shared] * len(parts)), shared
    columns = list(zip(*parts, strict=True))
    kept = [not alike and not _implied(columns, n) for n, alike in enumerate(same)]
    differing = [[part for part, stays in zip(one, kept, strict=True) if part and stays] for one in parts]
    return _counted([", ".join(one) or "–" for one in differing]), shared


def parts_of(name: str) -> list[str]:
    """Split a name at its commas, and the language at its end into its task, its length and its probabilities.

    >>> parts_of("game, 0-shot, FFL(20, 0.6)")
    ['game', '0-shot', 'FFL', 'T=20', 'p=0.6']
    """
    *parts, last = _COMMA.split(name)
    language = _LANGUAGE.fullmatch(last)
    if language is None:
        return [*parts, last]
    rest = (language["rest"] or "").replace(", ", "/")
    return [*parts, language["task"], f"T={language['length']}", f"p={rest}" if rest else ""]


def _implied(columns: Sequence[Sequence[str]], n: int) -> bool:
    """Whether a column holds forms of prompts, and the way of asking before it already says which."""
    if n == 0 or not set(columns[n]) <= _FORMS:
        return False
    return len(set(zip(columns[n - 1], columns[n], strict=True))) == len(set(columns[n - 1])) > 1


def _counted(names: Sequence[str]) -> list[str]:
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return found
