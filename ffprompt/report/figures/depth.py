"""The depths that automata need: one row for each task, one column for each number of layers, as in the talk's table.

A cell is the accuracy over all reads after training, the median over seeds. What no training was made for stays empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from statistics import median
from typing import Any

from ffprompt._util.records import JsonObject
from ffprompt.report.figures.series import Figure, Series

# From white at 0 to a blue that is told from its neighbours with the common colour blindnesses.
_LIGHT, _DARK = "#f4f7fb", "#2166ac"
_WHITE_TEXT = 0.62  # accuracies from here on stand on a dark ground


@dataclass(frozen=True)
class HeatMap(Figure):
    """``shares`` (rows, columns) are accuracies from 0 to 1, None where there is none. Rows are ``categories``.

    ``columns`` are the names of the columns. ``series`` holds the same numbers, a series for each column.
    """

    columns: Sequence[str] = ()
    shares: Sequence[Sequence[float | None]] = field(default=())


def depths(study: JsonObject) -> HeatMap | None:
    """Return the figure of a study of several tasks and depths; None for any other study."""
    cells: dict[tuple[str, tuple[str, int]], list[float]] = {}
    for one in study["trainings"]:
        config, architecture = one["provenance"]["config"], one["provenance"]["architecture"]
        for data, found in one["final"].items():
            task = data.split("(")[0]
            cells.setdefault((task, (architecture, int(config.get("layers", 1)))), []).append(1 - found["rate"])
    tasks = list(dict.fromkeys(task for task, _ in cells))
    models = sorted({model for _, model in cells}, key=lambda model: (model[0] != "transformer", model))
    if len(tasks) < 2 or len({layers for _, layers in models}) < 2:
        return None
    shares = [[median(cells[task, model]) if (task, model) in cells else None for model in models] for task in tasks]
    columns = [_column(*model) for model in models]
    series = [
        Series(
            name,
            [row[place] for row in shares if row[place] is not None],
            [task for task, row in zip(tasks, shares, strict=True) if row[place] is not None],
            "points",
            place,
        )
        for place, name in enumerate(columns)
    ]
    return HeatMap(
        "training-depths",
        "Accuracy by task and depth, after training",
        "Share of all reads that are right, in percent; the median where there are several seeds.",
        "layers",
        "",
        series,
        categories=tasks,
        columns=columns,
        shares=shares,
    )


def _column(architecture: str, layers: int) -> str:
    if architecture == "transformer":
        return f"{layers} layer{'s' * (layers != 1)}"
    return architecture.upper() if layers == 1 else f"{architecture.upper()}, {layers} layers"


def percent(share: float | None) -> str:
    """Return an accuracy in percent with one decimal; only what is exactly 1 is ``100``.

    >>> percent(1.0), percent(0.99996), percent(0.454), percent(None)
    ('100', '99.9', '45.4', '')
    """
    if share is None:
        return ""
    return "100" if share == 1 else f"{min(100 * share, 99.9):.1f}"


def draw(axes: Any, figure: HeatMap) -> None:
    """Draw the map with matplotlib."""
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("share", [_LIGHT, _DARK])
    gap = float("nan")
    axes.imshow(
        [[gap if share is None else share for share in row] for row in figure.shares],
        cmap=shades, vmin=0, vmax=1, aspect="auto",
    )  # fmt: skip
    for y, row in enumerate(figure.shares):
        for x, share in enumerate(row):
            dark = share is not None and share > _WHITE_TEXT
            axes.text(x, y, percent(share), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(figure.columns)), figure.columns)
    axes.set_yticks(range(len(figure.categories)), figure.categories)
    axes.set_title(figure.title, loc="left", fontsize=10)
    axes.grid(visible=False)


def chart(figure: HeatMap) -> JsonObject:
    """Return ``data`` and ``layout`` as plotly.js reads them."""
    texts = [[percent(share) for share in row] for row in figure.shares]
    data = {
        "type": "heatmap",
        "x": [escape(name) for name in figure.columns],
        "y": [escape(name) for name in figure.categories],
        "z": [list(row) for row in figure.shares],
        "text": texts,
        "texttemplate": "%{text}",
        "hovertemplate": "%{y}, %{x}: %{text} %<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, _LIGHT], [1, _DARK]],
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    layout = {
        "xaxis": {"title": {"text": ""}, "type": "category", "automargin": True},
        "yaxis": {
            "title": {"text": ""},
            "type": "category",
            "automargin": True,
            # Drawn from the bottom up; the theme writes the names.
            "categoryorder": "array",
            "categoryarray": list(reversed(figure.categories)),
        },
        "hovermode": "closest",
        "showlegend": False,
        "margin": {"l": 12, "r": 16, "t": 8, "b": 12},
    }
    return {"data": [data], "layout": layout}
