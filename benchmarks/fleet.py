"""What many replicas cost beside their models: the driver alone, and two CPU replicas against two processes.

python benchmarks/fleet.py driver [TRIALS …]     trials/s and memory of a driver of a scripted replica behind Ray
python benchmarks/fleet.py replicas [ROUNDS]     SmolLM2 on two cores: two replicas against two processes, in turns

The processor time of the driver is printed beside the wall-clock time. Both grow on a machine that is shared, the
latter more, so the load at the beginning is printed too. Memory is resident memory, at ten moments of each step.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent

DRIVER = """
import asyncio, resource, sys, threading, time
from pathlib import Path
from ffprompt.config.run_config import make
from ffprompt.evaluation.fleet import open_model
from ffprompt.evaluation.rescore import rebuild
from ffprompt.evaluation.runner import _ask, make_plan, start
from ffprompt.runs.log import Log

trials, ray = int(sys.argv[1]), sys.argv[3] == "ray"
config = make({
    "backend": "scripted", "model": "oracle", "template": "raw-compact", "elicitation": "forced", "length": 10,
    "p_ignore": 0.6, "shots": 0, "trials": trials, **({"ray": "local", "replicas": 1} if ray else {}),
})
backend = open_model(config)
plan = make_plan(config, backend)
folder, _ = start(config, backend, plan, Path(sys.argv[2]), False)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def sample(seen, ended):
    while not ended.wait(0.2):
        with open("/proc/self/statm") as file:
            seen.append(int(file.read().split()[1]) * resource.getpagesize() >> 20)

def timed(what, work):
    seen, ended = [], threading.Event()
    threading.Thread(target=sample, args=(seen, ended), daemon=True).start()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ended.set()
    print(f"{trials:>9,} {what}: {trials / wall:,.0f} trials/s, {1e3 * cpu / trials:.3f} ms of a processor a trial, "
          f"{peak():.0f} MiB at most", flush=True)
    if len(seen) >= 10:
        print("          MiB over time:", *(seen[len(seen) * tenth // 10] for tenth in range(10)), seen[-1], flush=True)
    return wall

def ask():
    with Log(folder) as log:
        asyncio.run(_ask(folder, log, plan, backend, lambda _: None))

wall = timed("asked and logged" + (" over Ray" if ray else " in process"), ask)
backend.close()
wall += timed("scored, reads.parquet written", lambda: rebuild(folder, plan))
print(f"{trials:>9,} both, one after the other: {trials / wall:,.0f} trials/s", flush=True)
"""


def driver(sizes: list[int]) -> None:
    for number, trials in enumerate(sizes):
        for kind in ("process", "ray") if number == 0 else ("ray",):
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run([sys.executable, "-c", DRIVER, str(trials), folder, kind], cwd=ROOT, check=True)


WORK = """
import asyncio, sys, time
from pathlib import Path
from ffprompt.config.run_config import make
from ffprompt.evaluation.fleet import open_model
from ffprompt.evaluation.runner import _ask, make_plan, start
from ffprompt.runs.log import Log

trials, seed, replicas = map(int, sys.argv[2:5])
config = make({
    "backend": "transformers", "model": "smollm2-135m", "template": "light-switch", "elicitation": "forced",
    "length": 50, "p_ignore": 0.6, "shots": 0, "trials": trials, "seed": seed,
    **({"ray": "local", "replicas": replicas} if replicas else {}),
})
backend = open_model(config)
plan = make_plan(config, backend)
folder, _ = start(config, backend, plan, Path(sys.argv[1]), False)
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
began = time.perf_counter()
with Log(folder) as log:
    asyncio.run(_ask(folder, log, plan, backend, lambda _: None))
sys.stdout.write(f"{time.perf_counter() - began}\\n"); sys.stdout.flush()
backend.close()
"""


def _at_work(folder: str, *numbers: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WORK, folder, *map(str, numbers)]
    return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _seconds(jobs: list[tuple[int, ...]]) -> float:
    """Seconds of the slowest of several processes that begin together, once all have opened their model."""
    with tempfile.TemporaryDirectory() as folder:
        at_work = [_at_work(f"{folder}/{number}", *job) for number, job in enumerate(jobs)]
        for process in at_work:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in at_work:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return max(float(process.communicate()[0]) for process in at_work)


def replicas(rounds: int, trials: int = 64) -> None:
    """Time both ways in turns, the order changed each round."""
    ways = {
        "two replicas on Ray": [(2 * trials, 0, 2)],
        "two processes": [(trials, 0, 0), (trials, 1, 0)],
    }
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            spent[name].append(_seconds(ways[name]))
            print(f"round {number + 1}: {name}: {spent[name][-1]:.2f} s", flush=True)
    ratios = [ray / alone for ray, alone in zip(*spent.values(), strict=True)]
    print(f"ratio: median {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


def main() -> None:
    # The priority of the processes beside them. Ray's own lower one matters on a busy machine only.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    began = time.perf_counter()
    kind, *numbers = sys.argv[1:] or ["driver"]
    if kind not in ("driver", "replicas") or not all(number.isdecimal() for number in numbers):
        sys.exit(__doc__)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, Python {sys.version.split()[0]}")
    if kind == "driver":
        driver([int(number) for number in numbers] or [10_000, 100_000, 300_000, 1_000_000])
    else:
        replicas(int(numbers[0]) if numbers else 6)
    print(f"{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
