"""Folders of trainings as ``ffprompt.reference.training.run`` leaves them, of models whose errors are drawn.

The strings are those of the language and the intervals those of the statistics; only which reads are wrong is drawn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import korn_graubard
from ffprompt.tasks.flipflop import Spec, sample

LENGTH = 64
GROUPS = {0.0: "plain", 0.5: "dropout"}


def sets(length: int) -> tuple[Spec, ...]:
    """The strings of the training and both tails."""
    return tuple(Spec.ffl(p, length) for p in (0.8, 0.98, 0.1))


SETS = sets(LENGTH)


def evaluation(spec: Spec, step: int, strings: int, glitch: float, seed: int) -> dict[str, Any]:
    """A line of the log: each read wrong with probability ``glitch``, the more so the farther from its write it is."""
    drawn = sample(spec, 1000, 0, strings)
    rng = np.random.default_rng([seed, step, int(100 * spec.p_ignore)])
    wrong = drawn.is_read & (rng.random(drawn.gaps.shape) < glitch * np.minimum(drawn.gaps / 8, 2))
    interval = korn_graubard(Clusters(wrong.sum(1), drawn.is_read.sum(1)))
    assert interval is not None
    gaps = sorted(Counter(drawn.gaps[wrong].tolist()).items())
    return {
        "event": "evaluation",
        "step": step,
        "data": str(spec),
        "p_ignore": spec.p_ignore,
        "strings": strings,
        "reads": int(drawn.is_read.sum()),
        "errors": int(wrong.sum()),
        "low": interval.low,
        "high": interval.high,
        "gaps": gaps,
    }


def training(
    folder: Path,
    *,
    seed: int = 0,
    glitches: tuple[float, float, float] = (0.0, 0.02, 0.01),
    status: str = "finished",
    steps: int = 400,
    reached: int | None = None,
    warnings: tuple[int, ...] = (),
    strings: int = 200,
    architecture: str = "transformer",
    length: int = LENGTH,
    **config: Any,
) -> Path:
    """A training with final glitch rates near ``glitches`` on the three sets; without ``reached`` it got to its end."""
    reached = steps if reached is None else reached
    folder.mkdir(parents=True)
    rng = np.random.default_rng([seed, *json.dumps(config).encode()])
    lines: list[dict[str, Any]] = []
    for step in range(10, reached + 1, 10):
        loss = 0.7 * np.exp(-step / 60) * np.exp(0.3 * rng.normal()) + 1e-5
        lines.append(
            {"event": "step", "step": step, "loss": loss, "gradient_norm": 1.0, "learning_rate": 3e-4, "seconds": 0.1}
        )
        if step % 50 == 0:
            lines.append({"event": "monitor", "step": step, "readings": {"attention_entropy/0": 1.5}})
        if step in warnings:
            told = {"monitor": "loss-oscillation", "value": 0.61, "limit": 0.5, "text": "loss rose from 0.12 to 0.61"}
            lines.append({"event": "warning", "step": step, **told})
        if step % 100 == 0 and step < steps:
            far = 0.3 * (1 - step / steps)
            lines += [
                evaluation(spec, step, 50, far + one, seed) for spec, one in zip(sets(length), glitches, strict=True)
            ]
    if status == "finished":
        lines += [evaluation(spec, steps, strings, one, seed) for spec, one in zip(sets(length), glitches, strict=True)]
    record = {
        "format": 1,
        "ffprompt": "1.0",
        "status": status,
        "architecture": architecture,
        "config": {"layers": 2, "width": 64, "heads": 2, "embedding_dropout": 0.0, **config},
        "training": {
            "data": {"parts": [dict(zip(("length", "p_write", "p_read", "p_ignore", "symbols"),
                                        (length, 0.1, 0.1, 0.8, 2), strict=True))], "shares": [1.0]},
            "model_seed": seed, "data_seed": seed, "steps": steps, "batch": 16, "learning_rate": 3e-4,
            "sharpening": {"penalty": "none", "coefficient": 0.0}, "device": "cpu", "threads": 1, "torch": "2.13.0",
        },
        "parameters": 101_765,
        "plan": {"log_every": 10, "evaluate_every": 100, "strings": 50, "final_strings": strings},
        "started": f"2026-11-22T10:00:{seed % 60:02d}+00:00",
        "seconds": 12.5,
        "why": f"training step {reached + 1}: the loss is nan" if status == "diverged" else None,
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def study(folder: Path, replicates: int = 9) -> Path:
    """Two dropouts with replicates: a few without an error on a tail, one that diverged, one that is not finished."""
    for dropout, scale in ((0.0, 1.0), (0.5, 0.04)):
        for seed in range(replicates):
            spread = float(np.exp(np.random.default_rng([seed, int(10 * dropout)]).normal()))
            glitches = (0.02 if seed == 3 else 0.0, 0.03 * scale * spread, 0.004 * scale / spread)
            warnings = (200,) if seed == 2 else ()
            name = f"embedding_dropout-{dropout}-seed-{seed}"
            training(folder / name, seed=seed, glitches=glitches, warnings=warnings, embedding_dropout=dropout)
    training(folder / "embedding_dropout-0.5-seed-90", seed=90, status="diverged", reached=150, embedding_dropout=0.5)
    training(folder / "embedding_dropout-0.5-seed-91", seed=91, status="running", reached=250, embedding_dropout=0.5)
    planned = [(dropout, seed) for dropout in (0.0, 0.5) for seed in range(replicates)]
    planned += [(0.5, 90), (0.5, 91), (0.5, 92)]
    cells = {f"embedding_dropout-{dropout}-seed-{seed}": GROUPS[dropout] for dropout, seed in planned}
    return swept(folder, folder.name, cells)


def swept(folder: Path, name: str, cells: Mapping[str, str]) -> Path:
    """What a sweep leaves beside its trainings: ``cells`` are their folders and its name for each one's cell."""
    folder.mkdir(exist_ok=True)
    record = {"format": 1, "name": name, "cells": [{"name": one, "group": group} for one, group in cells.items()]}
    (folder / "sweep.json").write_text(json.dumps(record))
    return folder
