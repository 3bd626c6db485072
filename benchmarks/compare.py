"""How long a comparison of two runs of a million reads takes, and how much memory: synthetic tables, no model.

OMP_NUM_THREADS=1 python benchmarks/compare.py [--reads 1000000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ffprompt.evaluation.read_columns import schema as reads_schema
from ffprompt.scoring.score import Outcome

ROOT = Path(__file__).parent.parent
READS_A_STRING = 20
LENGTHS = (50, 100, 150, 200)


# The peak of the process itself: getrusage would count what it was forked from.
_CHILD = """
import pathlib, re, sys, time
from ffprompt.cli.main import main
code = main(sys.argv[1:])
peak = int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
print(f"{time.process_time():.2f} s of a processor, at most {peak / 1024:.0f} MiB", file=sys.stderr)
sys.exit(code)
"""


def run_of(folder: Path, name: str, reads: int, rate: float, seed: int) -> Path:
    """A run folder of four conditions whose errors are beta-binomial by string."""
    path = folder / name
    path.mkdir()
    rng, strings = np.random.default_rng(seed), reads // READS_A_STRING // len(LENGTHS)
    conditions, results = [], []
    with pq.ParquetWriter(path / "reads.parquet", reads_schema()) as out:
        for number, length in enumerate(LENGTHS):
            chance = np.repeat(rng.beta(rate * 4, (1 - rate) * 4, strings), READS_A_STRING)
            wrong = rng.random(len(chance)) < chance
            string = np.repeat(np.arange(strings), READS_A_STRING)
            digests = np.array([f"{number:04x}{i:012x}" for i in range(strings)])
            columns = {
                "trial_id": [f"light-switch/0-shot/forced/completion/FFL({length}, 0.6)/seed-0/{i}" for i in string],
                "model": name, "template": "light-switch", "shots": 0, "elicitation": "forced", "form": "completion",
                "length": length, "p_write": 0.2, "p_read": 0.2, "p_ignore": 0.6, "symbols": 2, "seed": 0,
                "repeat": 0,
                "string_index": string, "read_index": np.tile(np.arange(READS_A_STRING), strings),
                "position": np.tile(np.arange(READS_A_STRING), strings), "string": digests[string],
                "outcome": np.where(wrong, "wrong", "correct"),
                "answer_logprobs": list(np.full((len(string), 2), -0.7)),
                "answer_mass": rng.random(len(string)), "margin": rng.random(len(string)),
            }  # fmt: skip
            schema = reads_schema()
            full = [
                pa.nulls(len(string), one.type)
                if (value := columns.get(one.name)) is None
                else pa.array(value if isinstance(value, (list, np.ndarray)) else [value] * len(string), one.type)
                for one in schema
            ]
            out.write_table(pa.table(full, schema=schema))
            counts = dict.fromkeys(map(str, Outcome), 0) | {"wrong": int(wrong.sum()), "correct": int((~wrong).sum())}
            results.append({"outcomes": counts})
            conditions.append(
                {
                    "number": number, "name": f"light-switch/0-shot/forced/completion/FFL({length}, 0.6)",
                    "template": "light-switch", "shots": 0, "elicitation": "forced", "form": "completion",
                    "length": length, "p_write": 0.2, "p_read": 0.2, "p_ignore": 0.6, "symbols": 2,
                    "turn_instructions": None,
                }
            )  # fmt: skip
    config = {
        "backend": "scripted", "model": name, "shots": [0], "shot_length": 16, "shared_shots": False, "seed": 0,
        "next_read": "last", "temperature": 0.0, "max_tokens": None,
    }  # fmt: skip
    info = {
        "schema": 1, "run_id": name, "status": "done", "config": config, "results": results,
        "model": {"backend": "scripted", "model": name},
        "plan": {"conditions": conditions, "templates": {"light-switch": {"name": "light-switch", "digest": "0"}}},
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(info))
    (path / "trials.jsonl").touch()
    return path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reads", type=int, default=1_000_000, help="a run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            run_of(Path(folder), name, options.reads, rate, seed)
            for seed, (name, rate) in enumerate((("model-a", 0.02), ("model-b", 0.025)))
        ]
        size = sum(path.stat().st_size for run in runs for path in run.iterdir())
        print(f"2 x {options.reads:,} reads, {len(LENGTHS)} conditions, {size / 2**20:.0f} MiB on disk")
        commands = {
            "compare": ["compare", *runs],
            "gate": ["gate", "--baseline", runs[0], "--candidate", runs[1], "--margin", "0.01"],
        }
        for name, words in commands.items():
            began = time.monotonic()
            code = [sys.executable, "-c", _CHILD, *map(str, words)]
            done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True)
            print(f"{name}: {time.monotonic() - began:.2f} s, {done.stderr.strip()}, exit code {done.returncode}")
            print(done.stdout)


if __name__ == "__main__":
    main()
