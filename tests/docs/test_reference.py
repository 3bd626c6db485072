"""Pages that are made from the code are current, and every public name is documented."""

from __future__ import annotations

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

import ffprompt
from tests.docs import tutorials
from tests.docs.pages import DOCS
from tests.docs.reference import GENERATED

API = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
DOCUMENTED = re.findall(r"^::: (\S+)$", API, re.M)


@pytest.mark.parametrize("page", list(GENERATED), ids=lambda page: page.stem)
def test_a_page_made_from_the_code_is_current(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == GENERATED[page](), "write it anew with: python -m tests.docs"


@pytest.mark.parametrize("page", tutorials.PAGES, ids=lambda page: page.stem)
def test_the_notebook_of_a_tutorial_is_its_page(page: Path) -> None:
    text = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert text == tutorials.notebook_of(page), "write it anew with: python -m tests.docs"
    assert any(cell["cell_type"] == "code" and cell["outputs"] for cell in json.loads(text)["cells"])


@pytest.mark.parametrize("name", sorted(set(ffprompt.__all__) - {"__version__"}))
def test_every_public_name_is_documented(name: str) -> None:
    thing = getattr(ffprompt, name)
    assert inspect.getdoc(thing)
    assert f"{thing.__module__}.{thing.__qualname__}" in DOCUMENTED


@pytest.mark.parametrize("path", DOCUMENTED)
def test_what_the_page_documents_is_there_and_says_what_it_is(path: str) -> None:
    try:
        thing = importlib.import_module(path)
    except ModuleNotFoundError:
        module, name = path.rsplit(".", 1)
        thing = getattr(importlib.import_module(module), name)
    assert inspect.getdoc(thing)
    if inspect.isclass(thing):
        undocumented = [
            name
            for name, member in vars(thing).items()
            if not name.startswith("_") and callable(member) and not inspect.getdoc(member)
        ]
        assert not undocumented
