"""Attention of one string at several steps of a training: one row for each head or layer, one column for each look.

Queries are rows, keys are columns. A ring stands where a read ought to look: on the token that holds its answer. It is
green where the read is right and red where it is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ffprompt._util.records import JsonObject
from ffprompt.report.figures.palette import OUTCOMES
from ffprompt.report.figures.series import Figure, Series

_MOST_ROWS, _MOST_LOOKS, _MOST_CELLS = 3, 4, 24
_LIGHT, _DARK = "#ffffff", "#08306b"


@dataclass(frozen=True)
class AttentionMaps(Figure):
    """``looks`` are the columns, each with ``title``, ``tokens``, ``reads``, ``wrong`` and ``panels``.

    ``rows`` are the names of the panels that are drawn.
    """

    looks: Sequence[JsonObject] = field(default=())
    rows: Sequence[str] = ()


def attention_maps(study: JsonObject) -> list[AttentionMaps]:
    """One figure for each cell that kept its attention: of its first training with a warning, or of its first one."""
    found: list[AttentionMaps] = []
    for number, cell in enumerate(study["cells"]):
        mine = [one for one in study["trainings"] if one["cell"] == number and one["looks"]]
        if mine and len(found) < _MOST_CELLS:
            one = next((one for one in mine if one["warnings"]), mine[0])
            found.append(_maps(cell["name"], one))
    return found


def _maps(cell: str, one: JsonObject) -> AttentionMaps:
    looks = [{**look, "title": _title(one, look)} for look in _chosen(one)]
    worst = max(
        (made for made in one["kinds"] if made["worst"]), key=lambda made: sum(made["worst"]["wrong"]), default=None
    )
    if worst is not None and not one["warnings"]:
        looks = [looks[0], looks[-1], {**worst["worst"], "title": "a wrong read, its attention sharpest"}]
    names = list(looks[0]["panels"])
    rows = [names[round(place)] for place in _spaced(len(names), _MOST_ROWS)]
    note = (
        f"One string of training {one['id']}. Rows are queries and columns keys, the darker the more attention. A ring "
        "stands where the answer of a read is. It is green where the read is right, and red where it is wrong."
    )
    series = [Series(look["title"], [look["step"]], [0], "points", place) for place, look in enumerate(looks)]
    name = "attention-" + re.sub(r"[^a-z0-9.]+", "-", cell.lower()).strip("-")
    return AttentionMaps(name, f"Attention, {cell}", note, "", "", series, looks=looks, rows=rows)


def _spaced(count: int, most: int) -> list[float]:
    shown = min(count, most)
    return [n * (count - 1) / max(shown - 1, 1) for n in range(shown)]


def _chosen(one: JsonObject) -> list[JsonObject]:
    """The first look, those before and at the first warning, and the last; fewer where there are fewer."""
    looks: list[JsonObject] = list({look["step"]: look for look in one["looks"]}.values())
    if len(looks) <= _MOST_LOOKS:
        return looks
    first = min((warning["step"] for warning in one["warnings"]), default=0)
    at = next((place for place, look in enumerate(looks) if look["step"] >= first), len(looks) - 1)
    places = sorted({0, max(at - 1, 0), at, len(looks) - 1})
    return [looks[place] for place in places]


def _title(one: JsonObject, look: JsonObject) -> str:
    """The step of a look, and what warned between it and the look before."""
    before = max((other["step"] for other in one["looks"] if other["step"] < look["step"]), default=0)
    told = dict.fromkeys(warning["monitor"] for warning in one["warnings"] if before < warning["step"] <= look["step"])
    return f"step {look['step']:,}" + (f": {', '.join(told)}" if told else "")


def _rings(look: JsonObject) -> dict[str, list[tuple[int, int]]]:
    """Where rings stand, (key, query), by the outcome of the read."""
    found: dict[str, list[tuple[int, int]]] = {"correct": [], "wrong": []}
    for (query, source), wrong in zip(look["reads"], look["wrong"], strict=True):
        if source >= 0:
            found["wrong" if wrong else "correct"].append((source, query))
    return found


def draw(axes: Any, figure: AttentionMaps) -> None:
    """Draw the maps with matplotlib, in the place of ``axes``."""
    from matplotlib.colors import LinearSegmentedColormap

    sheet = axes.figure
    axes.remove()
    columns, rows = len(figure.looks), len(figure.rows)
    sheet.set_size_inches(2.4 * columns + 0.6, 2.3 * rows + 0.9)
    sheet.suptitle(figure.title, x=0.01, ha="left", fontsize=10)
    shades = LinearSegmentedColormap.from_list("attention", [_LIGHT, _DARK])
    grid = sheet.subplots(rows, columns, squeeze=False)
    for row, name in enumerate(figure.rows):
        for column, look in enumerate(figure.looks):
            one, tokens = grid[row][column], look["tokens"]
            one.imshow(look["panels"][name], cmap=shades, vmin=0, vmax=1, interpolation="nearest")
            for outcome, places in _rings(look).items():
                x, y = ([place[side] for place in places] for side in (0, 1))
                one.scatter(x, y, s=400 / len(tokens), facecolors="none", edgecolors=OUTCOMES[outcome], linewidths=0.9)
            size = min(6.0, 110 / len(tokens))
            one.set_xticks(range(len(tokens)), tokens, fontsize=size)
            one.set_yticks(range(len(tokens)), tokens, fontsize=size)
            one.tick_params(length=0, pad=1)
            one.grid(visible=False)
            if row == 0:
                one.set_title(_broken(look["title"]), fontsize=7)
            if column == 0:
                one.set_ylabel(name, fontsize=7)


def _broken(title: str) -> str:
    return title.replace(": ", ":\n", 1).replace(", ", ",\n")


def chart(figure: AttentionMaps) -> JsonObject:
    """Return ``data`` and ``layout`` as plotly.js reads them."""
    columns, rows = len(figure.looks), len(figure.rows)
    data: list[JsonObject] = []
    titles = []
    layout: JsonObject = {
        "margin": {"l": 12, "r": 16, "t": 44, "b": 12},
        "showlegend": False,
        "hovermode": "closest",
        "meta": {"height": 70 + 230 * rows},
    }
    for row, name in enumerate(figure.rows):
        for column, look in enumerate(figure.looks):
            number = row * columns + column + 1
            suffix = "" if number == 1 else str(number)
            left, right = _part(column, columns, 0.03)
            low, high = _part(rows - 1 - row, rows, 0.1)
            ticks = {"tickvals": list(range(len(look["tokens"]))), "ticktext": [escape(one) for one in look["tokens"]]}
            shared = {**ticks, "tickfont": {"size": 7}, "zeroline": False, "showgrid": False}
            layout[f"xaxis{suffix}"] = {**shared, "domain": [left, right], "anchor": f"y{suffix}"}
            layout[f"yaxis{suffix}"] = {
                **shared,
                "domain": [low, high],
                "anchor": f"x{suffix}",
                "autorange": "reversed",
            }
            data += _traces(look, name, {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
            above = f"{escape(look['title'])}<br>" if row == 0 else ""
            place = {"xref": "paper", "yref": "paper", "x": (left + right) / 2, "y": high}
            anchor = {"xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 9}}
            titles.append({"text": above + escape(name), **place, **anchor})
    return {"data": data, "layout": layout | {"annotations": titles}}


def _part(place: int, of: int, gap: float) -> tuple[float, float]:
    """Where the part ``place`` of so many begins and ends in 0 … 1, with a gap between them."""
    size = (1 - gap * (of - 1)) / of
    return round(place * (size + gap), 4), round(place * (size + gap) + size, 4)


def _traces(look: JsonObject, panel: str, axes: JsonObject) -> list[JsonObject]:
    """A map and its rings."""
    tokens = len(look["tokens"])
    traces: list[JsonObject] = [
        {
            "type": "heatmap",
            "z": look["panels"][panel],
            "zmin": 0,
            "zmax": 1,
            "showscale": False,
            "colorscale": [[0, _LIGHT], [1, _DARK]],
            "hovertemplate": "query %{y}, key %{x}: %{z}<extra></extra>",
        }
    ]
    for outcome, places in _rings(look).items():
        marker = {"symbol": "circle-open", "color": OUTCOMES[outcome], "size": max(4, 160 // tokens)}
        points = {"x": [x for x, _ in places], "y": [y for _, y in places]}
        traces.append({"type": "scatter", "mode": "markers", "hoverinfo": "skip", "marker": marker, **points})
    return [trace | axes for trace in traces]
