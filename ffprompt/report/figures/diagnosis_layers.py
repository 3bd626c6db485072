"""The figures of what happens from layer to layer: lens, patching, ranks, lazy layers, and the probe."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ffprompt._util.formatting import counted
from ffprompt._util.records import JsonObject
from ffprompt.report.diagnosis import MOST_CONDITIONS, RunDiagnosis, interval
from ffprompt.report.figures.series import Figure, Series, aside

_MOST_HEADS = 12  # with the largest effects
_PLACES = {
    "write": "the value of the write",
    "between": "tokens between write and read",
    "read": "the token before the answer",
}

_FIRST = "The first token often has a state far from all others."

Points = Sequence[tuple[float, JsonObject | None]]


def figures(one: RunDiagnosis) -> Iterator[Figure]:
    """Yield the figures of a run's layers, as far as they were asked for."""
    conditions = list(zip(one.names, one.found["conditions"], strict=True))[:MOST_CONDITIONS]
    having = _having(conditions, "lens")
    if having:
        yield _lens(having)
    for name, patching in _having(conditions, "patching"):
        yield from _patching(name, patching)
    layers = _having(conditions, "layers")
    if layers:
        yield from _geometry(layers)
    attention = [(name, found["attention"]) for name, found in layers if found["attention"]]
    if attention:
        yield _lazy(attention)
    for name, probe in _having(conditions, "probe"):
        yield _probe(name, probe)


def _having(conditions: Sequence[tuple[str, JsonObject]], key: str) -> list[tuple[str, JsonObject]]:
    return [(name, condition[key]) for name, condition in conditions if condition.get(key)]


def line(name: str, points: Points, number: int | None, said: Callable[[float], str] = "{:g}".format) -> Series:
    """Return a line with intervals through estimates. ``said`` tells a place on the x axis in words."""
    known = [(x, value) for x, value in points if value is not None]
    return Series(
        name,
        [x for x, _ in known],
        [value["estimate"] for _, value in known],
        "line",
        number,
        low=[value["low"] for _, value in known],
        high=[value["high"] for _, value in known],
        hover=[f"{name}, {said(x)}\n{interval(value)}, {counted(value['reads'], 'read')}" for x, value in known],
    )


def _lens(having: Sequence[tuple[str, JsonObject]]) -> Figure:
    """The share of reads whose true answer is ahead, by block."""
    series = [
        line(name, list(enumerate(found["right"])), number, "after block {:g}".format)
        for number, (name, found) in enumerate(having)
    ]
    note = (
        "The state before the answer, read off after each block as if the model ended there. 0 is before the first "
        "block. A state may hold the answer in a form that this reading does not see."
    )
    return Figure(
        "diagnosis-lens", "Where the answer is decided (logit lens)", note, "blocks",
        "reads with the true answer ahead", aside(series),
    )  # fmt: skip


def _patching(name: str, found: JsonObject) -> Iterator[Figure]:
    """The effect of putting the state of the clean string into the flipped one: by layer, and of single heads."""
    series = [
        line(
            said,
            [(one["layer"], one["effect"]) for one in found["groups"] if one["group"] == group],
            number,
            "layer {:g}".format,
        )
        for number, (group, said) in enumerate(_PLACES.items())
    ]
    note = (
        f"In {found['pairs']:,} pairs of strings that differ in the value of the write, the state of one is put into "
        "the other. 1: this alone gives the answer back. 0: it does nothing. Bars are 95% intervals over strings."
    )
    yield Figure(
        "diagnosis-patching", "Where the value of the write is held (patching)", note, "layer",
        "share of the answer that comes back", aside(series), subtitle=name,
    )  # fmt: skip
    heads = sorted((one for one in found["heads"] if one["effect"]), key=lambda one: -abs(one["effect"]["estimate"]))
    if not heads:
        return
    shown = heads[:_MOST_HEADS]
    yield Figure(
        "diagnosis-patching-heads", "Heads that bring the value of the write to the read (patching)",
        f"The same with the output of one head from the write on. The {len(shown)} largest of {len(heads)} effects.",
        "share of the answer that comes back", "",
        [
            Series(
                "effect",
                [one["effect"]["estimate"] for one in shown],
                [one["name"] for one in shown],
                "points",
                0,
                x_low=[one["effect"]["low"] for one in shown],
                x_high=[one["effect"]["high"] for one in shown],
                hover=[f"{one['name']}: {interval(one['effect'])}" for one in shown],
            )
        ],
        categories=[one["name"] for one in shown], x_mark=0.0, subtitle=name,
    )  # fmt: skip


def _geometry(having: Sequence[tuple[str, JsonObject]]) -> Iterator[Figure]:
    """Effective rank, rank residual and cosine of the states, with and without the first token."""
    said = {
        "effective_rank": ("Effective rank of the states", "exp of the entropy of their singular values."),
        "residual": ("How far states are from one vector", "Near 0, all tokens of a string have one state: collapse."),
        "cosine": ("Cosine between the states of two tokens", "Near 1, all states point the same way."),
    }
    for key, (title, note) in said.items():
        series = [
            line(
                f"{name}{'' if every else ', without the first token'}",
                [
                    (one["state"], one[key])
                    for one in found["geometry"]
                    if one["first_token"] == every and not one["after_norm"]
                ],
                2 * number + (not every),
                "state {:g}".format,
            )
            for number, (name, found) in enumerate(having)
            for every in (True, False)
        ]
        yield Figure(
            f"diagnosis-{key.replace('_', '-')}", title, f"{note} {_FIRST}",
            "blocks", key.replace("_", " "), aside(series) if len(series) <= MOST_CONDITIONS else series,
        )  # fmt: skip


def _lazy(having: Sequence[tuple[str, Sequence[JsonObject]]]) -> Figure:
    """What the whole attention of a layer does to the answers."""
    series = [
        line(name, [(one["layer"], one["change"]) for one in layers], number, "layer {:g}".format)
        for number, (name, layers) in enumerate(having)
    ]
    lazy = [
        f"{name}: {', '.join(str(one['layer']) for one in layers if one['lazy'])}"
        for name, layers in having
        if any(one["lazy"] for one in layers)
    ]
    note = "The attention of one layer is taken away. Change: mean total variation between the answers' probabilities."
    note += f" Lazy layers, which change nothing: {'; '.join(lazy)}." if lazy else " No layer is lazy."
    return Figure(
        "diagnosis-lazy", "What a layer's attention does to the answers", note, "layer", "change of the answers",
        aside(series),
    )  # fmt: skip


def _probe(name: str, found: JsonObject) -> Figure:
    """How well a linear probe tells the stored bit, by layer."""
    lines = {
        "at_right": "before right answers", "at_wrong": "before wrong answers", "everywhere": "at every token",
        "control": "with labels of another string",
    }  # fmt: skip
    series = [
        line(said, [(one["state"], one[key]) for one in found["states"]], number, "state {:g}".format)
        for number, (key, said) in enumerate(lines.items())
    ]
    note = (
        f"A linear probe of the stored bit, trained on {found['trained_on']} strings and tested on the other "
        f"{found['tested_on']}. At wrong reads the bit is: {found['verdict']}. A probe shows what could be read, not "
        "what the model reads."
    )
    return Figure(
        "diagnosis-probe", "Is the bit still there? (linear probe)", note, "blocks",
        "tokens whose stored bit is told", aside(series), subtitle=name,
    )  # fmt: skip
