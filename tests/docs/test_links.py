"""No link of a page leads nowhere, every page is in the site, and the site has every page that it names."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.pages import DOCS

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "suites/README.md", "suites/studies/README.md")),
    ROOT / "results" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
_CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]*`", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_REPLACED = re.compile(r"[^\w\- ]")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    plain = [re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {_REPLACED.sub("", heading.lower()).strip().replace(" ", "-") for heading in plain}


def dead_links(page: Path) -> list[str]:
    """The links of a page to files or headings that are not there."""
    dead = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    assert not dead_links(page)


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n[a](gone.md) [b](#title) [c](#titel) `[d](gone.md)` [e](https://example.org)\n")
    assert dead_links(page) == ["gone.md", "#titel"]


def test_the_site_names_every_page_once() -> None:
    named = re.findall(r"[\w/-]+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.M)
    assert sorted(named) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))
    assert len(named) >= 20


def test_pages_of_the_site_link_to_nothing_outside_of_it() -> None:
    for page in DOCS.rglob("*.md"):
        for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
            if not re.match(r"[a-z]+:|#", link):
                assert DOCS in (page.parent / link).resolve().parents, f"{page}: {link}"


def test_every_backend_has_a_page() -> None:
    from ffprompt.backends.entry_points import BACKENDS

    assert not [name for name in BACKENDS if not (DOCS / "backends" / f"{name}.md").exists()]


def test_the_quickstart_names_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (DOCS / "quickstart.md").read_text(encoding="utf-8")
    assert not [name for name in extras if name != "dev" and f"`{name}`" not in text]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= 8 * 1024
