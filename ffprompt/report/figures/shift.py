"""Accuracy on strings that are drawn with other probabilities than those of the training."""

from __future__ import annotations

import contextlib

from ffprompt._util.formatting import counted, share
from ffprompt._util.records import JsonObject
from ffprompt.errors import SpecError
from ffprompt.report.figures.series import Figure, Series
from ffprompt.tasks import registry
from ffprompt.tasks.automaton import Automaton


def by_probability(study: JsonObject) -> Figure | None:
    """Return the accuracy of each cell by the one probability in which its test sets differ.

    Test sets of the flip-flop have figures of their own. None where the sets are of several tasks, or differ in more.
    """
    found = {name: _probabilities(name) for name in study["sets"]}
    sets = {name: values for name, values in found.items() if values}
    differing = {key for values in sets.values() for key in values if len({one.get(key) for one in sets.values()}) > 1}
    if len(differing) != 1 or len({name.split("(")[0] for name in sets}) != 1:
        return None
    (key,) = differing
    places = {name: values[key] for name, values in sorted(sets.items(), key=lambda item: item[1][key])}
    series = [
        _of_cell(cell, {name: place for name, place in places.items() if name in cell["sets"]}, number)
        for number, cell in enumerate(study["cells"])
    ]
    return Figure(
        "training-probabilities",
        f"Accuracy by {key} of the test strings, after training",
        "The median over seeds. Bars go from the worst seed to the best, and are no intervals.",
        key,
        "accuracy",
        [one for one in series if one.x],
        x_range=(0.0, 1.0),
    )


def _probabilities(name: str) -> dict[str, float]:
    """The probabilities that a test set's task is set to. Empty for the flip-flop and for an unknown task."""
    with contextlib.suppress(SpecError):
        task = registry.get(name.split("(")[0])
        if isinstance(task, Automaton):
            drawn = task.parse_spec(name).task
            values = {key: drawn[key] for key in drawn.all_arguments()}
            return {key: value for key, value in values.items() if isinstance(value, float)}
    return {}


def _of_cell(cell: JsonObject, places: dict[str, float], number: int) -> Series:
    known = {name: cell["sets"][name] for name in places if cell["sets"][name]["trainings"]}
    right = {name: 1 - one["median"] for name, one in known.items()}
    return Series(
        cell["name"],
        [places[name] for name in known],
        list(right.values()),
        "line",
        number,
        low=[1 - one["most"] for one in known.values()],
        high=[1 - one["least"] for one in known.values()],
        hover=[f"{name}: {share(value)}, {counted(known[name]['trainings'], 'seed')}" for name, value in right.items()],
    )
