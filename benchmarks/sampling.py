"""Sampling: strings a second at T = 512 on one core, against a plain Python loop; 1.6M strings to disk in flat memory.

Then every task at T = 100, in seconds of the processor. Each should reach 100,000 strings a second.

python benchmarks/sampling.py          everything
python benchmarks/sampling.py tasks    the tasks alone
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

from ffprompt.tasks import registry
from ffprompt.tasks.datasets import write
from ffprompt.tasks.flipflop import Spec, sample

SPEC = Spec.ffl(0.8)


def plain(count: int, seed: int) -> list[str]:
    """The sampler one would write first."""
    rng = random.Random(seed)
    strings = []
    for _ in range(count):
        memory = rng.randrange(2)
        symbols = ["w", str(memory)]
        for number in range(1, SPEC.instructions):
            last = number == SPEC.instructions - 1
            op = "r" if last else rng.choices("wri", (SPEC.p_write, SPEC.p_read, SPEC.p_ignore))[0]
            bit = memory if op == "r" else rng.randrange(2)
            if op == "w":
                memory = bit
            symbols += [op, str(bit)]
        strings.append("".join(symbols))
    return strings


def rate(count: int, *work: object) -> float:
    began = time.perf_counter()
    work[0](*work[1:])  # type: ignore[operator]
    return count / (time.perf_counter() - began)


def streamed(count: int, block: int = 4096) -> None:
    for start in range(0, count, block):
        sample(SPEC, 0, start, min(start + block, count))


def memory() -> float:
    """The most this process has ever held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_task(name: str, count: int = 40_960, block: int = 4096) -> float:
    """Strings a second of the processor at T = 100."""
    spec = registry.get(name).spec(100)
    spec.sample(0, 0, 10)
    began = time.process_time()
    for start in range(0, count, block):
        spec.sample(0, start, start + block)
    return count / (time.process_time() - began)


def tasks() -> None:
    for name in registry.names():
        print(f"{name}, T = 100: {max(of_task(name) for _ in range(3)):,.0f} strings/s")


def main() -> None:
    if sys.argv[1:] == ["tasks"]:
        tasks()
        return
    ours = max(rate(200_000, streamed, 200_000) for _ in range(5))
    loop = max(rate(500, plain, 500, 0) for _ in range(3))
    print(f"sampling: {ours:,.0f} strings/s, a plain loop {loop:,.0f}: {ours / loop:,.0f}x")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "warm.parquet", SPEC, 0, 100_000)
        before = memory()
        for name in ("train.parquet", "train.jsonl"):
            count = 1_600_000 if name.endswith("parquet") else 200_000
            path = Path(folder) / name
            speed = rate(count, write, path, SPEC, 0, count)
            print(f"{name}: {count:,} strings at {speed:,.0f}/s, {path.stat().st_size / 2**20:,.0f} MiB on disk")
        print(f"most memory: {before:,.0f} MiB after 100,000 strings, {memory():,.0f} MiB after all")
    tasks()


if __name__ == "__main__":
    main()
