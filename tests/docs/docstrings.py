"""Docstrings as the site shows them: examples as code, and references of Sphinx as plain names."""

from __future__ import annotations

import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?!\s*$).*)*", re.M)
_REFERENCE = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")


class Docstrings(griffe.Extension):
    """Fences examples that stand outside of an ``Examples`` section."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object before it is parsed."""
        if obj.docstring is not None:
            obj.docstring.value = shown(obj.docstring.value)


def shown(text: str) -> str:
    """Return a docstring as Markdown.

    >>> print(shown("Add.\\n\\n>>> 1 + 1  # doctest: +SKIP\\n2"))
    Add.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    text = re.sub(r" *# doctest:.*$", "", text, flags=re.M)
    text = _EXAMPLE.sub(lambda match: f"{match[1]}```pycon\n{match[0]}\n{match[1]}```", text)
    return _REFERENCE.sub(r"`\1`", text)
