"""What the attention of trained models is on where they are wrong: a bar for each training, a colour for each kind."""

from __future__ import annotations

import re

from ffprompt._util.formatting import counted
from ffprompt._util.records import JsonObject
from ffprompt.report.figures.series import MOST_SERIES, Figure, Series, fewer, rate

_SHARP = "Sharp: at least 0.9 of the attention is on that token."
_NOTE = (
    "Share of the reads that are wrong, by the token with most attention in the last layer, mean over heads. Dilution: "
    "the right write is on top. Stale: an earlier write is. Distractor: an ignored value is. "
)


def error_kinds(study: JsonObject) -> list[Figure]:
    """One figure for each test set on which attention was looked at and some read is wrong."""
    sets = list(dict.fromkeys(made["data"] for one in study["trainings"] for made in one["kinds"]))
    return [figure for data in sets if (figure := _of_set(study, data)) is not None]


def _of_set(study: JsonObject, data: str) -> Figure | None:
    found = [
        (one, made) for one in study["trainings"] for made in one["kinds"] if made["data"] == data and one["final"]
    ]
    shown = found[:MOST_SERIES]
    if not any(four[0] for _, made in shown for four in made["kinds"].values()):
        return None
    names = [_name(one, made) for one, made in shown]
    series = []
    for number, kind in enumerate(shown[0][1]["kinds"]):
        shares, hover = [], []
        for one, made in shown:
            wrong, sharp = made["kinds"][kind][:2]
            reads = sum(four[0] + four[2] for four in made["kinds"].values())
            shares.append(wrong / reads)
            hover.append(
                f"{one['label']}\n{kind}: {wrong:,} of {counted(reads, 'read')} ({rate(wrong / reads)}), "
                f"{sharp:,} sharp"
            )
        series.append(Series(kind, shares, names, "bars", number, hover=hover))
    return Figure(
        f"error-kinds-{re.sub(r'[^a-z0-9.]+', '-', data.lower()).strip('-')}",
        "What wrong reads look at",
        fewer(_NOTE + _SHARP, len(shown), len(found), "trainings"),
        "glitch rate",
        "",
        series,
        categories=names,
        stacked=True,
        subtitle=data,
    )


def _name(one: JsonObject, made: JsonObject) -> str:
    """A training, with how many of its wrong reads are sharp on a token other than the right write."""
    sharp = sum(four[1] for kind, four in made["kinds"].items() if kind != "dilution")
    wrong = sum(four[0] for four in made["kinds"].values())
    return f"{one['label']} · {counted(wrong, 'error')}, {sharp:,} sharp elsewhere"
