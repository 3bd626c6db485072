"""The keywords of ``evaluate``, made from the table of settings: for type checkers a file, for ``help`` a signature.

After a change to the table::

    python -m ffprompt.interface.signature > ffprompt/interface/keywords.py
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from ffprompt.config.setting import Setting
from ffprompt.config.settings import ROWS

_HEAD = '''\
"""The settings of a run as keywords of ``evaluate``.

Made by: python -m ffprompt.interface.signature > ffprompt/interface/keywords.py
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Every setting of a run but the model, by its name. One that is left out has its default."""
'''


def keyword_rows() -> tuple[Setting, ...]:
    """Return the settings that are keywords: all but the model, which comes first by itself."""
    return tuple(row for row in ROWS if row.name != "model")


def page() -> str:
    """Return the text of ``keywords.py``."""
    parts = [_HEAD]
    for row in keyword_rows():
        text = f"{in_python(row.help_text)}."
        lines = textwrap.wrap(text, 113)
        body = f'"""{text}"""' if len(lines) == 1 else '"""' + "\n    ".join(lines) + '\n    """'
        parts.append(f"\n    {row.name}: {annotation(row)}\n    {body}\n")
    return "".join(parts)


def annotation(row: Setting) -> str:
    """Return the type of a setting's value as source text.

    A setting that makes a run a product takes one value or several.
    """
    members = get_args(row.type) if get_origin(row.type) in (Union, UnionType) else (row.type,)
    return " | ".join(dict.fromkeys(name for member in members for name in _names(member, row)))


def _names(kind: Any, row: Setting) -> list[str]:
    if kind is NoneType:
        return ["None"]
    if get_origin(kind) is Literal:
        return [f"Literal[{', '.join(_quoted(value) for value in get_args(kind))}]"]
    if get_origin(kind) is tuple:
        inside = get_args(kind)
        if inside[-1] is not ...:
            return [f"tuple[{', '.join(one.__name__ for one in inside)}]"]
        name = inside[0].__name__
        return [name, f"Sequence[{name}]"] if row.product else [f"Sequence[{name}]"]
    if get_origin(kind) is dict:
        return ["Mapping[str, Any]"]
    return [str(kind.__name__)]


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def in_python(text: str) -> str:
    """Return a text that names settings by their flags with their names in Python.

    >>> in_python("--p-ignore 2: expected a probability")
    'p_ignore 2: expected a probability'
    """
    return re.sub("|".join(sorted((row.flag for row in ROWS), reverse=True)), _name, text)


def _name(flag: re.Match[str]) -> str:
    return flag[0].removeprefix("--").replace("-", "_")


def show_settings(function: Callable[..., Any]) -> None:
    """Let ``help`` and the completion of notebooks list every setting among the keywords of a function."""
    own = inspect.signature(function).parameters.values()
    fixed = [one for one in own if one.kind is not inspect.Parameter.VAR_KEYWORD]
    settings = [
        inspect.Parameter(
            row.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if row.default is ... else row.default,
            annotation=annotation(row),
        )
        for row in keyword_rows()
    ]
    function.__signature__ = inspect.Signature([*fixed, *settings])  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.stdout.write(page())
