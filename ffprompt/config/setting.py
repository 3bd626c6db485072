"""One row of the table of settings: what a setting is, what it may be, and what other code decides by."""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

Compare = Literal["by", "allow", "equal", "strings", "free"]
"""What ``compare`` does with a setting.

by: two runs must agree in it, unless they are compared ``--by`` it or it is given with ``--allow``.
allow: they must agree, unless it is given with ``--allow``.
equal: they must agree, otherwise there is nothing to pair.
strings: it says which strings are sampled, and strings are paired by themselves.
free: they may differ, because it changes how a model runs and not what it is asked.
"""


class Setting(NamedTuple):
    """One row of the table.

    Attributes:
        default: Its value where none is given. ``...`` where one is required.
        group: The heading of its flag.
        metavar: The placeholder of its value in ``--help``.
        help: What it is, in a few words. Choices and the default are added.
        unset: What None means, as the default that ``--help`` shows.
        expected: What a value must be, where type and range do not say it.
        least, most: The range of a number, ends included. For a text, of its length.
        above, below: The range of a number, ends excluded.
        product: Whether it takes several values, of which the run is the product.
        backends: Those that honour it. The others refuse it. None stands for all.
        planned: Whether it belongs to the plan: a run with another value is another run.
        identifies_model: Whether it says which model answers, or how as far as that may change an answer.
        compare: What ``compare`` does with it.
        used_with: What decides whether it plays a part in a condition, where it does not in every one. With
            ``elicitation``, it does in those elicitations that name it.
        engine: Whether vLLM's engine has an argument of the same name, which it is handed to.
        across_backends: What ``compare --by backend`` does with it: ``free`` lets it differ, ``unknown`` lets None
            agree with any value, since not every backend knows it.
        names: What it can be, where that is a registry's names.
        name, type: Filled in from its line in ``Settings``.
    """

    default: Any
    group: str
    metavar: str
    help: str
    unset: str | None = None
    expected: str | None = None
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    product: bool = False
    backends: tuple[str, ...] | None = None
    planned: bool = True
    identifies_model: bool = False
    compare: Compare = "by"
    used_with: Literal["shots", "elicitation"] | None = None
    across_backends: Literal["free", "unknown"] | None = None
    engine: bool = False
    names: Callable[[], tuple[str, ...]] | None = None
    name: str = ""
    type: Any = None

    @property
    def flag(self) -> str:
        """Its flag: ``--p-ignore``."""
        return flag(self.name)

    @property
    def types(self) -> tuple[Any, ...]:
        """The types of a value other than None. Where it takes several values, those of each."""
        return tuple(get_args(kind)[0] if get_origin(kind) is tuple else kind for kind in _members(self.type))

    @property
    def choices(self) -> tuple[str, ...]:
        """The names that it can be, none where it is not one of a few."""
        if self.names is not None:
            return self.names()
        return get_args(self.types[0]) if get_origin(self.types[0]) is Literal and len(self.types) == 1 else ()

    @property
    def arity(self) -> int | EllipsisType | None:
        """How many values it takes: a number, ``...`` for any number, or None for one that is no list."""
        tuples = [get_args(kind) for kind in _members(self.type) if get_origin(kind) is tuple]
        return None if not tuples else ... if tuples[0][-1] is ... else len(tuples[0])

    @property
    def shown_default(self) -> str | None:
        """The default as ``--help`` and the page of settings show it. None where there is nothing to say."""
        if self.default is None or self.default is ... or self.default is False:
            return self.unset
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def help_text(self) -> str:
        """What it is, its choices and its default."""
        text = f"{self.help}: {_either(self.choices)}" if self.choices else self.help
        return f"{text} (default: {self.shown_default})" if self.shown_default is not None else text

    @property
    def expectation(self) -> str:
        """What a value must be, for an error message."""
        if self.expected is not None:
            return self.expected
        if self.names is not None:
            return f"one of {', '.join(self.names())}"
        if self.arity is not None and not self.product:
            return "a list of texts"
        return _either([_kind(member) + self._range(member) for member in self.types])

    def _range(self, kind: Any) -> str:
        if kind not in (int, float):
            return ""
        if self.least is not None and self.most is not None:
            return f" from {_number(self.least)} to {_number(self.most)}"
        if self.above is not None and self.below is not None:
            return f" between {_number(self.above)} and {_number(self.below)}"
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        parts = [f"{words} {_number(bound)}" for words, bound in bounds.items() if bound is not None]
        text = " and ".join(parts)
        return f" of {text}" if text.startswith("at") else f" {text}" if text else ""


def setting(default: Any, group: str, metavar: str, help: str, **facts: Any) -> Any:  # noqa: A002
    """Return a row for a class like ``Settings``, with ``facts`` for the other fields of ``Setting``.

    It claims any type, so that its line in the class may give the type of the setting.
    """
    facts.setdefault("compare", "by" if facts.get("planned", True) else "free")
    return Setting(default, group, metavar, help, **facts)


def flag(name: str) -> str:
    """Return the flag of a setting.

    >>> flag("p_ignore")
    '--p-ignore'
    """
    return "--" + name.replace("_", "-")


def _members(kind: Any) -> tuple[Any, ...]:
    """The members of a union but None, or a type by itself."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return tuple(member for member in members if member is not type(None))


def _kind(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(kind, "an object")


def _either(names: tuple[str, ...] | list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
