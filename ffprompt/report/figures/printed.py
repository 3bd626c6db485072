"""Figures as files for print: PDF, PNG and SVG by matplotlib, from the same data as the page's."""

from __future__ import annotations

import datetime as dt
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.extras import needs
from ffprompt.errors import ConfigError, StoreError
from ffprompt.report.figures import attention, depth, diagnosis_map
from ffprompt.report.figures.palette import NEUTRAL, colour
from ffprompt.report.figures.series import Figure, RateAxis

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Sheet

_WIDTH, _HEIGHT = 7.0, 4.2  # inches
_SMALL = 7  # points, of names
_LINE = 0.13  # inches, of a line of names
_NAME = 34  # characters of a line of a name beside its row
_COLUMNS = 4  # most of a legend
_FOLDS = (110, 80, 60, 40, 20)  # characters of a line of a legend, the first that fits
_MARKERS = {"circle": "o", "cross": "x", "triangle": "^", "down": "v"}
_GAP = float("nan")  # breaks a line


# Kinds of files, and what is put into them so that the same data give the same bytes.
KINDS: Mapping[str, Mapping[str, None]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}


def writable(target: Path, figures: int | None = None) -> None:
    """Check where figures are to be written: into a folder, or a single one into a file.

    ``figures`` is how many there are, None where that is not known yet.

    Raises:
        ConfigError: The target has the ending of a file of another kind, or of one that several figures do not fit in.
        StoreError: It is a file where a folder was expected, or the other way round, or its folder is not there.
    """
    kind = target.suffix[1:].lower()
    kinds = " or ".join(f".{name}" for name in KINDS)
    if not kind:
        if target.exists() and not target.is_dir():
            raise StoreError(f"--figures {target}: a file of that name is there; expected a folder")
        return
    if target.is_dir() and kind not in KINDS:
        return
    if kind not in KINDS:
        raise ConfigError(f"--figures {target}: expected a folder, or the name of one file that ends in {kinds}")
    if target.is_dir():
        raise StoreError(f"--figures {target}: a folder of that name is there; expected the name of a file")
    if figures is not None and figures != 1:
        raise ConfigError(
            f"--figures {target}: one file holds one figure, and there are {figures}; expected the name of a folder, "
            f"such as {target.with_suffix('')}"
        )
    if not target.parent.is_dir():
        raise StoreError(f"--figures {target}: the folder {target.parent} is not there")


def save(figures: Sequence[Figure], target: Path) -> list[Path]:
    """Write figures as PDF, PNG and SVG into a folder, or a single figure into the one file that is named.

    Returns:
        The files that were written.

    Raises:
        ModelError: matplotlib is not installed.
        ConfigError: The name ends in something else than .pdf, .png or .svg, or there are several figures for it.
        StoreError: A file cannot be written.
    """
    writable(target, len(figures))
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
    except ImportError as error:
        raise needs("a figure as a file", "report", error) from error
    written = []
    # The same data give the same file: element names in an SVG are drawn from this and not at random.
    look: Any = {"svg.hashsalt": "ffprompt", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "pdf.fonttype": 42}
    with mpl.rc_context(look):
        for figure in figures:
            lines = max((_folded(name, _NAME).count("\n") + 1 for name in figure.categories), default=1)
            row = max(0.9 if figure.placed else 0.3, _LINE * lines + 0.05)
            sheet = Sheet(figsize=(_WIDTH, max(_HEIGHT, 1.2 + row * len(figure.categories))), layout="constrained")
            FigureCanvasAgg(sheet)
            with warnings.catch_warnings():
                # A name may hold what the font does not, and is then drawn with a box in its place.
                warnings.filterwarnings("ignore", message="Glyph .* missing from")
                _draw(sheet.add_subplot(), figure)
                written += _written(sheet, figure.name, target)
    return written


def _written(sheet: Sheet, name: str, target: Path) -> list[Path]:
    one = target.suffix[1:].lower() in KINDS and not target.is_dir()
    paths = [target] if one else [target / f"{name}.{kind}" for kind in KINDS]
    try:
        if not one:
            target.mkdir(parents=True, exist_ok=True)
        for path in paths:
            kind = path.suffix[1:].lower()
            sheet.savefig(path, dpi=160, format=kind, metadata=dict(KINDS[kind]))
    except OSError as error:
        raise StoreError(f"figures {target}: cannot be written ({error.strerror or error})") from error
    return paths


def _folded(name: str, width: int) -> str:
    """A name in lines, so that nothing of it is cut. Between its parts where that is possible."""
    lines: list[str] = []
    for part in name.split(" · "):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines += textwrap.wrap(part, width) or [part]
    return "\n".join(lines)


