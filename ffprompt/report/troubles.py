"""What the monitors of a study's trainings told, when, and whether the loss showed it by then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from ffprompt._util.records import JsonObject

RISE, WINDOW = 0.1, 20
"""The loss shows a trouble where its mean over 20 steps stays this many nats above the first cell's."""
_OF_THE_LOSS = ("loss-oscillation", "non-finite")
CAPTION = (
    "First step: at which the monitor first warned, the median of the trainings that it warned in (least–most). Loss "
    "shows it: the step from which the mean loss of 20 steps stays 0.1 nats above that of every training of {}, or at "
    "which it rose by itself or was no number. Error: glitch rate after training, the median of the finished trainings "
    "(least–most)."
)


def troubles(names: Sequence[str], members: Sequence[Sequence[JsonObject]]) -> list[JsonObject]:
    """One row for each cell and monitor that warned, and one for a cell without a warning.

    ``names`` are those of the cells, ``members`` their trainings. The list is empty where no monitor warned at all.
    """
    if not any(one["warnings"] for mine in members for one in mine):
        return []
    shown = [[_shown(one, members[0]) for one in mine] for mine in members]
    rows = []
    for name, mine, seen in zip(names, members, shown, strict=True):
        first: dict[str, list[int]] = {}
        for one in mine:
            for monitor in dict.fromkeys(warning["monitor"] for warning in one["warnings"]):
                first.setdefault(monitor, []).append(
                    min(warning["step"] for warning in one["warnings"] if warning["monitor"] == monitor)
                )
        told = sorted(first.items(), key=lambda item: median(item[1]))
        for monitor, steps in told or [("none", [])]:
            rows.append(
                {
                    "cell": name,
                    "monitor": monitor,
                    "trainings": len(mine),
                    "fired": len(steps),
                    "first": _range(steps),
                    "loss": _range([step for step in seen if step is not None]),
                    "loss_in": sum(step is not None for step in seen),
                    "before": sum(
                        _before(one, monitor, step) for one, step in zip(mine, seen, strict=True) if monitor != "none"
                    ),
                }
            )
    return rows


def _range(values: Sequence[int]) -> list[float] | None:
    """Median, least and most; None without a value."""
    return [median(values), min(values), max(values)] if values else None


def _before(one: JsonObject, monitor: str, shown: int | None) -> bool:
    """Whether a training's monitor warned before its loss showed anything."""
    steps = [warning["step"] for warning in one["warnings"] if warning["monitor"] == monitor]
    return bool(steps) and (shown is None or min(steps) < shown)


def _shown(one: JsonObject, reference: Sequence[JsonObject]) -> int | None:
    """The step at which the loss of a training shows that something is wrong, None where it never does."""
    by_itself = [warning["step"] for warning in one["warnings"] if warning["monitor"] in _OF_THE_LOSS]
    is_reference = any(one is other for other in reference)
    beside = None if is_reference else _above(one, [other for other in reference if _alike(one, other)])
    return min([*by_itself, *([] if beside is None else [beside])], default=None)


def _alike(one: JsonObject, other: JsonObject) -> bool:
    """Whether the losses of two trainings measure the same."""
    return all(
        json.dumps(one["training"].get(name)) == json.dumps(other["training"].get(name))
        for name in ("data", "objective", "scratchpad")
    )


def _above(one: JsonObject, reference: Sequence[JsonObject]) -> int | None:
    """The first step from which the smoothed loss stays above that of every training of the reference."""
    steps, losses = _smoothed(one)
    bounds = [_smoothed(other) for other in reference]
    if not len(steps) or not bounds or any(not len(at) for at, _ in bounds):
        return None
    bound = np.max([np.interp(steps, at, values) for at, values in bounds], 0)
    low = np.flatnonzero(losses <= bound + RISE)
    place = int(low[-1]) + 1 if len(low) else 0
    return int(steps[place]) if place < len(steps) else None


def _smoothed(one: JsonObject) -> tuple[Any, Any]:
    """Steps (N,) and the mean loss of the last 20 steps at each, without the first 20 and what is no number."""
    known = [point for point in one["curve"] if point["loss"] is not None]
    steps = np.array([point["step"] for point in known])
    losses = np.array([point["loss"] for point in known])
    means = np.array([losses[(steps > step - WINDOW) & (steps <= step)].mean() for step in steps])
    return steps[steps >= WINDOW], means[steps >= WINDOW]


def spread(found: Sequence[float] | None) -> str:
    """A median with its least and most as text: ``40 (30–60)``."""
    if found is None:
        return "–"
    middle, least, most = found
    return f"{middle:,g}" if least == most else f"{middle:,g} ({least:,g}–{most:,g})"


HEADER = ("cell", "monitor", "warned in", "first step", "loss shows it", "before the loss")


def header(sets: Sequence[str]) -> list[str]:
    """The columns of the table of a study that was tested on ``sets``."""
    return [*HEADER, *(f"error, {data}" for data in sets)]


def body(rows: Sequence[JsonObject], cells: Sequence[JsonObject], sets: Sequence[str]) -> list[list[str]]:
    """The table as text: one row for each of ``rows``, with the errors of its cell."""
    by_name = {cell["name"]: cell for cell in cells}
    return [
        [
            row["cell"],
            row["monitor"],
            f"{row['fired']} of {row['trainings']}",
            spread(row["first"]),
            spread(row["loss"]) + (f", in {row['loss_in']}" if 0 < row["loss_in"] < row["trainings"] else ""),
            f"{row['before']} of {row['fired']}" if row["fired"] else "–",
            *(_error(by_name[row["cell"]]["sets"].get(data)) for data in sets),
        ]
        for row in rows
    ]


def _error(found: JsonObject | None) -> str:
    if not found or not found["trainings"]:
        return "–"
    middle, least, most = (f"{found[name]:.2g}" for name in ("median", "least", "most"))
    return middle if least == most else f"{middle} ({least}–{most})"
