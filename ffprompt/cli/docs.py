"""``ffprompt docs``: where the documentation is, or one page of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ffprompt._util.bundled import bundled_folder
from ffprompt._util.files import read_text
from ffprompt.cli.console import line
from ffprompt.errors import ConfigError, did_you_mean

EPILOG = """\
  ffprompt docs                      # where the pages are
  ffprompt docs guides/compare       # show one; a page's last name is enough where it is the only one
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``docs``."""
    parser.add_argument("page", metavar="PAGE", nargs="?", help="a page to show, such as concepts or guides/compare")


def execute(options: argparse.Namespace) -> int:
    """Print where the documentation is and what pages it has, or the text of one page."""
    folder = bundled_folder("docs")
    pages = {_name(path, folder): path for path in sorted(folder.rglob("*.md"))}
    if options.page is not None:
        sys.stdout.write(read_text(_find(options.page, pages)))
        return 0
    line(f"{folder}: {len(pages)} pages; show one with: ffprompt docs PAGE")
    for name, path in pages.items():
        line(f"  {name:28} {_title(path)}")
    return 0


def _name(path: Path, folder: Path) -> str:
    """The name of a page: ``guides/compare``, and ``concepts`` for ``concepts/index.md``."""
    name = path.relative_to(folder).with_suffix("").as_posix()
    return name.removesuffix("/index")


def _find(given: str, pages: dict[str, Path]) -> Path:
    wanted = given.removesuffix(".md").removesuffix("/index")
    ending = [name for name in pages if name == wanted or name.endswith(f"/{wanted}")]
    if wanted in pages or len(ending) == 1:
        return pages[wanted if wanted in pages else ending[0]]
    if ending:
        raise ConfigError(f"page {given!r}: expected one of {', '.join(ending)}")
    raise ConfigError(f"page {given!r} is unknown{did_you_mean(wanted, pages)}")


def _title(path: Path) -> str:
    """The first heading of a page."""
    lines = read_text(path).splitlines()
    return next((text.removeprefix("# ") for text in lines if text.startswith("# ")), "")
