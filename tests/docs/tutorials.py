"""A tutorial is a page; its notebook is made from the page, so that each has one source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.docs.pages import DOCS, Block, blocks, commands, notebook

PAGES = sorted((DOCS / "tutorials").glob("*.md"))


def notebook_of(page: Path) -> str:
    """The notebook of a tutorial: the page's text, its commands and files as cells, its outputs as theirs."""
    text = page.read_text(encoding="utf-8")
    cells: list[dict[str, Any]] = []
    end = 0
    for block in blocks(page, text):
        opening = text.rindex("```", 0, block.start)
        _add_text(cells, text[end:opening])
        _add_code(cells, block)
        end = text.index("```", block.end) + 3
    _add_text(cells, text[end:])
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return notebook(cells)


def _add_text(cells: list[dict[str, Any]], text: str) -> None:
    if text.strip():
        cells.append({"cell_type": "markdown", "metadata": {}, "source": text.strip().splitlines(keepends=True)})


def _add_code(cells: list[dict[str, Any]], block: Block) -> None:
    if block.needs:
        _add_text(cells, f"```{block.language}\n{block.body}```")
        return
    if block.title:
        source, output = f"%%writefile {block.title}\n{block.body}", ""
    elif block.language == "python":
        source, output = block.body, ""
    elif block.language == "pycon":
        source = "".join(f"{line[4:]}\n" for line in block.body.splitlines() if line.startswith((">>> ", "... ")))
        output = "".join(f"{line}\n" for line in block.body.splitlines() if not line.startswith((">>> ", "... ")))
    else:
        asked = [command for command in commands(block) if command != "echo $?"]
        source = "".join(f"!{command}\n" for command in asked)
        output = "" if block.language == "bash" else _printed(block.body)
    outputs = [{"output_type": "stream", "name": "stdout", "text": output.splitlines(keepends=True)}] if output else []
    cells.append(
        {
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "source": source.rstrip("\n").splitlines(keepends=True),
            "outputs": outputs,
        }
    )


def _printed(body: str) -> str:
    """What the commands of a console block print."""
    lines, continued = [], False
    for line in body.splitlines():
        shown = line.startswith("$ ") or continued
        continued = shown and line.endswith("\\")
        if not shown:
            lines.append(f"{line}\n")
    return "".join(lines)
