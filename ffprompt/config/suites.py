"""Suites: TOML files that name several runs."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt.config.run_config import RunConfig, make
from ffprompt.config.settings import BY_NAME
from ffprompt.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True)
class Suite:
    """Several runs under one name.

    Attributes:
        name: What the suite is called.
        summary: What it measures, in a sentence.
        runs: Each run, and whether it is optional: left out, with a message, where its weights are not installed.
        gate: The margin and the level of ``run --gate``, where the suite gives them.
    """

    name: str
    summary: str
    runs: Sequence[tuple[RunConfig, bool]]
    gate: Mapping[str, float] = field(default_factory=dict)


def suite_folder() -> Path:
    """Return the folder of the bundled suites."""
    return bundled_folder("suites")


def load_suite(name: str, overrides: Mapping[str, Any]) -> Suite:
    """Return a bundled suite by its name, or any suite by the path of its file.

    Args:
        name: The name, or a path that ends in ``.toml``.
        overrides: Settings that replace those of every run. A suite may leave the backend and the model to them.

    Raises:
        ConfigError: There is no such suite, or something in it is wrong. Its text is one line.
    """
    path = Path(name) if name.endswith(".toml") else suite_folder() / f"{name}.toml"
    if not path.is_file():
        known = [p.stem for p in suite_folder().glob("*.toml")]
        raise ConfigError(f"suite {name!r}: no such file or bundled suite{did_you_mean(name, known)}")
    try:
        content = tomllib.loads(read_text(path))
    except (ValueError, OSError) as error:
        raise ConfigError(f"suite {path}: {error}") from error
    _check_keys(f"suite {path}: ", content, ("name", "summary", "run", "gate"))
    tables = content.get("run")
    if not isinstance(tables, list) or not tables:
        raise ConfigError(f"suite {path}: expected at least one [[run]] table")
    runs = [_run(f"suite {path}, run {number}: ", table, overrides) for number, table in enumerate(tables, start=1)]
    titles = {key: content.get(key, default) for key, default in (("name", path.stem), ("summary", ""))}
    for key, title in titles.items():
        if not isinstance(title, str):
            raise ConfigError(f"suite {path}: {key} {title!r}: expected a text")
    return Suite(titles["name"], titles["summary"], runs, _gate(f"suite {path}: ", content.get("gate", {})))


def _run(where: str, table: Any, overrides: Mapping[str, Any]) -> tuple[RunConfig, bool]:
    """One ``[[run]]`` table, and whether it is optional."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}{table!r}: expected a [[run]] table")
    settings = dict(table)
    optional = settings.pop("optional", False)
    if not isinstance(optional, bool):
        raise ConfigError(f"{where}optional {optional!r}: expected true or false")
    settings |= overrides
    missing = [key for key in ("model", "backend") if key not in settings]
    if missing and settings.keys() <= BY_NAME.keys():  # otherwise a misspelt key is what to report
        flags = " ".join(f"--{key} NAME" for key in missing)
        raise ConfigError(f"{where}{' and '.join(missing)} not given; add {flags}")
    return make(settings, where), optional


def _gate(where: str, table: Any) -> dict[str, float]:
    """The ``[gate]`` table of a suite."""
    if not isinstance(table, dict):
        raise ConfigError(f"{where}gate {table!r}: expected a [gate] table")
    _check_keys(f"{where}gate.", table, ("margin", "level"))
    for key, value in table.items():
        if not isinstance(value, float) or not 0 < value < 1:
            raise ConfigError(f"{where}gate.{key} {value!r}: expected a number between 0 and 1")
    return dict(table)


def _check_keys(where: str, keys: Iterable[str], known: Sequence[str]) -> None:
    for key in keys:
        if key not in known:
            raise ConfigError(f"{where}{key}: unknown key{did_you_mean(key, known)}")
