"""Short names of conditions, which say only what differs between the rows of one table, figure or legend.

A whole name such as ``light-switch/1-shot-of-16/forced/completion/FFL(50, 0.6)`` repeats in every row what all rows
share. Beside each other, rows of 0 and 1 shots at several lengths are ``0-shot, T=50`` and ``1-shot, T=50``, and
``light-switch, forced, p=0.6`` is said once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from ffprompt.scoring.condition_result import ConditionResult

Rows = Sequence[tuple[str, ConditionResult]]  # the model of each row, and its condition

_LANGUAGE = re.compile(r"(?P<task>[^(]*)\((?P<length>\d+)(?:, (?P<rest>.*))?\)")


@dataclass(frozen=True)
class Names:
    """What to call the rows of a table.

    Attributes:
        rows: The name of each row. Rows of one model have different names.
        shared: What the names leave out, in words: ``light-switch, 0-shot, forced``. Where models differ in it, each
            part says whose it is.
    """

    rows: tuple[str, ...]
    shared: str


def parts(condition: ConditionResult) -> dict[str, str]:
    """Return what tells a condition from others, by kind: template, shots, elicitation, form, answers, task, T and p.

    >>> from ffprompt.scoring.condition_result import ConditionResult
    >>> from ffprompt.scoring.aggregate import Tally
    >>> from dataclasses import replace
    >>> row = replace(Tally().result(), template="game", shots=1, elicitation="list", language="FFL(20, 0.6)")
    >>> [text for text in parts(row).values() if text]
    ['game', '1-shot', 'list', 'FFL', 'T=20', 'p=0.6']
    """
    found = _LANGUAGE.fullmatch(condition.language)
    turns = f" by {condition.turn_instructions}" if condition.turn_instructions else ""
    rest = (found["rest"] or "") if found else ""
    return {
        "template": condition.template,
        "shots": f"{condition.shots}-shot",
        "elicitation": f"{condition.elicitation}{turns}",
        "form": condition.form,
        "answers": "schema" if condition.answers == "schema" else "",
        "task": found["task"] if found else condition.language,
        "T": f"T={found['length']}" if found else "",
        "p": f"p={rest.replace(', ', '/')}" if rest else "",
    }


def length(condition: ConditionResult) -> int | None:
    """Return T, the length of a condition's strings, or None where its language does not say it."""
    found = _LANGUAGE.fullmatch(condition.language)
    return int(found["length"]) if found else None


def name_rows(rows: Rows) -> Names:
    """Name the rows of a table by what differs among the rows of a model.

    What differs only from model to model is left to ``shared``. A row that has no other of its model is named by its
    language.
    """
    every = [parts(condition) for _, condition in rows]
    models = list(dict.fromkeys(model for model, _ in rows))
    values = {
        model: {kind: {made[kind] for made, (owner, _) in zip(every, rows, strict=True) if owner == model}
                for kind in (every[0] if every else ())}
        for model in models
    }  # fmt: skip
    kinds = [kind for kind in (every[0] if every else ()) if any(len(values[model][kind]) > 1 for model in models)]
    for follower, leader in (("form", "elicitation"), ("answers", "elicitation")):
        if follower in kinds and len({(made[leader], made[follower]) for made in every}) == len(
            {made[leader] for made in every}
        ):
            kinds.remove(follower)  # the way of asking already says it
    by_language = not kinds
    names = tuple(
        condition.language if by_language else ", ".join(made[kind] for kind in kinds if made[kind])
        for made, (_, condition) in zip(every, rows, strict=True)
    )
    left = [
        kind
        for kind in (every[0] if every else ())
        if kind not in kinds and kind != "form" and not (by_language and kind in ("task", "T", "p"))
    ]
    everywhere = [kind for kind in left if len({made[kind] for made in every}) == 1]
    apart = [kind for kind in left if kind not in everywhere]
    said = [", ".join(text for kind in everywhere if (text := every[0][kind]))] if every else []
    own = [(", ".join(text for kind in apart for text in values[model][kind] if text), model) for model in models]
    for text, owners in groupby(sorted(own, key=lambda one: [o[0] for o in own].index(one[0])), key=lambda one: one[0]):
        if text:
            said.append(f"{text} ({', '.join(model for _, model in owners)})")
    return Names(names, "; ".join(text for text in said if text))


def without_shared(names: Sequence[str], separator: str = "/") -> tuple[list[str], str]:
    """Return whole names without the parts that all of them have, and these parts.

    Args:
        names: Names whose parts stand in the same order.
        separator: What stands between two parts. The same text within parentheses separates nothing.

    >>> without_shared(["game, 0-shot, FFL(10, 0.6)", "game, 1-shot, FFL(10, 0.6)"], ", ")
    (['0-shot', '1-shot'], 'game, FFL, T=10, p=0.6')
    >>> without_shared(["game/0-shot/list/chat/FFL(10, 0.6)"])
    (['game/0-shot/list/chat/FFL(10, 0.6)'], '')
    """
    every = [_split(name, separator) for name in names]
    if len(set(names)) < 2 or len({len(one) for one in every}) > 1:
        return list(names), ""
    columns = list(zip(*every, strict=True))
    apart = [n for n, column in enumerate(columns) if len(set(column)) > 1]
    shared = ", ".join(column[0] for n, column in enumerate(columns) if n not in apart)
    return [", ".join(one[n] for n in apart) for one in every], shared


def _split(name: str, separator: str) -> list[str]:
    """The parts of a whole name, with a language as its task, T and p."""
    *others, last = re.split(rf"{re.escape(separator)}(?![^(]*\))", name)
    found = _LANGUAGE.fullmatch(last)
    if found is None:
        return [*others, last]
    rest = [f"p={found['rest'].replace(', ', '/')}"] if found["rest"] else []
    return [*others, found["task"], f"T={found['length']}", *rest]
