"""Which packages of an extra are missing, and the command that installs them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ffprompt.errors import ModelError

_PACKAGE = Path(__file__).parents[1]
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*(?:>=\s*([\d.]+))?")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([^\"']+)[\"']")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that an extra brings, and the lowest version that will do."""

    name: str
    least: str | None = None

    @property
    def installed(self) -> str | None:
        """Its version here; None where it is not installed."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            # A package may have been put on the path without its metadata.
            there = importlib.util.find_spec(self.name.replace("-", "_").lower()) is not None
            return "of an unknown version" if there else None

    @property
    def problem(self) -> str | None:
        """What is wrong with it, in a few words; None where it will do."""
        if (version := self.installed) is None:
            return self.name
        if self.least is not None and _numbers(version) and _numbers(version) < _numbers(self.least):
            return f"{self.name} {self.least} or later ({version} is installed)"
        return None


def clone() -> Path | None:
    """Return the folder of the checkout that this package is run from; None where it was installed."""
    folder = _PACKAGE.parent
    return folder if (folder / "pyproject.toml").is_file() and (folder / "run_eval.py").is_file() else None


@cache
def extras() -> dict[str, tuple[Requirement, ...]]:
    """Return the extras of this package with what each brings."""
    if (folder := clone()) is not None:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        given = {name: tuple(texts) for name, texts in project["optional-dependencies"].items()}
    else:
        given = {}
        for text in importlib.metadata.requires("ffprompt") or ():
            if found := _EXTRA.search(text):
                given[found[1]] = (*given.get(found[1], ()), text)
    return {name: tuple(map(_requirement, texts)) for name, texts in given.items()}


def missing(extra: str) -> list[str]:
    """Return the packages of an extra that are not installed or too old, each in a few words."""
    return [problem for one in extras().get(extra, ()) if (problem := one.problem) is not None]


def install_command(extra: str) -> str:
    """Return the command that installs an extra: into the checkout, or beside the installed package.

    >>> install_command("vllm")  # doctest: +SKIP
    'pip install -e ".[vllm]"'
    """
    folder = clone()
    if folder is None:
        return f'pip install "ffprompt[{extra}]"'
    return f'pip install -e "{"." if folder == Path.cwd() else folder}[{extra}]"'


def needs(what: str, extra: str, error: ImportError | None = None) -> ModelError:
    """Return the error for a library that is missing or that does not import.

    >>> str(needs("a sweep on Ray", "ray"))  # doctest: +SKIP
    'a sweep on Ray needs ray, which is not installed; run: pip install "ffprompt[ray]"'
    """
    if names := missing(extra):
        is_not = "which is not installed" if len(names) == 1 else "which are not installed"
        is_not = "" if any("is installed" in name for name in names) else f", {is_not}"
        return ModelError(f"{what} needs {listed(names)}{is_not}; run: {install_command(extra)}")
    if error is not None and error.name is not None and importlib.util.find_spec(error.name.split(".")[0]) is None:
        return ModelError(f"{what} needs {error.name}, which is not installed; run: {install_command(extra)}")
    why = " ".join(str(error).split()) if error is not None else "unknown"
    return ModelError(f"{what}: a library does not import ({why}); install it anew with: {install_command(extra)}")


def listed(names: list[str]) -> str:
    """Return names as a list in words.

    >>> listed(["torch", "transformers", "gguf"])
    'torch, transformers and gguf'
    """
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _requirement(text: str) -> Requirement:
    found = _REQUIREMENT.match(text)
    assert found is not None, text
    return Requirement(found[1], found[2])


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
