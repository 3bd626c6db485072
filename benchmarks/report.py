"""What a report of 1,000,000 reads takes: seconds, memory, the size of the page.

python benchmarks/report.py                a synthetic run is made first (a minute or two)
python benchmarks/report.py RUN [RUN …]    on runs or a results folder that are there
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent

MEASURED = """
import resource, sys, time
from ffprompt.cli.main import main
began = time.perf_counter()
code = main(sys.argv[1:])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"{time.perf_counter() - began:.1f} s, {peak:.0f} MiB at most")
sys.exit(code)
"""


def call(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = sys.argv[1:]
        if not runs:
            out = Path(folder) / "results"
            settings = "--length 20 100 200 --p-ignore 0.6 --template light-switch --elicitation forced --trials 30000"
            print(
                call(
                    "run",
                    "--backend",
                    "scripted",
                    "--model",
                    "coin",
                    *settings.split(),
                    "--out",
                    str(out),
                    "--no-report",
                )
            )
            runs = [str(path.parent) for path in out.glob("*/run.json")]
        print(call("report", *runs, "--output", f"{folder}/report.html"))


if __name__ == "__main__":
    main()
