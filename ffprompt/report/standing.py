"""What the cells of a study came to, also while some of its trainings are not finished: the numbers of its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ffprompt._util.records import JsonObject
from ffprompt.errors import FFPromptError
from ffprompt.report.figures.series import rate
from ffprompt.report.study_cells import certified, study
from ffprompt.report.trainings import RECORD, cell_key, read
from ffprompt.report.troubles import body, header


@dataclass
class Result:
    """Of one cell on one test set, None: on none: trainings, finished ones, their glitch rates and exact zeros."""

    cell: str
    data: str | None
    trainings: int
    finished: int = 0
    rates: str = "–"
    zeros: str = "–"
    certified: str = ""
    numbers: JsonObject = field(default_factory=dict)  # rates and counts as the report has them

    def to_json(self) -> JsonObject:
        """Return the row for programs."""
        known = {"cell": self.cell, "data": self.data, "trainings": self.trainings, "finished": self.finished}
        return known | {"certificate": self.certified or None} | self.numbers


@dataclass
class Standing:
    """Of a study: rows, a line about each folder that cannot be read, and what the monitors told, as a table."""

    rows: list[Result]
    odd: list[str]
    troubles: list[list[str]]
    header: list[str]


def standing(groups: Mapping[Path, str]) -> Standing:
    """Where a study stands. ``groups``: the cell's name of each training's folder.

    A cell of which no training has begun is a row too.
    """
    found: dict[Path, JsonObject] = {}
    odd = []
    for folder in groups:
        try:
            if (folder / RECORD).is_file():
                found[folder] = read(folder)
        except FFPromptError as error:
            odd.append(str(error))
    once: dict[str, JsonObject] = {}  # the same training twice is no replicate
    for one in sorted(found.values(), key=lambda one: str(one["status"]) != "finished"):
        once.setdefault(one["key"], one)
    made = study(list(once.values()))
    cells = made["cells"] if made else []
    names = {one["id"]: cells[one["cell"]]["name"] for one in made["trainings"]} if made else {}
    by_key = {cell_key(one): names[one["id"]] for one in once.values()}
    by_group = {group: by_key[cell_key(found[folder])] for folder, group in groups.items() if folder in found}
    planned = Counter(by_group.get(group, group) for group in groups.values())
    planned.subtract(by_key[cell_key(one)] for one in found.values() if once[one["key"]] is not one)
    rows = []
    for cell in cells:
        name, sets = cell["name"], cell["sets"]
        for data, one in sets.items():
            row = Result(name, data, planned[name], one["trainings"])
            if one["trainings"]:
                row.rates = f"{rate(one['median'])} ({rate(one['least'])}–{rate(one['most'])})"
                row.zeros = str(one["zeros"])
                row.certified = certified(one)
                row.numbers = {name: one[name] for name in ("median", "least", "most", "zeros")}
            rows.append(row)
        if not sets:
            rows.append(Result(name, None, planned[name]))
    shown = {row.cell for row in rows}
    rows += [Result(name, None, count) for name, count in planned.items() if name not in shown]
    told = body(made["troubles"], cells, made["sets"][:1]) if made else []
    return Standing(rows, odd, told, header(made["sets"][:1] if made else []))
