"""Record the golden cases anew: ``python -m tests.golden record [--tree DIR] [CASE …]``.

``--tree`` names another checkout, whose code then runs. Record only when a number is meant to change, and say in the
changelog which and why.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import ROOT
from tests.golden.cases import CASES
from tests.support.faulty_server import KEY

RECORDED = Path(__file__).parent / "recorded"


def main() -> None:
    """Record the cases that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden")
    parser.add_argument("action", choices=["record"])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument(
        "--tree", type=Path, default=ROOT, metavar="DIR", help="the checkout to run (default: this one)"
    )
    options = parser.parse_args()
    environment = os.environ | {"PYTHONPATH": str(options.tree.resolve()), "OPENAI_API_KEY": KEY}
    environment |= {"ANTHROPIC_API_KEY": KEY}

    def ffprompt(*arguments: object, code: int = 0) -> None:
        words = [sys.executable, "-m", "ffprompt", *map(str, arguments)]
        done = subprocess.run(words, cwd=options.tree, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != code:
            raise SystemExit(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    RECORDED.mkdir(exist_ok=True)
    for name in options.cases or CASES:
        with tempfile.TemporaryDirectory() as folder:
            made = CASES[name].make(ffprompt, Path(folder))
        content = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        (RECORDED / f"{name}.json").write_text(content + "\n", encoding="utf-8")
        print(f"{name}: {len(content):,} characters", flush=True)


if __name__ == "__main__":
    main()
