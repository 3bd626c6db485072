"""A template with other answer words: ``light-switch=down/up`` is the light switch whose light goes down and up.

The strings stay the same, so what changes between two such templates is the words alone: how frequent they are, how
many tokens they take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ffprompt._util.formatting import counted
from ffprompt.errors import TemplateError
from ffprompt.templates.schema import Template

SIGN, BETWEEN = "=", "/"
# Texts of the file that say nothing to a model.
_OWN = ("name", "version", "summary", "task", "values")


def split(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the template that is meant and its answer words, none where it keeps its own.

    >>> split("light-switch=down/up")
    ('light-switch', ('down', 'up'))
    >>> split("light-switch")
    ('light-switch', ())
    """
    base, sign, words = name.rpartition(SIGN)
    return (base, tuple(words.split(BETWEEN))) if sign and not words.endswith(".toml") else (name, ())


def with_words(template: Template, words: Sequence[str]) -> Template:
    """Return a template whose answers are written as ``words``, under a name of its own.

    Where a text of the template shows an answer between quotes, the new word takes its place.

    Raises:
        TemplateError: The template gives no list of words, has another number of them, or names one without quotes, as
            that text would then be about words which are no answers.
    """
    called = f"template {template.name!r} with {SIGN}{BETWEEN.join(words)}"
    if template.values == "numbers" or isinstance(template.values, str):
        count, old = 2, ["0", "1"]
        if template.values != "numbers" or len(words) != count:
            raise TemplateError(f"{called}: its answers are made of {template.values!r}; expected a list of words")
    else:
        old = list(template.values)
    if len(words) != len(old):
        raise TemplateError(
            f"{called}: {counted(len(words), 'word')}; expected {len(old)}, one for each of {', '.join(old)}"
        )
    content = _changed(template.content(), dict(zip(old, words, strict=True)))
    for key, text in _texts(content):
        for word in old:
            if word not in words and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text):
                raise TemplateError(
                    f"{called}: {key} says {word!r} in a text that would stay as it is; copy the file and change it"
                )
    name = "-".join([template.name, *(_slug(word) for word in words)])
    return Template.model_validate({**content, "name": name, "values": list(words)})


def _changed(content: dict[str, object], words: dict[str, str]) -> dict[str, object]:
    """The content of a template with each answer that stands between quotes replaced."""
    quoted = re.compile("([\"'])(" + "|".join(map(re.escape, words)) + r")\1")

    def changed(value: object) -> object:
        if isinstance(value, str):
            return quoted.sub(lambda found: found[1] + words[found[2]] + found[1], value)
        if isinstance(value, list):
            return [changed(one) for one in value]
        return {key: changed(one) for key, one in value.items()} if isinstance(value, dict) else value

    return {key: value if key in _OWN else changed(value) for key, value in content.items()}


def _texts(content: dict[str, object], key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a template that a model may see, with its key."""
    for name, value in content.items():
        if not key and name in _OWN:
            continue
        path = f"{key}.{name}" if key else name
        if isinstance(value, dict):
            yield from _texts(value, path)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield path, re.sub(r"\{\{.*?\}\}|\{%.*?%\}", " ", text)


def _slug(word: str) -> str:
    """A word as it may stand in a name."""
    plain = re.sub(r"[^a-z0-9]", "", word.lower())
    return plain or "-".join(f"u{ord(letter):x}" for letter in word)
