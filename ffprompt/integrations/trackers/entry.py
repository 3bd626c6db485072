"""What a tracker is told: one entry for each run, gate or training."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ffprompt._util.secrets import redacted
from ffprompt.comparison import gate_report
from ffprompt.comparison.gate import GateReport
from ffprompt.report import trainings
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.score import Outcome

# Figures of a row of the table that are worth a chart over releases.
_FIGURES = (
    "accuracy", "interval_low", "interval_high", "floor", "glitch_rate", "mean_answer_mass", "reads", "strings",
    "missing_trials", "usd",
)  # fmt: skip
_OF_A_GATE = ("estimate", "low", "high", "accuracy_baseline", "accuracy_candidate", "n_reads", "n_strings", "lost")
# MLflow takes these characters in the name of a metric, and W&B takes any.
_OTHERS = re.compile(r"[^A-Za-z0-9_. -]+")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tracker.

    Attributes:
        name: Its name: that of the run, the training or the gate.
        kind: ``run``, ``gate`` or ``training``.
        settings: What was asked for.
        tags: What else to find it by.
        figures: Numbers at the end, by name.
        steps: Numbers on the way: (step, numbers by name).
        table: Rows of plain values.
        artefacts: Files to keep.
        texts: More files to keep, by name.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    tags: Mapping[str, str]
    figures: Mapping[str, float]
    table: Sequence[Mapping[str, Any]] = ()
    steps: Sequence[tuple[int, Mapping[str, float]]] = ()
    artefacts: Sequence[Path] = ()
    texts: Mapping[str, str] = field(default_factory=dict)


def of_run(folder: RunFolder, report: Path | None = None) -> Entry:
    """Return the entry of a run: its settings, a figure for each condition, its table, ``run.json`` and its report."""
    info = folder.info
    rows = list(info.results or ())
    versions = info.content.get("versions", {})
    tags = {
        "model": info.model_name,
        "backend": info.backend_name,
        "status": info.status,
        "plan_digest": info.plan_digest,
        "ffprompt": str(versions.get("ffprompt")),
    }
    figures: dict[str, float] = {}
    for row, name in zip(rows, _names([row.condition for row in rows]), strict=True):
        figures |= {f"{figure}/{name}": value for figure, value in _numbers(row).items()}
    files = [folder.path / "run.json", folder.invalid_path, *([report] if report else [])]
    return Entry(
        folder.path.name,
        "run",
        _settings(info.config),
        tags,
        figures,
        [_row(info.model_name, row) for row in rows],
        artefacts=[file for file in files if file.is_file()],
    )


def of_training(folder: Path) -> Entry:
    """Return the entry of a training: its recipe, its losses and evaluations by step, and its record."""
    training = trainings.read(folder)
    steps: list[tuple[int, dict[str, float]]] = [
        (line["step"], {"loss": line["loss"]}) for line in training["curve"] if line["loss"] is not None
    ]
    figures: dict[str, float] = {}
    for name, data in zip(_names(list(training["evaluations"])), training["evaluations"].values(), strict=True):
        for line in data:
            numbers = {f"glitch_rate/{name}": line["errors"] / line["reads"]} if line["reads"] else {}
            steps.append((line["step"], numbers))
            figures |= numbers
    steps.sort(key=lambda one: one[0])
    tags = {"architecture": training["architecture"], "status": training["status"]}
    return Entry(
        training["id"],
        "training",
        _settings({"architecture": training["architecture"], **training["config"], **training["training"]}),
        tags,
        figures,
        steps=steps,
        artefacts=[path for name in (trainings.RECORD, trainings.LOG) if (path := folder / name).is_file()],
    )


def of_gate(report: GateReport) -> Entry:
    """Return the entry of a gate: its margin, its verdict, the bounds of each condition, and its summary as a file."""
    figures: dict[str, float] = {}
    for check, name in zip(report.checks, _names([check.condition for check in report.checks]), strict=True):
        values = {figure: getattr(check, figure) for figure in _OF_A_GATE}
        figures |= {f"{figure}/{name}": value for figure, value in values.items() if _finite(value)}
    # A condition that was not asked has no run.
    before, now = (sorted({getattr(c, side) for c in report.checks} - {""}) for side in ("baseline", "candidate"))
    runs = ", ".join(Path(run).name for run in now)
    return Entry(
        f"gate {runs}",
        "gate",
        {"margin": report.margin, "level": report.level, "baseline": before, "candidate": now},
        {"verdict": report.verdict, "sentence": report.sentence},
        figures,
        [_flat(check) for check in gate_report.finite(report.to_json())["checks"]],
        texts={"gate.md": gate_report.markdown(report)},
    )


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without secrets and without those that were not given."""
    return {name: value for name, value in redacted(dict(given)).items() if value is not None}


def _numbers(row: ConditionResult) -> dict[str, float]:
    """The figures of a row of the table. What there is no data for is missing."""
    found = {name: value for name in _FIGURES if _finite(value := getattr(row, name))}
    return found | {str(outcome): row.count(outcome) for outcome in Outcome}


def _row(model: str, row: ConditionResult) -> dict[str, Any]:
    """A row of the table as plain values, one level deep."""
    return {"model": model, **_flat(row.to_json()), **{str(outcome): row.count(outcome) for outcome in Outcome}}


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not isinstance(value, (dict, list, tuple))}


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _names(given: Sequence[str]) -> list[str]:
    """Names that every tracker takes in the name of a figure, and that differ.

    >>> _names(["game/1-shot/FFL(20, 0.6)", "game/1-shot FFL(20 0.6)"])
    ['game 1-shot FFL 20 0.6', 'game 1-shot FFL 20 0.6 2']
    """
    names: list[str] = []
    for text in given:
        name, number = " ".join(_OTHERS.sub(" ", text).split()), 2
        while name in names:
            name, number = f"{' '.join(_OTHERS.sub(' ', text).split())} {number}", number + 1
        names.append(name)
    return names


def as_text(value: object) -> str:
    """A setting as a tracker shows it: words as they are, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
