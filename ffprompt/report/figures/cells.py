"""What the figures of trainings have in common: their cells, their test sets, and a rate with its bar."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from ffprompt._util.formatting import counted
from ffprompt._util.records import JsonObject
from ffprompt.report.figures.series import MOST_SERIES, RateAxis, fewer, rate
from ffprompt.report.study_cells import DENSE, SPARSE

MOST_BARS = 12  # points of a scatter, or replicates of a cell, whose intervals do not hide each other
ZEROS = "A glitch rate of exactly 0 stands on the line 0; its bar ends at the one-sided 95% bound."
LONGEST = f" Among more than {MOST_BARS} only the longest bar of a 0 is drawn."
_HOVER = 60  # characters of a line

Study = JsonObject


def slug(data: str) -> str:
    """Return a data set as a part of a file's name."""
    return re.sub(r"[^a-z0-9.]+", "-", data.lower()).strip("-")


def named_set(study: Study, data: str) -> str:
    """A data set in a title, with what it is in the paper."""
    return data + {SPARSE: ", sparse", DENSE: ", dense"}.get(p_ignore(study, data) or 0.0, "")


def p_ignore(study: Study, data: str) -> float | None:
    """The share of ignores. None for a task that has none."""
    found = next(one["evaluations"][data][0]["p_ignore"] for one in study["trainings"] if data in one["evaluations"])
    return None if found is None else float(found)


def cells_of(study: Study) -> Iterator[tuple[int, str, list[JsonObject]]]:
    """Cells with their trainings, as many as can be told apart."""
    for number, cell in enumerate(study["cells"][:MOST_SERIES]):
        yield number, cell["name"], [one for one in study["trainings"] if one["cell"] == number]


def with_note(study: Study, note: str) -> str:
    """Return a note that also says how many cells are not shown."""
    return fewer(note, min(len(study["cells"]), MOST_SERIES), len(study["cells"]), "cells")


def glitch(one: JsonObject, found: JsonObject) -> str:
    """Return what pointing at a mark shows: the training, its settings, and the rate with its interval."""
    text = f"{one['label']}\n"
    # What tells its cell from the others may be long, and the page folds no line of its own.
    text += "".join(f"{line}\n" for line in textwrap.wrap(one["settings"], _HOVER))
    text += f"step {found['step']:,}, {found['data']}\nglitch rate {rate(found['rate'])}"
    reads = counted(found["reads"], "read")
    if found["at_most"] is not None:
        return f"{text} of {reads}, {counted(found['strings'], 'string')}\nat most {rate(found['at_most'])} (95%)"
    return f"{text} ({rate(found['low'])} to {rate(found['high'])})\n{found['errors']:,} of {reads}"


def ends(found: JsonObject) -> tuple[float, float]:
    """Where a bar begins and ends: the interval, or from no error to the bound that no error shows."""
    return (0.0, found["at_most"]) if found["at_most"] is not None else (found["low"], found["high"])


def axis_of(evaluations: Sequence[JsonObject], bars: bool = True) -> RateAxis:
    """Return an axis that holds all rates, and with ``bars`` their intervals."""
    values = [one["rate"] for one in evaluations]
    return RateAxis.of([*values, *(ends(one)[1] for one in evaluations if bars)])


def bars(
    finals: Sequence[JsonObject], axis: RateAxis, points: int, at: Sequence[float | None]
) -> tuple[list[float | None], list[float | None]]:
    """Ends of the bars. Among many points, only the zero that shows least keeps its own."""
    zeros = [n for n, found in enumerate(finals) if found["errors"] == 0]
    kept = set(range(len(finals)))
    if points > MOST_BARS:
        kept = {max(zeros, key=lambda n: finals[n]["at_most"])} if zeros else set()
    low = [at[n] if n in zeros else axis.down_to(found["low"]) for n, found in enumerate(finals)]
    high = [ends(found)[1] for found in finals]
    return (
        [one if n in kept else None for n, one in enumerate(low)],
        [one if n in kept else None for n, one in enumerate(high)],
    )
