"""Maps of a model's heads, and of one read: cells that are coloured by what they attend to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ffprompt._util.records import JsonObject
from ffprompt.report.diagnosis import ROLES, RunDiagnosis, role
from ffprompt.report.figures.series import Figure, Series

# Told apart with the common colour blindnesses, and by the letters in the cells: after Okabe & Ito (2008).
SHADES = {
    "write": "#2f74b5",
    "stale": "#d97a1f",
    "ignored": "#b8559a",
    "answers": "#a8930f",
    "first": "#77808c",
    "rest": "#a9b1bb",
}
LETTERS = {"write": "W", "stale": "S", "ignored": "I", "answers": "E", "first": "F", "rest": "·"}
NAMES = {
    "write": "W write",
    "stale": "S stale",
    "ignored": "I ignored",
    "answers": "E echo of answers",
    "first": "F first token",
    "rest": "· rest",
}


@dataclass(frozen=True)
class RoleMap(Figure):
    """Cells (rows, columns) of (role, share, text), None for an empty one. Rows are ``categories``.

    ``columns`` are the names of the columns, ``numbered`` whether they are numbers. ``hovers`` stand beside the cells.
    ``faintest`` is how much of its shade a cell has at the least.
    """

    columns: Sequence[str] = ()
    cells: Sequence[Sequence[tuple[str, float, str] | None]] = field(default=())
    hovers: Sequence[Sequence[str]] = field(default=())
    numbered: bool = False
    faintest: float = 0.04


def head_map(one: RunDiagnosis, place: int) -> RoleMap:
    """Return the map of all heads in one condition: heads × layers, coloured by role."""
    condition = one.found["conditions"][place]
    heads, layers = int(one.found["heads"]), [int(layer) for layer in one.found["layers"]]
    of = {(head["layer"], head["head"]): head for head in condition["heads"]["heads"]}
    cells: list[list[tuple[str, float, str] | None]] = []
    hovers = []
    for number in range(heads):
        row: list[tuple[str, float, str] | None] = []
        for layer in layers:
            name, share = role(of[layer, number])
            row.append((name, share, LETTERS[name]))
        cells.append(row)
        hovers.append([_told(of[layer, number]) for layer in layers])
    rows = [f"head {number}" for number in range(heads)]
    note = (
        "Each cell is a head, darker with more attention on what it is called after: values of one kind from a tenth "
        "of its attention on, otherwise the first token from 0.3 on, or the rest. Means over reads. A role is no cause."
    )
    return RoleMap(
        "diagnosis-map", "Where each head looks at the reads", note, "layer", "", _legend(cells), categories=rows,
        columns=[str(layer) for layer in layers], cells=cells, hovers=hovers, numbered=True, faintest=0.25,
        subtitle=one.names[place],
    )  # fmt: skip


def _told(head: JsonObject) -> str:
    parts = ", ".join(f"{name} {head[name]:.2f}" for name in (*ROLES, "sink") if name != "sink" or head["sink"])
    return f"{head['name']}\n{parts}\nwrite on top at {head['top1']:.2f} of the reads"


def _legend(cells: Sequence[Sequence[tuple[str, float, str] | None]]) -> list[Series]:
    """A series for each role that a cell has, which the legend names."""
    used = {cell[0] for row in cells for cell in row if cell}
    return [Series(NAMES[name], [place], [0], "points", None) for place, name in enumerate(ROLES) if name in used]


def read_map(one: RunDiagnosis) -> RoleMap | None:
    """Return the first wrong read as a map: heads × instructions. None where no read is wrong."""
    read = next((read for read in one.reads if read["wrong"]), None)
    if read is None:
        return None
    heads = one.heads[read["condition"]][:8]
    columns, roles = folded(read, len(heads))
    cells: list[list[tuple[str, float, str] | None]] = []
    for number in range(len(heads)):
        mass = dict(map(tuple, read["mass"][number]))
        shares = [read["first"][number] / 1000, read["rest"][number] / 1000]
        shares += [sum(mass.get(event, 0) for event in range(low, high)) / 1000 for _, low, high in columns]
        row: list[tuple[str, float, str] | None] = []
        for name, share in zip(("first", "rest", *roles), shares, strict=True):
            row.append((name, share, f"{100 * share:.0f}" if share >= 0.01 else ""))
        cells.append(row)
    names = ["first token", "rest", *(name for name, _, _ in columns)]
    note = (
        f"Attention just before the answer, in percent. The true answer is {read['truth']}, the model's "
        f"{read['answer']}. Instructions with less than 3 % in every head stand together as …"
    )
    return RoleMap(
        "diagnosis-read", f"A wrong read, string {read['string']}", note, "instruction", "", _legend(cells),
        categories=heads, columns=names, cells=cells, subtitle=one.names[read["condition"]],
    )  # fmt: skip


def folded(read: JsonObject, heads: int) -> tuple[list[tuple[str, int, int]], list[str]]:
    """Return the columns of a read, (name, first instruction, last + 1), and the role of each.

    Instructions that no head looks at stand together.
    """
    events = _events(str(read["text"]))[: read["position"]]
    seen = {event for head in read["mass"][:heads] for event, share in head if share >= 30}
    kept = seen | {read["governing"], len(events) - 1}
    columns: list[tuple[str, int, int]] = []
    roles: list[str] = []
    for place, event in enumerate(events):
        if place in kept:
            columns.append((f"{place + 1}: {event}", place, place + 1))
            roles.append(role_of(event, place, read["governing"]))
        elif roles and roles[-1] == "rest":
            _, low, _ = columns[-1]
            columns[-1] = (f"{low + 1}…{place + 1}", low, place + 1)
        else:
            columns.append((f"{place + 1}: {event}", place, place + 1))
            roles.append("rest")
    return columns, roles


def role_of(event: str, place: int, governing: int) -> str:
    """Return what an instruction is to a read."""
    if event[0] == "w":
        return "write" if place == governing else "stale"
    return "ignored" if event[0] == "i" else "answers"


def _events(text: str) -> list[str]:
    found: list[str] = []
    for letter in text:
        if letter.isdigit():
            found[-1] += letter
        else:
            found.append(letter)
    return found


def chart(figure: RoleMap) -> JsonObject:
    """Return ``data`` and ``layout`` as plotly.js reads them."""
    scale: list[list[float | str]] = []
    for place, name in enumerate(ROLES):
        scale += [
            [place / len(ROLES), _tint(name, 0.0, figure.faintest)],
            [(place + 1) / len(ROLES), _tint(name, 1.0, figure.faintest)],
        ]
    data: list[JsonObject] = [
        {
            "type": "heatmap",
            "x": [escape(name) for name in figure.columns],
            "y": [escape(name) for name in figure.categories],
            "z": [[_level(cell) for cell in row] for row in figure.cells],
            "text": [[cell[2] if cell else "" for cell in row] for row in figure.cells],
            "texttemplate": "%{text}",
            "customdata": [[escape(text).replace("\n", "<br>") for text in row] for row in figure.hovers] or None,
            "hovertemplate": "%{customdata}<extra></extra>"
            if figure.hovers
            else "%{y}, %{x}: %{text} %<extra></extra>",
            "zmin": 0,
            "zmax": len(ROLES),
            "colorscale": scale,
            "showscale": False,
            "showlegend": False,
            "xgap": 1,
            "ygap": 1,
        }
    ]
    for one in figure.series:
        name = ROLES[int(one.x[0])]
        marker = {"symbol": "square", "size": 11, "color": SHADES[name]}
        nowhere: JsonObject = {"type": "scatter", "mode": "markers", "x": [None], "y": [None]}
        data.append(nowhere | {"name": one.name, "marker": marker})
    layout = {
        "xaxis": {"title": {"text": escape(figure.x_title)}, "type": "category", "automargin": True, "showgrid": False},
        "yaxis": {
            "title": {"text": ""}, "type": "category", "automargin": True, "showgrid": False,
            "categoryorder": "array", "categoryarray": list(reversed(figure.categories)),
        },
        "hovermode": "closest",
        "showlegend": True,
        "legend": {"orientation": "h"},
        "margin": {"l": 12, "r": 16, "t": 8, "b": 12},
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _level(cell: tuple[str, float, str] | None) -> float | None:
    """Where a cell stands on the scale: the place of its role, and up to 1 more by its share."""
    return None if cell is None else round(ROLES.index(cell[0]) + min(0.999, max(0.001, cell[1])), 4)


def _tint(name: str, share: float, faintest: float) -> str:
    """The shade of a role, mixed with white where the share is small."""
    part = faintest + (1 - faintest) * share
    channels = (int(SHADES[name][at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (channel - 255) * part):02x}" for channel in channels)


def draw(axes: Any, figure: RoleMap) -> list[Any]:
    """Draw the map with matplotlib. Returns the handles of the legend."""
    from matplotlib.patches import Patch

    axes.set_xlim(-0.5, len(figure.columns) - 0.5)
    axes.set_ylim(len(figure.categories) - 0.5, -0.5)
    small = 7 if len(figure.columns) <= 32 else 5
    for y, row in enumerate(figure.cells):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            axes.add_patch(_square(x, y, _tint(cell[0], cell[1], figure.faintest)))
            light = cell[1] < 0.55 or cell[0] == "rest"
            axes.text(x, y, cell[2], ha="center", va="center", fontsize=small, color="black" if light else "white")
    upright = not figure.numbered and len(figure.columns) > 8
    axes.set_xticks(range(len(figure.columns)), figure.columns, rotation=90 if upright else 0, fontsize=small)
    axes.set_yticks(range(len(figure.categories)), figure.categories, fontsize=7)
    axes.set_xlabel(figure.x_title)
    axes.set_title(f"{figure.title}: {figure.subtitle}" if figure.subtitle else figure.title, loc="left", fontsize=10)
    axes.grid(visible=False)
    return [Patch(facecolor=SHADES[ROLES[int(one.x[0])]], label=one.name) for one in figure.series]


def _square(x: int, y: int, shade: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.47, y - 0.47), 0.94, 0.94, facecolor=shade, linewidth=0)
