"""Write the documentation anew: generated pages, what commands print, and the notebooks of the tutorials.

python -m tests.docs                            everything, which takes some minutes
python -m tests.docs docs/guides/compare.md     one page or more
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import ROOT
from tests.docs import tutorials
from tests.docs.pages import pages, renewed
from tests.docs.reference import GENERATED


def main(given: list[str]) -> None:
    """Write the pages that are given, or all."""
    chosen = [Path(name).resolve() for name in given]
    for page, make in GENERATED.items():
        if not chosen or page in chosen:
            _write(page, make())
    for page in pages():
        if not chosen or page in chosen:
            began = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                text, pictures = renewed(page, Path(folder))
            _write(page, text)
            for name, content in pictures.items():
                (page.parent / name).write_bytes(content)
            _say(f"{page.relative_to(ROOT)}: {time.monotonic() - began:.0f} s")
    for page in tutorials.PAGES:
        if not chosen or page in chosen:
            _write(page.with_suffix(".ipynb"), tutorials.notebook_of(page))


def _write(page: Path, text: str) -> None:
    if not page.exists() or page.read_text(encoding="utf-8") != text:
        page.write_text(text, encoding="utf-8")
        _say(f"{page.relative_to(ROOT)}: written")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
