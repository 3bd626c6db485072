"""A study as one plain dict: trainings, the cells that they are replicates of, and what each cell shows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from statistics import median

import numpy as np

from ffprompt._util.records import JsonObject
from ffprompt.errors import SpecError
from ffprompt.report.naming import differing, names, natural
from ffprompt.report.trainings import cell_key
from ffprompt.report.troubles import troubles
from ffprompt.tasks.flipflop import Spec
from ffprompt.tasks.flipflop_gaps import gap_counts

MOST_POINTS = 24_000  # of all loss curves together
_FEWEST_POINTS = 20  # of one
SPARSE, DENSE = 0.98, 0.1
ERROR = (
    "An error is a read where the token ranked first among all tokens of the vocabulary is not the answer, as in the "
    "paper."
)
TWO_MEASUREMENTS = (
    "The glitch rate of a training and the error rate of a run are two measurements, and either can be the larger one. "
    "Why: see Trainings."
)
# Why a training and a run of its model say two numbers.
BESIDE_RUNS = (
    "The glitch rate of a training and the error rate of a run of its model are two measurements, and either can be "
    "the larger one. A training is evaluated on strings of its own seed, a run on those of --seed. A training takes "
    "the token that ranks first among all tokens of the vocabulary. A run with forced takes the one that ranks first "
    "among the answers, and other elicitations take what the model writes."
)


def study(trainings: Sequence[JsonObject]) -> JsonObject | None:
    """``trainings``, ``cells``, ``sets`` (names of data sets, in the order of the logs) and ``troubles``.

    None without a training.

    Cells of a study are in the order of its file, under its own names. ``settings`` is what tells them apart.

    Numbers of a cell are of its finished trainings alone: a training that diverged has no last glitch rate, and one
    that has not ended has not got it yet.
    """
    if not trainings:
        return None
    keys = list(dict.fromkeys(cell_key(one) for one in trainings))
    members: list[list[JsonObject]] = [[] for _ in keys]
    for one in trainings:
        members[keys.index(cell_key(one))].append(one)
    settings = differing([json.loads(key) for key in keys])
    homes = [[one["home"] for one in mine] for mine in members]
    called = names(homes, settings)
    around = list(dict.fromkeys(one["home"].around for one in trainings))
    order = sorted(
        range(len(keys)),
        key=lambda n: (around.index(homes[n][0].around), homes[n][0].place, natural(called[n])),
    )
    sets = list(dict.fromkeys(data for one in trainings for data in one["evaluations"]))
    room = max(_FEWEST_POINTS, MOST_POINTS // len(trainings))
    shown, cells = [], []
    for number, n in enumerate(order):
        shown += [_training(one, number, called[n], settings[n], room) for one in members[n]]
        cells.append(_cell(called[n], settings[n], members[n], sets))
    return {
        "trainings": shown,
        "cells": cells,
        "sets": sets,
        "troubles": troubles([called[n] for n in order], [members[n] for n in order]),
        "reads_by_gap": {data: _reads(data) for data in sets},
        "notes": _notes(trainings),
    }


def _training(one: JsonObject, cell: int, name: str, settings: str, room: int) -> JsonObject:
    seeds = "seeds " + "/".join(str(seed) for seed in one["seeds"])
    kept = {key: value for key, value in one.items() if key not in ("key", "config", "training", "home")}
    return kept | {
        "cell": cell,
        "kind": _kind(one),
        "settings": "" if settings == name else settings,
        "label": f"{name} · {seeds}" + (" †" if one["unfinished"] else ""),
        "curve": thinned(one["curve"], room),
    }


def _kind(one: JsonObject) -> str:
    """What tells trainings of many studies apart: the architecture, its attention and the data."""
    config, recipe = one["config"], one["training"]
    if len(recipe["data"]["parts"]) > 1:
        return f"{one['architecture']}, mixture of data"
    attention = config.get("attention", "softmax")
    if one["architecture"] != "transformer" or attention == "softmax":
        return str(one["architecture"])
    return f"transformer, {attention} attention"


def thinned(curve: Sequence[JsonObject], room: int) -> list[JsonObject]:
    """A loss curve of at most ``room`` points: several lines of the log are averaged, each by the steps it is about.

    A loss that is no number (None) stays one, so that a divergence shows as a break.
    """
    every = -(-len(curve) // room)
    if every <= 1:
        return [dict(point) for point in curve]
    steps = [0, *(point["step"] for point in curve)]
    found = []
    for start in range(0, len(curve), every):
        part = curve[start : start + every]
        weights = np.diff(steps[start : start + len(part) + 1])
        losses = [point["loss"] for point in part]
        loss = None if None in losses or not weights.sum() else float(np.average(losses, weights=weights))
        found.append({"step": part[-1]["step"], "loss": loss})
    return found


def _cell(name: str, settings: str, members: Sequence[JsonObject], sets: Sequence[str]) -> JsonObject:
    """A cell. Of the ``sets`` those on which at least one of its trainings was evaluated, at the end or on the way."""
    finished = [one for one in members if one["final"]]
    found = {}
    for data in (data for data in sets if any(data in one["evaluations"] for one in members)):
        finals = [one["final"][data] for one in finished if data in one["final"]]
        rates = [one["rate"] for one in finals]
        gaps: dict[int, int] = {}
        for one in finals:
            for gap, errors in one["gaps"]:
                gaps[gap] = gaps.get(gap, 0) + errors
        found[data] = {
            "trainings": len(rates),
            "median": median(rates) if rates else None,
            "least": min(rates, default=None),
            "most": max(rates, default=None),
            "zeros": sum(one["errors"] == 0 for one in finals),
            "at_most": max((one["at_most"] for one in finals if one["errors"] == 0), default=None),
            "certificates": [one["certificate"] for one in finals if one["certificate"]],
            "reads": sum(one["reads"] for one in finals),
            "errors": sum(one["errors"] for one in finals),
            "gaps": sorted(gaps.items()),
        }
    return {
        "name": name,
        "settings": "" if settings == name else settings,
        "trainings": len(members),
        "finished": len(finished),
        "diverged": sum(one["status"] == "diverged" for one in members),
        "unfinished": sum(one["unfinished"] for one in members),
        "warned": sum(bool(one["warnings"]) for one in members),
        "parameters": members[0]["parameters"],
        "steps": members[0]["steps"],
        "sets": found,
    }


def certificates(study: JsonObject) -> bool:
    """Whether a training of a study has a certificate."""
    return any(found["certificates"] for cell in study["cells"] for found in cell["sets"].values())


def certified(found: JsonObject) -> str:
    """What the sequential tests of a cell showed on a test set, as text. Empty where none was made.

    ``below 1e-4 in 3 of 4 (at most 9.5e-05), above in 1``
    """
    made = found["certificates"]
    if not made:
        return ""
    parts = []
    for decision in ("below", "above", None):
        mine = [one for one in made if one["decision"] == decision]
        if mine:
            limit = {
                "below": f" (at most {max(one['high'] for one in mine):.2g})",
                "above": f" (at least {min(one['low'] for one in mine):.2g})",
            }.get(str(decision), "")
            parts.append(f"{decision or 'not shown'} in {len(mine)} of {len(made)}{limit}")
    return f"{made[0]['bound']:g}: {', '.join(parts)}"


def _reads(data: str) -> list[float] | None:
    """Expected reads of one string of a data set at gap 1, 2, …. None for one whose language is not in its name."""
    try:
        return [float(one) for one in gap_counts(Spec.parse(re.sub(r", M=\d+", "", data)))]
    except SpecError:
        return None


def _notes(trainings: Sequence[JsonObject]) -> list[str]:
    found = []
    for one in trainings:
        if one["unfinished"]:
            found.append(
                f"Training {one['id']} has not ended ({one['status']}, step {one['step']:,} of {one['steps']:,}); it "
                "is marked †, and no number of its cell includes it."
            )
        elif one["status"] == "diverged":
            found.append(
                f"Training {one['id']} diverged and has no last glitch rate: {one['why'] or 'no reason given'}"
            )
    return found
