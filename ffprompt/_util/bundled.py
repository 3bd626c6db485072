"""Find the folders that ship with the package: templates, suites and pages of the documentation."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def bundled_folder(name: str) -> Path:
    """Return the bundled folder ``prompts``, ``suites`` or ``docs``.

    It is inside an installed package, or beside the package in a checkout.
    """
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name
