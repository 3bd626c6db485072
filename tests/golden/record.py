"""What is kept of a run and of a report's page, and how two such records are held against each other."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# Times, places and versions, and prose that may be worded anew.
_LEFT_OUT = {
    "made", "command", "ended_at", "hardware", "notes", "path", "request_id", "seconds", "source", "started", "torch",
    "transformers", "sdk", "versions", "needs", "note", "unscored", "content", "title", "explanation",
}  # fmt: skip
_LONGEST = 200  # characters of a text that is kept as it is; of a longer one its digest is kept
_MOST_TRIALS = 80  # of a report
_RUN_KEYS = ("status", "capabilities", "model", "plan", "audit", "samples", "price", "spent", "results", "stopping")


def plain(value: Any, key: str = "") -> Any:
    """A JSON value without what may change: no times, no prose, dates of run ids blotted out, numbers rounded."""
    if isinstance(value, Mapping):
        return {
            str(name): len(one) if name == "warnings" else plain(one, str(name))
            for name, one in value.items()
            if name not in _LEFT_OUT
        }
    if isinstance(value, list | tuple):
        return [plain(one, key) for one in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    if isinstance(value, str):
        text = re.sub(r"\d{8}-\d{6}-", "DATE-", value)
        if len(text) > _LONGEST:
            return f"{len(text)} characters, {hashlib.sha256(text.encode()).hexdigest()[:16]}"
        return text
    return value


def of_run(run: Path, server: str | None = None) -> dict[str, Any]:
    """What is kept of a run's folder: its plan, every trial's line, the table of reads, and the numbers.

    ``server`` is the address of a local server, which has another port each time; what depends on it is left out.
    """
    text = (run / "run.json").read_text()
    info = json.loads(text if server is None else text.replace(server, "SERVER"))
    made = {key: plain(info.get(key)) for key in _RUN_KEYS}
    if server is None and info["config"]["data"] is None:
        made["plan_digest"] = info["plan_digest"]
    lines = map(json.loads, (run / "trials.jsonl").read_text().splitlines())
    made["trials"] = [plain(line) for line in lines]
    made["reads"] = _columns(run / "reads.parquet")
    return made


def _columns(path: Path) -> dict[str, Any]:
    """Every column of the table of reads; one value stands for a column that is all alike."""
    import pandas as pd

    table = pd.read_parquet(path).drop(columns=["data"])
    columns = {}
    for name in table.columns:
        column = [plain(_bare(value)) for value in table[name]]
        columns[name] = {"all": column[0]} if all(value == column[0] for value in column) else column
    return columns


def _bare(value: Any) -> Any:
    """A value of a table as JSON has it."""
    import numpy as np

    if isinstance(value, np.ndarray):
        return [float(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return None if value is None or value is np.nan or type(value).__name__ in ("NAType", "NaTType") else value


def of_page(page: str) -> dict[str, Any]:
    """The numbers of a report: those of every chart, and the trials that are shown."""
    found = dict(re.findall(r'<script type="application/json" id="([a-z-]+)">(.*?)</script>', page, re.DOTALL))
    charts = {name: _numbers(chart["data"]) for name, chart in json.loads(found["chart-data"]).items()}
    shown = json.loads(found["trial-data"])
    trials = [{key: one for key, one in trial.items() if key != "why"} for trial in shown["trials"]]
    first = plain(trials[:_MOST_TRIALS])
    return {"charts": charts, "trials": first, "trials_in_all": len(trials), "outcomes": shown["outcomes"]}


def _numbers(value: Any) -> Any:
    """Only the numbers of a chart: its words and colours may change."""
    if isinstance(value, Mapping):
        found = {key: _numbers(one) for key, one in value.items()}
        return {key: one for key, one in found.items() if one not in (None, [], {})}
    if isinstance(value, list):
        return [one for one in map(_numbers, value) if one is not None and one not in ([], {})]
    return None if isinstance(value, str | bool) else plain(value)


def differences(golden: Any, new: Any, tolerance: float, where: str = "") -> Iterator[str]:
    """What is not as it was recorded, one line each. Keys may be added to a mapping, never taken away."""
    if isinstance(golden, Mapping) and isinstance(new, Mapping):
        for key, value in golden.items():
            if key not in new:
                yield f"{where}.{key}: is gone"
            else:
                yield from differences(value, new[key], tolerance, f"{where}.{key}")
    elif isinstance(golden, list) and isinstance(new, list):
        if len(golden) != len(new):
            yield f"{where}: {len(golden)} values recorded, {len(new)} now"
        for number, (one, other) in enumerate(zip(golden, new, strict=False)):
            yield from differences(one, other, tolerance, f"{where}[{number}]")
    elif _is_number(golden) and _is_number(new):
        if abs(golden - new) > tolerance * max(1.0, abs(golden)):
            yield f"{where}: {golden} recorded, {new} now"
    elif golden != new:
        yield f"{where}: {golden!r} recorded, {new!r} now"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
