"""The course of a training as a figure: the head that comes to look at the write, its margin, and the errors."""

from __future__ import annotations

from collections.abc import Iterator

from ffprompt._util.records import JsonObject
from ffprompt.report.diagnosis import short_names
from ffprompt.report.figures.diagnosis_layers import line
from ffprompt.report.figures.series import Figure, Series


def figures(study: JsonObject) -> Iterator[Figure]:
    """Yield the figures of the trainings that have a course."""
    for training in study["trainings"]:
        if training.get("course"):
            yield from _of_training(training["id"], training["course"]["steps"])


def _of_training(name: str, steps: list[JsonObject]) -> Iterator[Figure]:
    conditions = short_names([one["condition"] for one in steps[-1]["conditions"]])
    shares: list[Series] = []
    margins: list[Series] = []
    for place, said in enumerate(conditions):
        rows = [(step["step"], step["conditions"][place]) for step in steps]
        followed = rows[-1][1]["followed_name"]
        shares += [
            line(f"{said}: error rate", [(step, row["error"]) for step, row in rows], 5 + 3 * place),
            line(f"{said}: best head on the write", [(step, row["best"]["write"]) for step, row in rows], 3 * place),
        ]
        margins.append(line(f"{said}: best head", [(step, row["best"]["margin"]) for step, row in rows], 3 * place))
        if any(row["best"]["name"] != followed for _, row in rows):
            name = f"{said}: {followed}, the best at the end"
            shares.append(_plain(name, [(step, row["followed_write"]) for step, row in rows], 3 * place + 1))
            margins.append(_plain(name, [(step, row["followed_margin"]) for step, row in rows], 3 * place + 1))
    note = (
        "Every model that the training has kept, asked the same strings. The best head is the one with the most "
        "attention on the write at that step."
    )
    yield Figure(
        f"training-course-{name}", "When attention finds the write", f"{note} Bars are 95% intervals over strings.",
        "step", "share", shares, subtitle=name,
    )  # fmt: skip
    yield Figure(
        f"training-course-margin-{name}", "Margin of the write over the training",
        f"{note} Above 0, the write has more than half of the head's attention.",
        "step", "margin of the write (logits)", margins, subtitle=name,
    )  # fmt: skip


def _plain(name: str, points: list[tuple[int, float | None]], colour: int) -> Series:
    """A line without intervals."""
    return Series(
        name,
        [step for step, _ in points],
        [value for _, value in points],
        "curve",
        colour,
        hover=[f"{name}, step {step:,}" for step, _ in points],
    )
