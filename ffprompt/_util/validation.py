"""Say in one line what pydantic objects to: the key, its value and what was expected."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ffprompt.errors import did_you_mean

# What was expected, by pydantic's name for the problem. The braces are numbers that pydantic gives along.
_EXPECTED = {
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "finite_number": "expected a finite number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected a text",
    "is_instance_of": "expected a text",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "sequence_str": "expected a list",
    "dict_type": "expected an object",
    "mapping_type": "expected an object",
    "dataclass_type": "expected an object",
    "model_type": "expected a table of keys",
    "greater_than": "expected more than {gt}",
    "greater_than_equal": "expected at least {ge}",
    "less_than": "expected less than {lt}",
    "less_than_equal": "expected at most {le}",
    "string_pattern_mismatch": "expected a text that matches {pattern}",
    "literal_error": "expected {expected}",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that a ValidationError objects to."""

    path: tuple[str | int, ...]
    kind: str  # in pydantic's words: "missing", "extra_forbidden", "value_error" …
    value: object
    expected: str
    cause: Exception | None  # what a validator of ours has raised

    @property
    def key(self) -> str:
        """The path as one name: ``turns[2].reads``."""
        key = ""
        for part in self.path:
            key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
        return key


def first_problem(error: ValidationError) -> Problem:
    """Return the first problem. A misspelt key comes before one that is missing because of it."""
    return _problem(min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden"))


def _problem(first: ErrorDetails) -> Problem:
    context = first.get("ctx", {})
    cause = context.get("error")
    if cause is not None:
        expected = str(cause)
    elif first["type"] in _EXPECTED:
        expected = _EXPECTED[first["type"]].format_map(context)
    else:
        message = first["msg"].removeprefix("Value error, ")
        expected = message.replace("Input should be ", "expected ", 1)
        expected = expected[:1].lower() + expected[1:]
    return Problem(
        first["loc"], first["type"], first["input"], expected, cause if isinstance(cause, Exception) else None
    )


def in_one_line(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Return the first problem in one line, such as ``turns[2].reads 'x': expected a whole number``.

    Args:
        error: What pydantic has raised.
        model: What was validated. With it, an unknown key is compared with those that there are.
    """
    return _told(first_problem(error), model)


def each_in_one_line(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return every problem, each in a line as from :func:`in_one_line`.

    Of a value that could be of several types, only the problem that lies deepest in it is told.
    """
    problems = [_problem(one) for one in error.errors(include_url=False)]
    by_path: dict[tuple[str | int, ...], str] = {}
    for problem in problems:
        path = problem.path if problem.kind == "extra_forbidden" else _walk(model, problem.path)[0]
        by_path.setdefault(path, _told(problem, model))
    return [
        text
        for path, text in by_path.items()
        if not any(other[: len(path)] == path and len(other) > len(path) for other in by_path)
    ]


def _told(problem: Problem, model: type[BaseModel] | None) -> str:
    if model is not None:
        path, keys = _walk(model, problem.path)
        if problem.kind == "extra_forbidden":
            return f"{problem.key}: unknown key{did_you_mean(str(problem.path[-1]), keys)}"
        problem = replace(problem, path=path)
    if problem.kind == "missing":
        return f"{problem.key} is missing"
    if problem.kind == "value_error" and (not problem.path or isinstance(problem.value, (Mapping, list, tuple))):
        # A check of several keys, which names the one that is wrong.
        return f"{problem.key}: {problem.expected}" if problem.path else problem.expected
    return f"{problem.key or 'content'} {problem.value!r:.80}: {problem.expected}"


def _walk(model: type[BaseModel], path: Iterable[str | int]) -> tuple[tuple[str | int, ...], list[str]]:
    """Follow a path into a model.

    Returns:
        The path without the types of unions, which pydantic adds to it, and the keys of the innermost table.

    >>> class Template(BaseModel):
    ...     values: str | list[int]
    >>> _walk(Template, ("values", "list[int]", 2))
    (('values', 2), ['values'])
    """
    known: list[str | int] = []
    keys: list[str] = []
    at: Any = model
    for part in path:
        options = list(_options(at))
        models = [one for one in options if isinstance(one, type) and issubclass(one, BaseModel)]
        keys = [key for one in models for key in one.model_fields] or keys
        lists = [one for one in options if get_origin(one) in (list, tuple)]
        tables = [one for one in options if get_origin(one) is dict]
        if fields := [one.model_fields[part] for one in models if part in one.model_fields]:
            at = fields[0].annotation
        elif any(one.model_config.get("extra") == "allow" for one in models):
            at = str
        elif isinstance(part, int) and lists:
            at = get_args(lists[0])[0]
        elif tables:
            at = get_args(tables[0])[1]
        else:
            continue
        known.append(part)
    return tuple(known), keys


def _options(annotation: Any) -> Iterable[Any]:
    """The types that a value may have: those of a union, one by one."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _options(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _options(one)
    else:
        yield annotation
