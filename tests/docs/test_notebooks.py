"""The notebooks of the tutorials run from the first cell to the last, as a reader would run them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import tutorials

pytestmark = pytest.mark.notebooks


@pytest.mark.parametrize("page", tutorials.PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs(page: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    notebook.cells = [cell for cell in notebook.cells if "pip install" not in cell.source]
    client.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [text for text in said if "ffprompt: error" in text or "internal error" in text]
