"""Figures for the page: traces and layouts as plotly.js reads them. The page sets the theme's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from ffprompt._util.records import JsonObject
from ffprompt.report.figures import attention, depth, diagnosis_map
from ffprompt.report.figures.palette import NEUTRAL, colour
from ffprompt.report.figures.series import Figure, RateAxis, Series

_SYMBOLS = {"circle": "circle", "cross": "x", "triangle": "triangle-up", "down": "triangle-down"}


def plotly_js() -> str:
    """The library, to be put into the page.

    Raises:
        ImportError: where plotly is not installed.
    """
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def chart(figure: Figure) -> JsonObject:
    """``data`` and ``layout`` of a figure."""
    if isinstance(figure, depth.HeatMap):
        return depth.chart(figure)
    if isinstance(figure, diagnosis_map.RoleMap):
        return diagnosis_map.chart(figure)
    if isinstance(figure, attention.AttentionMaps):
        return attention.chart(figure)
    layout: JsonObject = {
        "xaxis": {"title": {"text": escape(figure.x_title)}, "automargin": True},
        "yaxis": {"title": {"text": escape(figure.y_title)}, "automargin": True},
        "hovermode": "closest",
        "showlegend": figure.stacked or sum(not one.twin for one in figure.series) > 1,
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "xanchor": "left"},
        "margin": {"l": 12, "r": 16, "t": 8, "b": 12},
    }
    if figure.placed:
        # The theme writes the names.
        layout["yaxis"] |= {"tickvals": list(range(len(figure.categories))), "ticktext": list(figure.categories)}
    elif figure.categories:
        # Drawn from the bottom up, so the first comes last; the theme writes the names.
        layout["yaxis"] |= {"categoryorder": "array", "categoryarray": list(reversed(figure.categories))}
    if figure.x_values:
        ticks = {"tickvals": list(figure.x_values), "ticktext": [f"{value:g}" for value in figure.x_values]}
        layout["xaxis"] |= {"type": "log", **ticks}
    for letter, rates in (("x", figure.x_rates), ("y", figure.y_rates)):
        if rates is not None:
            _logarithmic(layout, letter, rates)
    if figure.x_mark is not None:
        ends = {"x0": figure.x_mark, "x1": figure.x_mark, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
        line = {"color": NEUTRAL, "width": 1.5, "dash": "dash"}
        layout.setdefault("shapes", []).append({"type": "line", "layer": "below", "line": line} | ends)
    if figure.x_dates:
        layout["xaxis"]["type"] = "date"
    if figure.x_range:
        layout["xaxis"] |= {"range": list(figure.x_range), "tickformat": ".0%"}
    if figure.stacked:
        layout |= {"barmode": "stack", "bargap": 0.3}
    return {"data": [_trace(one, n, figure) for n, one in enumerate(figure.series)], "layout": layout}


def _logarithmic(layout: JsonObject, letter: str, rates: RateAxis) -> None:
    """An axis of rates, with a shaded strip in which an exact 0 is drawn."""
    layout[f"{letter}axis"] |= {
        "type": "log",
        "range": [math.log10(rates.low), math.log10(rates.high)],
        "tickvals": [value for value, _ in rates.ticks],
        "ticktext": [text for _, text in rates.ticks],
        "zeroline": False,
    }
    if rates.band:
        other = "y" if letter == "x" else "x"
        ends = {f"{letter}0": rates.band[0], f"{letter}1": rates.band[1], f"{other}0": 0, f"{other}1": 1}
        strip = {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": NEUTRAL, "opacity": 0.16}
        layout.setdefault("shapes", []).append(strip | ends | {f"{letter}ref": letter, f"{other}ref": "paper"})


def _trace(series: Series, number: int, figure: Figure) -> JsonObject:
    shade = colour(series.colour)
    made: JsonObject = {
        "name": escape(series.name),
        "x": list(series.x),
        "y": list(series.y),
        "hovertext": [escape(text).replace("\n", "<br>") for text in series.hover],
        "hoverinfo": "text" if series.hover else "skip",
        "legendgroup": series.group or str(number - 1 if series.twin else number),
        "showlegend": not series.twin,
    }
    if series.shift:
        made["meta"] = {"shift": series.shift}  # the page moves what is drawn, and the numbers stay
    if not len(series.x) and not series.twin:
        made |= {"x": [None], "y": [None]}  # an entry in the legend alone
    if series.style == "bars":
        return made | {"type": "bar", "orientation": "h", "marker": {"color": shade}}
    if series.style == "shape":
        look = {"mode": "lines", "fill": "toself", "line": {"color": shade, "width": 1}, "opacity": 0.35}
        return made | {"type": "scatter", "hoverinfo": "skip"} | look
    symbol = _SYMBOLS[series.symbol] + ("-open" if series.hollow else "")
    styles: dict[str, JsonObject] = {
        "points": {"mode": "markers", "marker": {"color": shade, "size": 9, "symbol": symbol}},
        "line": {"mode": "lines+markers", "marker": {"color": shade, "size": 8, "symbol": symbol}},
        "curve": {"mode": "lines", "line": {"color": shade, "width": 1.2}},
        "rule": {"mode": "lines", "line": {"color": shade, "dash": "dash", "width": 1.5}},
        "ticks": {
            "mode": "markers",
            "marker": {
                "color": shade,
                "size": 44 if figure.placed else 14,
                "symbol": "line-ns-open",
                "line": {"width": 2},
            },
        },
    }
    made |= {"type": "scatter", **styles[series.style]}
    if series.style == "line":
        made["line"] = {"color": shade, "width": 2}
        if figure.x_dates and len(series.x) < 2:
            made["mode"] = "markers"
    made |= _bounds("error_y", series.y, series.low, series.high, shade)
    made |= _bounds("error_x", series.x, series.x_low, series.x_high, shade)
    return made


def _bounds(
    name: str, at: Sequence[Any], low: Sequence[float | None] | None, high: Sequence[float | None] | None, shade: str
) -> JsonObject:
    if low is None or high is None:
        return {}
    up = [None if top is None else top - value for top, value in zip(high, at, strict=True)]
    down = [None if bottom is None else value - bottom for bottom, value in zip(low, at, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": up, "arrayminus": down}
    return {name: bars | {"color": shade, "thickness": 1.5, "width": 4}}
