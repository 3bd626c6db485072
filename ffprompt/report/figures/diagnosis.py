"""The figures of a diagnosis: map of heads, kinds of errors, dilution, layers, and what taking heads away does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ffprompt._util.records import JsonObject
from ffprompt.report.diagnosis import MOST_CONDITIONS, RunDiagnosis, interval
from ffprompt.report.figures import diagnosis_layers
from ffprompt.report.figures.diagnosis_layers import line
from ffprompt.report.figures.diagnosis_map import head_map, read_map
from ffprompt.report.figures.series import Figure, Series, aside, numbered

_HEADS = 3  # that are drawn beside the mean of the best ones
_KINDS = {
    "dilution": 0, "stale: first": 7, "stale: previous": 1, "stale: other": 5, "distractor": 3, "echo": 4,
    "answer since the write": 6, "sink": None, "elsewhere": 8,
}  # fmt: skip
_SAID = {
    "dilution": "the write itself (dilution)",
    "distractor": "an ignored value",
    "sink": "the first token or a sink",
}
_CUTS = {"write": "no write", "stale": "no earlier writes", "ignored": "no ignored values", "first": "no first token"}


def figures(found: Sequence[RunDiagnosis]) -> list[Figure]:
    """Return the figures of all diagnoses, each named ``diagnosis-…``."""
    drawn: dict[str, list[Figure]] = {}
    for one in found:
        for figure in _of_run(one):
            drawn.setdefault(figure.name, []).append(figure)
    return [figure for same in drawn.values() for figure in numbered(same)]


def _of_run(one: RunDiagnosis) -> Iterator[Figure]:
    conditions = one.found["conditions"]
    shown = [place for place, condition in enumerate(conditions) if condition["heads"] is not None][:MOST_CONDITIONS]
    yield from (head_map(one, place) for place in shown)
    if shown:
        yield _kinds(one)
    for group in one.found["dilution"]:
        for axis in ("competitors", "gap"):
            yield from (_dilution(one, group, axis, what) for what in ("mass", "margin"))
    yield from filter(None, [*(_ablation(one, place) for place in shown), _cuts(one)])
    yield from diagnosis_layers.figures(one)
    read = read_map(one)
    if read is not None:
        yield read


def _kinds(one: RunDiagnosis) -> Figure:
    """What is on top among values at wrong and at right reads, as bars of shares."""
    rows: list[tuple[str, dict[str, float]]] = []
    for name, condition in zip(one.names, one.found["conditions"], strict=True):
        for side in ("wrong", "right") if condition["errors"] else ():
            kinds = [kind for kind in condition["errors"]["of_values"] if kind[side] is not None]
            if kinds:
                count = kinds[0][side]["reads"]
                label = f"{name} · {side}, {count:,} read{'s' * (count != 1)}"
                rows.append((label, {kind["kind"]: kind[side]["estimate"] for kind in kinds}))
    rows = rows[: 4 * MOST_CONDITIONS]
    names = [name for name, _ in rows]
    series = [
        Series(
            _SAID.get(kind, kind),
            [shares.get(kind, 0.0) for _, shares in rows],
            names,
            "bars",
            shade,
            hover=[f"{name}\n{kind}: {shares.get(kind, 0.0):.2f}" for name, shares in rows],
        )
        for kind, shade in _KINDS.items()
        if any(shares.get(kind) for _, shares in rows)
    ]
    note = (
        "What the heads with the most attention on the write have on top among the tokens that hold a symbol. A kind "
        "that is as frequent at right reads explains nothing."
    )
    return Figure(
        "diagnosis-kinds", "What is on top at wrong and at right reads", note, "share of reads", "", series,
        categories=names, stacked=True, x_range=(0, 1),
    )  # fmt: skip


def _dilution(one: RunDiagnosis, group: JsonObject, axis: str, what: str) -> Figure:
    """Attention on the write, or the margin, against competitors or against the gap."""
    series = []
    ticks: set[int] = set()
    for number, head in enumerate(group["heads"][: _HEADS + 1]):
        name = "mean of the best heads" if head["head"] == "best" else head["head"]
        points = [(_end(point["label"]), point) for point in head[f"by_{axis}"]]
        points = [(end, point) for end, point in points if end and point[what] is not None]
        ticks |= {end for end, _ in points}
        series.append(line(name, [(end, point[what]) for end, point in points], number, "up to {:g}".format))
    slope = interval(group["heads"][0][f"{what}_on_{axis}"], signed=True)
    quantity = "attention on the write" if what == "mass" else "margin of the write (logits)"
    along = "values in the prompt that compete" if axis == "competitors" else "instructions since the write"
    pure = " -1 would be pure dilution." if (what, axis) == ("margin", "competitors") else ""
    note = (
        f"A mark holds the reads from half its place to its place. Bars are 95% intervals over strings. Slope of the "
        f"mean of the best heads on the logarithm, with the other axis held fixed: {slope}.{pure}"
    )
    title = f"{'Attention on the write' if what == 'mass' else 'Margin of the write'}, by {axis}"
    return Figure(
        f"diagnosis-{what}-{axis}", title, note, along, quantity, aside(series, logarithmic=True),
        x_values=sorted(ticks), subtitle=", ".join(one.names) if len(one.names) <= MOST_CONDITIONS else "",
    )  # fmt: skip


def _end(label: str) -> int:
    """The upper end of a bin: 8 of ``5–8``."""
    return int(label.rsplit("–", 1)[-1])


def _ablation(one: RunDiagnosis, place: int) -> Figure | None:
    """Errors by the number of heads taken away: the chosen ones, and random ones of the same layers."""
    tested = one.found["conditions"][place]["ablation"]
    if tested is None or not tested["removed"] or tested["whole"] is None:
        return None
    removed = [made for made in tested["removed"] if made["error"] is not None]
    series = []
    for number, (name, key) in enumerate(
        (
            ("heads with the most attention on the write", "error"),
            ("random heads of the same layers, mean", "random_error"),
        )
    ):
        points = [(0, tested["whole"]), *((made["count"], made[key]) for made in removed)]
        series.append(line(name, points, number, "{:g} taken away".format))
    sets = [(made["count"], rate) for made in removed for rate in made["random"]]
    each = Series(
        "each random set", [count for count, _ in sets], [rate for _, rate in sets], "points", None, hollow=True,
        hover=[f"a random set of {count}: {rate:.2f}" for count, rate in sets],
    )  # fmt: skip
    how = "its mean output" if tested["mode"] == "mean" else "zero"
    stayed = ", attention stayed as it was" if tested["frozen"] else ""
    note = (
        f"Heads were ranked on {tested['ranked_on']} strings and taken away on the other {tested['tested_on']}. "
        f"{how.capitalize()} took their place{stayed}. Bars are 95% intervals over strings."
    )
    return Figure(
        "diagnosis-ablation", "Errors without some heads", note, "heads taken away", "error rate",
        [*aside(series), each], subtitle=one.names[place],
    )  # fmt: skip


def _cuts(one: RunDiagnosis) -> Figure | None:
    """How the error rate changes when reads do not see the tokens of a role."""
    rows = [
        (f"{name} · {_CUTS[cut['role']]}", cut["difference"], cut["error"])
        for name, condition in zip(one.names[:MOST_CONDITIONS], one.found["conditions"], strict=False)
        if condition["ablation"] is not None
        for cut in condition["ablation"]["cuts"]
        if cut["difference"] is not None
    ]
    if not rows:
        return None
    series = Series(
        "change of the error rate",
        [change["estimate"] for _, change, _ in rows],
        [name for name, _, _ in rows],
        "points",
        0,
        x_low=[change["low"] for _, change, _ in rows],
        x_high=[change["high"] for _, change, _ in rows],
        hover=[f"{name}\nchange {interval(change, signed=True)}, to {interval(error)}" for name, change, error in rows],
    )
    note = (
        "No head sees these tokens at a read. Right of 0, errors become more: the reads need them. Left of 0, errors "
        "become fewer: the reads are led astray by them. Bars are 95% intervals over strings."
    )
    return Figure(
        "diagnosis-cuts", "Errors when reads do not see some tokens", note, "change of the error rate", "", [series],
        categories=[name for name, _, _ in rows], x_mark=0.0,
    )  # fmt: skip
