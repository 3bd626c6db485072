"""The README's pictures and rows, made from the default run; it needs Chromium and takes some minutes.

    python -m benchmarks.picture                 run it, then write results/quick.svg, results/quick.png and the rows
    python -m benchmarks.picture REPORT PICTURE  a picture of a report alone

The default run is done in a folder of its own, on a terminal of 100 columns.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from tests.support.browser import opened

ROOT = Path(__file__).parents[1]
WIDTH = 100
# The rows of the README: model, its name there, and the language.
ROWS = (
    ("lstm", "LSTM", "FFL(512, 0.98)"),
    ("transformer-4x256", "Transformer", "FFL(512, 0.98)"),
    ("smollm2-135m", "SmolLM2-135M, light switch, 1-shot", "FFL(10, 0.6)"),
    ("smollm2-135m", "SmolLM2-135M, light switch, 1-shot", "FFL(50, 0.6)"),
)


class _Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def main() -> None:
    if sys.argv[1:]:
        shoot(*map(Path, sys.argv[1:]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (ROOT / "results" / "quick.svg").write_text(terminal(folder), encoding="utf-8")
        shoot(next(folder.glob("*.html")), ROOT / "results" / "quick.png")
        readme = ROOT / "README.md"
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows(folder))
        text = re.sub(r"(?<=\|---\|\n)(\| (LSTM|Transformer|SmolLM2)[^\n]*\n)+", table, readme.read_text("utf-8"))
        readme.write_text(text, encoding="utf-8")


def terminal(folder: Path) -> str:
    """Run the default suite into a folder, and return what the terminal shows as an SVG."""
    from ffprompt.cli.main import main as ffprompt

    os.environ |= {"COLUMNS": str(WIDTH), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    out = _Screen()
    with contextlib.redirect_stdout(out):
        code = ffprompt(["run", "--out", str(folder)], prog="run_eval.py")
    assert code == 0, code
    said = re.sub(r"\s+$", "", out.getvalue()).replace(str(folder), "results")
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text.from_ansi(f"$ python run_eval.py\n{said}"))
    drawn = console.export_svg(title="ffprompt")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.S).replace("Fira Code, ", "")  # nothing is fetched


def shoot(report: Path, picture: Path) -> None:
    """Take a picture of the first screen of a report."""
    with opened() as page:
        page.open(report, width=1280, height=1440)
        page.shot(picture)
    print(f"{picture}: {picture.stat().st_size:,} bytes")


def rows(folder: Path) -> list[list[str]]:
    """The rows of the README from the runs in a folder."""
    results: dict[tuple[str, str], Any] = {}
    for path in folder.glob("*/run.json"):
        info = json.loads(path.read_text(encoding="utf-8"))
        results |= {(info["config"]["model"], row["language"]): row for row in info["results"]}
    found = []
    for model, name, language in ROWS:
        row = results[model, language]
        interval = f"{row['interval_low']:.4f}–{row['interval_high']:.4f}"
        found.append([name, language, f"{row['reads']:,}", f"{row['accuracy']:.4f}", interval, f"{row['floor']:.4f}"])
    return found


if __name__ == "__main__":
    main()
