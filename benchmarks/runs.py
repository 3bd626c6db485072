"""What a run costs beside the model: start-up, trials a second, memory for 10,000 and 100,000 trials.

python benchmarks/runs.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
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


def main() -> None:
    spent = []
    for _ in range(7):
        began = time.perf_counter()
        subprocess.run([sys.executable, "run_eval.py", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        spent.append(time.perf_counter() - began)
    print(f"run_eval.py --help: {sorted(spent)[3]:.3f} s (median of 7)")
    for elicitation, trials in (("list", 10_000), ("list", 100_000), ("forced", 10_000), ("forced", 100_000)):
        with tempfile.TemporaryDirectory() as folder:
            words = [
                "run", "--backend", "scripted", "--model", "oracle", "--length", "50", "--trials", str(trials),
                "--elicitation", elicitation, "--out", folder,
            ]  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, *words], cwd=ROOT, check=True, capture_output=True, text=True
            )
            print(f"{trials:,} trials, {elicitation}: {done.stdout.splitlines()[-1]}")


if __name__ == "__main__":
    main()