def _legend(sheet: Any, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend below the axes, in as many columns as fit. The sheet grows by the room that it takes."""
    for width, columns in [(_FOLDS[0], n) for n in range(_COLUMNS, 1, -1)] + [(width, 1) for width in _FOLDS]:
        # To matplotlib a name that begins with _ is one to be left out.
        labels = [_plain(_folded(name, width)) for name in names]
        labels = [f" {label}" if label.startswith("_") else label for label in labels]
        legend = sheet.legend(
            handles, labels, loc="outside lower left", fontsize=_SMALL, frameon=False, ncols=min(columns, len(names))
        )
        size = legend.get_window_extent(sheet.canvas.get_renderer())
        if size.width <= 0.98 * sheet.bbox.width or (width, columns) == (_FOLDS[-1], 1):
            break
        legend.remove()
    wide, high = sheet.get_size_inches()
    sheet.set_size_inches(wide, high + size.height / sheet.dpi)


def _plain(text: str) -> str:
    """Text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _draw(axes: Any, figure: Figure) -> None:
    if isinstance(figure, depth.HeatMap):
        depth.draw(axes, figure)
        return
    if isinstance(figure, diagnosis_map.RoleMap):
        handles = diagnosis_map.draw(axes, figure)
        _legend(axes.figure, handles, [handle.get_label() for handle in handles])
        return
    if isinstance(figure, attention.AttentionMaps):
        attention.draw(axes, figure)
        return
    places = {name: place for place, name in enumerate(figure.categories)}
    left = dict.fromkeys(figure.categories, 0.0)
    handles = []
    for series in figure.series:
        x: list[Any] = [dt.datetime.fromisoformat(str(one)) for one in series.x] if figure.x_dates else list(series.x)
        y: list[Any] = [places[one] for one in series.y] if places and not figure.placed else list(series.y)
        if not figure.x_dates:
            x, y = ([_GAP if one is None else one for one in values] for values in (x, y))
        if series.shift:
            x = [one * 10**series.shift if figure.x_values else one + series.shift for one in x]
        shade = colour(series.colour)
        if series.style == "bars":
            drawn = axes.barh(y, x, left=[left[name] for name in series.y], color=shade, height=0.65)
            for name, more in zip(series.y, series.x, strict=True):
                left[name] += more
        elif series.style == "ticks":
            size = 30 if figure.placed else 12
            drawn = axes.plot(x, y, linestyle="none", marker="|", markersize=size, markeredgewidth=2, color=shade)
        elif series.style == "shape":
            drawn = axes.fill(x, y, color=shade, alpha=0.3, linewidth=0)
        elif series.style == "curve":
            drawn = axes.plot(x, y, linewidth=0.9, color=shade)
        elif series.style == "rule":
            drawn = axes.plot(x, y, linestyle="--", linewidth=1, color=shade)
        else:
            line = "-" if series.style == "line" else "none"
            face = "none" if series.hollow else shade
            bounds = {"yerr": _bounds(y, series.low, series.high)} if series.low else {}
            bounds |= {"xerr": _bounds(x, series.x_low, series.x_high)} if series.x_low else {}
            drawn = axes.errorbar(
                x, y, **bounds, linestyle=line, marker=_MARKERS[series.symbol], markersize=5, color=shade,
                markerfacecolor=face, capsize=2, linewidth=1.5, elinewidth=1,
            )  # fmt: skip
        if not series.twin:
            handles.append(drawn[0] if isinstance(drawn, list) else drawn)  # plot and fill give a list
    _axes(axes, figure)
    names = [series.name for series in figure.series if not series.twin]
    if len(names) > 1:
        _legend(axes.figure, handles, names)


def _bounds(
    at: Sequence[Any], low: Sequence[float | None] | None, high: Sequence[float | None] | None
) -> list[list[float]]:
    assert low is not None
    assert high is not None
    # Rounding may put a bound an ulp on the wrong side of its value, which matplotlib refuses.
    down = [_GAP if bottom is None else max(0.0, value - bottom) for value, bottom in zip(at, low, strict=True)]
    return [down, [_GAP if top is None else max(0.0, top - value) for value, top in zip(at, high, strict=True)]]


def _logarithmic(axes: Any, letter: str, rates: RateAxis) -> None:
    getattr(axes, f"set_{letter}scale")("log")
    getattr(axes, f"set_{letter}ticks")([value for value, _ in rates.ticks], [text for _, text in rates.ticks])
    axes.minorticks_off()
    getattr(axes, f"set_{letter}lim")(rates.low, rates.high)
    if rates.band:
        (axes.axvspan if letter == "x" else axes.axhspan)(*rates.band, color=NEUTRAL, alpha=0.16, linewidth=0, zorder=0)


def _axes(axes: Any, figure: Figure) -> None:
    axes.set_title(_plain(figure.title), loc="left", fontsize=10, pad=18 if figure.subtitle else None)
    if figure.subtitle:
        subtitle = _plain(_folded(figure.subtitle, _FOLDS[0]))
        axes.annotate(
            subtitle, (0, 1), xytext=(0, 5), xycoords="axes fraction", textcoords="offset points", fontsize=_SMALL,
            color=NEUTRAL, annotation_clip=False,
        )  # fmt: skip
    if figure.x_mark is not None:
        axes.axvline(figure.x_mark, color=NEUTRAL, linestyle="--", linewidth=1)
    axes.set_xlabel(_plain(figure.x_title))
    axes.set_ylabel(_plain(figure.y_title))
    if figure.categories:
        names = [_plain(_folded(name, _NAME)) for name in figure.categories]
        axes.set_yticks(range(len(names)), names, fontsize=_SMALL)
        axes.set_ylim(len(figure.categories) - 0.5, -0.5)
    if figure.x_values:
        axes.set_xscale("log")
        axes.set_xticks(list(figure.x_values), [f"{value:g}" for value in figure.x_values])
        axes.minorticks_off()
    for letter, rates in (("x", figure.x_rates), ("y", figure.y_rates)):
        if rates is not None:
            _logarithmic(axes, letter, rates)
    if figure.x_range:
        axes.set_xlim(*figure.x_range)
    if figure.x_dates:
        axes.tick_params(axis="x", labelrotation=30)
