"""Accuracy over time: every run of a results folder, a line a condition, from the tables in ``run.json``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

from ffprompt._util.plain import Plain
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import is_folder
from ffprompt.comparison.conditions import settings_of
from ffprompt.config.run_config import digest_of
from ffprompt.errors import StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.score import Outcome


@dataclass(frozen=True)
class TrendPoint:
    """One condition of one run.

    Attributes:
        model: The model as the user named it.
        backend: Its backend.
        condition: The name of the condition.
        started: When the run began, UTC.
        accuracy: None where no read was answered.
        interval_low: The lower end of the accuracy's interval.
        interval_high: The upper end.
        reads: Reads that were answered.
        strings: Their strings.
        errors: Reads whose call failed.
        complete: Whether every trial has an answer.
        run_id: The run's name.
        data: The seed, or the digest of the strings of a file.
        settings: A digest of everything else that can change an answer.
    """

    model: str
    backend: str
    condition: str
    started: str
    accuracy: float | None
    interval_low: float | None
    interval_high: float | None
    reads: int
    strings: int
    errors: int
    complete: bool
    run_id: str
    data: str
    settings: str


@dataclass(frozen=True)
class Trend(Plain):
    """Accuracy over time.

    Attributes:
        points: All points by model, condition and date.
        untold: Runs that have no table, each with the reason.
    """

    points: tuple[TrendPoint, ...]
    untold: tuple[str, ...]

    def rows(self) -> list[list[str | float | bool | None]]:
        """Return a header and one row for each point, as CSV takes them. None is an empty field."""
        names = [one.name for one in fields(TrendPoint)]
        return [names, *([getattr(point, name) for name in names] for point in self.points)]


def trend(results: str | os.PathLike[str] = "results") -> Trend:
    """Return the accuracy of every condition of all runs under a results folder, by when they were made.

    Args:
        results: The folder that holds the folders of runs.

    Returns:
        A point for each run and condition. Its ``reads`` are those of the accuracy, and failed calls are in ``errors``.

    Raises:
        StoreError: it is no folder, or holds no run.
    """
    if not isinstance(results, (str, os.PathLike)):
        raise StoreError(f"results folder {results!r:.80}: expected the path of a folder")
    folder = Path(results)
    if not is_folder(folder):
        raise StoreError(f"results folder {folder}: not there")
    points: list[TrendPoint] = []
    untold: list[str] = []
    for path in sorted(folder.glob("*/run.json")):
        try:
            run = RunFolder.open(path.parent)
            made = _points(run.info.to_json())
        except StoreError as error:
            untold.append(str(error))
        except (KeyError, TypeError, AttributeError) as error:
            untold.append(f"run {path.parent}: run.json lacks or garbles something ({error!r:.80})")
        else:
            points += made
            if not made:
                untold.append(f"run {path.parent}: {run.info.status}, no table yet")
    if not points and not untold:
        raise StoreError(f"results folder {folder}: no run in it")
    points.sort(key=lambda one: (one.model, one.backend, _natural(one.condition), one.started, one.run_id))
    return Trend(tuple(points), tuple(untold))


def _points(info: JsonObject) -> list[TrendPoint]:
    config = info["config"]
    return [
        TrendPoint(
            config["model"],
            config["backend"],
            row["condition"],
            info["started"],
            row["accuracy"],
            row["interval_low"],
            row["interval_high"],
            row["reads"] - row["outcomes"][Outcome.ERROR],
            row["strings"],
            row["outcomes"][Outcome.ERROR],
            info["status"] == "done",
            info["run_id"],
            f"strings {info['plan']['data_digest']}" if config["data"] is not None else f"seed {config['seed']}",
            digest_of({**settings_of(info, condition), "seed": None}),
        )
        for condition, row in zip(info["plan"]["conditions"], info.get("results") or [], strict=False)
    ]


def _natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts FFL(20) before FFL(100)."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]
