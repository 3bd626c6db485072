"""The figures of a report as data: which series, which axes. Two renderers draw them, for the page and as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ffprompt._util.formatting import share
from ffprompt._util.records import JsonObject
from ffprompt.report.figures.error_rates import by_length as errors_by_length
from ffprompt.report.figures.series import (
    MOST_BARS,
    MOST_SERIES,
    MOST_WITH_BARS,
    Figure,
    Series,
    barless,
    common,
    describe,
    fewer,
    marked,
    short,
)
from ffprompt.report.figures.trainings import figures as of_trainings
from ffprompt.report.source import OUTCOMES


def figures(data: JsonObject) -> list[Figure]:
    """All figures that the data of a report give; one without a point is left out."""
    found = [*of_trainings(data["study"])] if data["study"] else []
    found += [_accuracies(data["rows"]), *_by_length(data["lengths"]), *errors_by_length(data["lengths"])]
    found += [_tails(data["tails"]), _trend(data["trend"])]
    found += [*_gaps(data["rows"])]
    found += [figure for facet in _FACETS for figure in _cells(data["rows"], *facet)]
    found += [_reliability(data["rows"]), _outcomes(data["rows"])]
    return [figure for figure in found if figure is not None and any(len(one.x) for one in figure.series)]


def _accuracies(rows: Sequence[JsonObject]) -> Figure | None:
    having = [row for row in rows if row["accuracy"] is not None]
    shown = having[:MOST_BARS]
    plain, shared = short([row["name"] for row in shown])
    names = [marked(name, row["incomplete"]) for name, row in zip(plain, shown, strict=True)]
    series = []
    for incomplete in (False, True):
        here = [(row, name) for row, name in zip(shown, names, strict=True) if row["incomplete"] == incomplete]
        series.append(
            Series(
                "not complete †" if incomplete else "accuracy, 95% interval",
                [row["accuracy"] for row, _ in here],
                [name for _, name in here],
                "points",
                0,
                x_low=[row["interval_low"] for row, _ in here],
                x_high=[row["interval_high"] for row, _ in here],
                hover=[describe(row["name"], row) for row, _ in here],
                hollow=incomplete,
            )
        )
    floors = [(row, name) for row, name in zip(shown, names, strict=True) if row["floor"] is not None]
    rules = [f"{row['name']}\nfloor {share(row['floor'])} {row['floor_rule']}" for row, _ in floors]
    at = ([row["floor"] for row, _ in floors], [name for _, name in floors])
    series.append(Series("floor: best rule without memory", *at, "ticks", None, hover=rules))
    note = fewer(
        "Left of its floor, a model has not shown that it remembers anything.", len(shown), len(having), "rows"
    )
    made = [one for one in series if len(one.x)]
    return Figure("accuracy", "Accuracy and floor", common(note, shared), "accuracy", "", made, categories=names)


def _by_length(lengths: Sequence[JsonObject]) -> list[Figure | None]:
    """One figure an elicitation: they are different measurements."""
    found: list[Figure | None] = []
    for elicitation in dict.fromkeys(one["elicitation"] for one in lengths):
        mine = [one for one in lengths if one["elicitation"] == elicitation]
        shown = mine[:MOST_SERIES]
        if not any(len(one["points"]) > 1 for one in mine):
            continue
        series, lengths_seen = [], set()
        names, shared = short([one["name"] for one in shown])
        for number, one in enumerate(shown):
            points = one["points"]
            x = [point["length"] for point in points]
            lengths_seen |= set(x)
            incomplete = any(point["incomplete"] for point in points)
            series.append(
                Series(
                    marked(names[number], incomplete),
                    x,
                    [point["accuracy"] for point in points],
                    "line",
                    number,
                    low=[point["interval_low"] for point in points],
                    high=[point["interval_high"] for point in points],
                    hover=[describe(f"{one['name']}\nT = {point['length']}", point) for point in points],
                    hollow=incomplete,
                )
            )
            floors = [point for point in points if point["floor"] is not None]
            texts = [f"floor at T = {p['length']}: {share(p['floor'])} {p['floor_rule']}" for p in floors]
            at = ([point["length"] for point in floors], [point["floor"] for point in floors])
            series.append(Series("floor", *at, "rule", number, hover=texts, twin=True))
        note = fewer("Dashed: the best rule without memory on the same reads.", len(shown), len(mine), "series")
        name, title = f"length-{elicitation}", f"Accuracy against length, {elicitation}"
        ticks = sorted(lengths_seen)
        found.append(
            Figure(name, title, common(note, shared), "T, symbols in a string", "accuracy", series, x_values=ticks)
        )
    return found


def _tails(pairs: Sequence[JsonObject]) -> Figure | None:
    series = []
    names, shared = short([pair["name"] for pair in pairs[:MOST_SERIES]])
    for number, pair in enumerate(pairs[:MOST_SERIES]):
        sparse, dense = pair["sparse"], pair["dense"]
        incomplete = sparse["incomplete"] or dense["incomplete"]
        series.append(
            Series(
                marked(names[number], incomplete),
                [sparse["accuracy"]],
                [dense["accuracy"]],
                "points",
                number,
                low=[dense["interval_low"]],
                high=[dense["interval_high"]],
                x_low=[sparse["interval_low"]],
                x_high=[sparse["interval_high"]],
                hover=[f"{describe('FFL(0.98)', sparse)}\n{describe('FFL(0.1)', dense)}"],
                hollow=incomplete,
            )
        )
    note = fewer("The paper's two tails: few reads, far from their write, and many.", len(series), len(pairs), "pairs")
    axes = ("accuracy on FFL(0.98), sparse", "accuracy on FFL(0.1), dense")
    return Figure("tails", "Sparse against dense", common(note, shared), *axes, series)


def _trend(trend: Sequence[JsonObject]) -> Figure | None:
    series = []
    names, shared = short([one["name"] for one in trend[:MOST_SERIES]])
    for number, one in enumerate(trend[:MOST_SERIES]):
        points = one["points"]
        incomplete = any(point["incomplete"] for point in points)
        series.append(
            Series(
                marked(names[number], incomplete),
                [point["started"] for point in points],
                [point["accuracy"] for point in points],
                "line",
                number,
                low=[point["interval_low"] for point in points],
                high=[point["interval_high"] for point in points],
                hover=[describe(point["label"], point) for point in points],
                hollow=incomplete,
            )
        )
    note = fewer("One model under one condition, run after run.", len(series), len(trend), "series")
    return Figure("trend", "Accuracy over time", common(note, shared), "run started", "accuracy", series, x_dates=True)


def _gaps(rows: Sequence[JsonObject]) -> list[Figure | None]:
    """One figure an elicitation, as for the lengths."""
    found: list[Figure | None] = []
    for elicitation in dict.fromkeys(row["elicitation"] for row in rows):
        mine = [row for row in rows if row["elicitation"] == elicitation and len(row["gaps"]) > 1]
        series = []
        names, shared = short([row["name"] for row in mine[:MOST_SERIES]])
        for number, row in enumerate(mine[:MOST_SERIES]):
            points = row["gaps"]
            hover = []
            for point in points:
                span = f"{point['from']} to {point['to']}" if point["to"] > point["from"] else str(point["to"])
                hover.append(
                    f"{row['name']}\ngap {span}\naccuracy {share(point['accuracy'])} ({share(point['low'])} to "
                    f"{share(point['high'])})\n{point['reads']:,} reads of {point['strings']:,} strings"
                )
            values = {name: [point[name] for point in points] for name in ("mean_gap", "accuracy", "low", "high")}
            name = marked(names[number], row["incomplete"])
            x, y, low, high = values.values()
            ends = (low, high) if len(mine) <= MOST_WITH_BARS else (None, None)
            series.append(
                Series(name, x, y, "line", number, low=ends[0], high=ends[1], hover=hover, hollow=row["incomplete"])
            )
        note = "Gap: instructions since the write that is asked for; reads in bins of 1, 2, 3 to 4, 5 to 8 and so on."
        note = fewer(barless(note, len(mine)), len(series), len(mine), "conditions")
        longest = max((point["to"] for row in mine for point in row["gaps"]), default=1)
        ticks = [2.0**power for power in range(int(longest).bit_length())]
        title = f"Accuracy by gap, {elicitation}"
        found.append(
            Figure(f"gap-{elicitation}", title, common(note, shared), "gap", "accuracy", series, x_values=ticks)
        )
    return found


# Key in the anatomy, title, what x counts, note.
_FACETS = (
    (
        "by_contradictions",
        "Accuracy by contradicting ignores",
        "ignores since the write that show another symbol",
        "The more of them, the more a model that copies the last symbol errs; bins of 0, 1, 2, 3 to 4 and so on.",
    ),
    (
        "by_position",
        "Accuracy by position",
        "instruction at which the read stands",
        "Tenths of the string. A curve that falls says that the bit is lost with length and not only with distance.",
    ),
)


def _cells(rows: Sequence[JsonObject], key: str, title: str, counted: str, note: str) -> Iterator[Figure]:
    """Accuracy in the cells of one part of the anatomy, one figure an elicitation."""
    for elicitation in dict.fromkeys(row["elicitation"] for row in rows):
        mine = [row for row in rows if row["elicitation"] == elicitation and len(row["anatomy"][key]) > 1]
        if mine:
            series = _curves(mine, key, counted)
            said = fewer(barless(note, len(mine)), len(series), len(mine), "conditions")
            said = common(said, short([row["name"] for row in mine[:MOST_SERIES]])[1])
            name = f"{key.replace('_', '-')}-{elicitation}"
            yield Figure(name, f"{title}, {elicitation}", said, counted, "accuracy", series)


def _curves(mine: Sequence[JsonObject], key: str, counted: str) -> list[Series]:
    """A curve a condition, its points at the middle of each cell."""
    series = []
    names, _ = short([row["name"] for row in mine[:MOST_SERIES]])
    for number, row in enumerate(mine[:MOST_SERIES]):
        cells = row["anatomy"][key]
        hover = [
            f"{row['name']}\n{one['label']} {counted}\naccuracy {share(one['accuracy'])} ({share(one['low'])} to "
            f"{share(one['high'])})\n{one['reads']:,} reads of {one['strings']:,} strings"
            for one in cells
        ]
        x = [(one["from"] + one["to"]) / 2 for one in cells]
        y, low, high = ([one[name] for one in cells] for name in ("accuracy", "low", "high"))
        ends = (low, high) if len(mine) <= MOST_WITH_BARS else (None, None)
        name = marked(names[number], row["incomplete"])
        series.append(
            Series(name, x, y, "line", number, low=ends[0], high=ends[1], hover=hover, hollow=row["incomplete"])
        )
    return series


def _reliability(rows: Sequence[JsonObject]) -> Figure | None:
    mine = [row for row in rows if row["reliability"]]
    if not mine:
        return None
    series = []
    names, shared = short([row["name"] for row in mine[:MOST_SERIES]])
    for number, row in enumerate(mine[:MOST_SERIES]):
        found = row["reliability"]
        hover = [
            f"{row['name']}\nprobability {share(one['probability'])}, right {share(one['accuracy'])}\n"
            f"{one['reads']:,} reads of {one['strings']:,} strings\ncalibration error {share(found['ece'])} "
            f"({share(found['ece_low'])} to {share(found['ece_high'])})"
            for one in found["bins"]
        ]
        x, y, low, high = ([one[name] for one in found["bins"]] for name in ("probability", "accuracy", "low", "high"))
        name = marked(names[number], row["incomplete"])
        ends = (low, high) if len(mine) <= MOST_WITH_BARS else (None, None)
        series.append(
            Series(name, x, y, "line", number, low=ends[0], high=ends[1], hover=hover, hollow=row["incomplete"])
        )
    series.append(Series("calibrated", [0.0, 1.0], [0.0, 1.0], "rule", None))
    note = "Probability of the answer chosen, among the answers. Below the dashed line a model is too sure."
    note = fewer(barless(note, len(mine)), len(mine[:MOST_SERIES]), len(mine), "conditions")
    left_out = sum(row["reliability"]["left_out"] for row in mine)
    if left_out:
        note += f" {left_out:,} reads whose probabilities are only known as bounds are not in it."
    return Figure("reliability", "Reliability", common(note, shared), "probability", "share right", series)


def _outcomes(rows: Sequence[JsonObject]) -> Figure | None:
    having = [row for row in rows if row["reads"]]
    shown = having[:MOST_BARS]
    plain, shared = short([row["name"] for row in shown])
    names = [marked(name, row["incomplete"]) for name, row in zip(plain, shown, strict=True)]
    series = []
    for outcome in OUTCOMES:
        counts = [row["outcomes"].get(outcome, 0) for row in shown]
        if any(counts):
            parts = [count / row["reads"] for count, row in zip(counts, shown, strict=True)]
            texts = [
                f"{row['name']}\n{count:,} of {row['reads']:,} reads {outcome}"
                for count, row in zip(counts, shown, strict=True)
            ]
            series.append(Series(outcome, parts, names, "bars", outcome, hover=texts))
    note = fewer("What became of the reads; counts are in the table.", len(shown), len(having), "rows")
    axes = ("share of reads", "")
    return Figure(
        "outcomes", "Outcomes", common(note, shared), *axes, series, categories=names, stacked=True, x_range=(0, 1)
    )
