"""Which conditions of which runs are compared, and what may differ between them: nothing but what is asked for.

Example, two runs of 0 and 1 shots: by model, run 2's zero-shot condition is compared with run 1's, and one-shot with
one-shot; by shots, one-shot is compared with zero-shot, and two models are refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ffprompt.comparison.conditions import OF_THE_MODEL, RunCondition
from ffprompt.config.settings import BY_NAME, ROWS
from ffprompt.errors import ConfigError, did_you_mean

_COMPARED = [row for row in ROWS if row.compare in ("by", "allow", "equal")]
# What can be compared by, and the settings that may differ then.
BY: Mapping[str, tuple[str, ...]] = {
    **{row.name: (row.name,) for row in _COMPARED if row.compare == "by"},
    "model": OF_THE_MODEL,
    "backend": ("backend", *(row.name for row in ROWS if row.across_backends == "free")),
    "template": ("template", "template_version"),
}
# Conditions of two runs that agree in these are taken to be the same one; all else must then agree, too.
_GRID = ("template", "shots", "elicitation", "length", "p_write", "p_read", "p_ignore")
# Settings without which there is nothing to pair: the strings or the reads are others.
_EQUAL = tuple(row.name for row in _COMPARED if row.compare == "equal")
_ALSO = (
    *_EQUAL, "template_version",
    *(row.name for row in _COMPARED if not row.identifies_model and row.name not in (*_EQUAL, *_GRID)),
)  # fmt: skip
# Settings that are None where they play no part, or are not known, so that None agrees with anything.
_NONE_AGREES: Mapping[str, tuple[str, ...]] = {
    "shots": tuple(row.name for row in ROWS if row.used_with == "shots"),
    "elicitation": tuple(row.name for row in ROWS if row.used_with == "elicitation"),
    "backend": (*(row.name for row in ROWS if row.across_backends == "unknown"), "weights"),
}
ALLOWABLE = ("seed", *(name for name in (*_ALSO, *OF_THE_MODEL) if name not in _EQUAL))


@dataclass(frozen=True)
class Match:
    """A condition and what it is compared with.

    Attributes:
        condition: The name of what they share.
        reference: The side that is compared with.
        other: The side that is compared.
        reference_label: What to call the first.
        other_label: What to call the second.
    """

    condition: str
    reference: RunCondition
    other: RunCondition
    reference_label: str
    other_label: str


def checked(by: Sequence[str], allow: Collection[str]) -> tuple[str, ...]:
    """What is compared by, ``model`` where nothing is said.

    Raises:
        ConfigError: for what cannot be.
    """
    for word, names in (("by", by), ("allow", allow)):
        if isinstance(names, str) or not isinstance(names, Collection) or not all(isinstance(n, str) for n in names):
            raise ConfigError(f"{word} {names!r:.80}: expected a list of names of settings")
    by = tuple(dict.fromkeys(by)) or ("model",)
    for name in by:
        if name in BY_NAME and BY_NAME[name].compare in ("strings", "equal"):
            raise ConfigError(f"by {name}: other strings or reads cannot be paired; look at the runs' own tables")
        if name not in BY:
            raise ConfigError(f"by {name!r}: cannot be compared by{did_you_mean(name, BY)}")
    for name in allow:
        if name not in ALLOWABLE:
            raise ConfigError(f"allow {name!r}: cannot be left to differ{did_you_mean(name, ALLOWABLE)}")
    return by


def match(
    sides: Sequence[Sequence[RunCondition]], by: Sequence[str], allow: Collection[str] = ()
) -> tuple[list[Match], list[str]]:
    """Each condition with what it is compared with, and which were left out for want of that, in words.

    ``sides``: the conditions of each run, the one compared with first. By ``shots`` the fewest are compared with,
    otherwise what comes first.

    Raises:
        ConfigError: where something else differs, or nothing is left.
    """
    by = checked(by, allow)
    if "model" in by and len(sides) < 2:
        varied = [f"--by {name}" for name in ("shots", "template", "elicitation") if _varies(sides, name)]
        hint = f"; within this one: {' or '.join(varied)}" if varied else ""
        raise ConfigError(f"one run: expected at least two to compare by model{hint}")
    freed = {name for one in by for name in BY[one]}
    groups: dict[tuple[Any, ...], list[tuple[int, RunCondition]]] = {}
    for number, cells in enumerate(sides):
        for cell in cells:
            key = tuple(cell.settings[name] for name in _GRID if name not in freed)
            groups.setdefault(key, []).append((number, cell))
    labels = _labels(sides)
    found: list[Match] = []
    left_out: list[str] = []
    for members in groups.values():
        if "shots" in by:
            members.sort(key=lambda member: (member[0] if "model" in by else 0, member[1].settings["shots"]))
        (side, reference), *others = members
        if not others or ("model" in by and side):
            left_out += [f"{cell.name} ({cell.source.run_id})" for _, cell in members]
            continue
        for _, other in others:
            _all_else_equal(reference, other, by, freed, allow)
        _all_different(members, by)
        for other_side, other in others:
            mine, its = _label(reference, by, labels[side]), _label(other, by, labels[other_side])
            found.append(Match(_shared(reference, freed), reference, other, mine, its))
    if not found:
        raise ConfigError(_nothing(sides, by))
    return found, left_out


def _varies(sides: Sequence[Sequence[RunCondition]], name: str) -> bool:
    return len({cell.settings[name] for cells in sides for cell in cells}) > 1


def _nothing(sides: Sequence[Sequence[RunCondition]], by: Sequence[str]) -> str:
    if "model" in by or len(sides) > 1:
        first, last = (f"{cells[0].source.run_id} has {cells[0].name}" for cells in (sides[0], sides[-1]))
        return f"no condition to compare by {' and '.join(by)}: {first}, {last}"
    values = {cell.settings[BY[by[0]][0]] for cells in sides for cell in cells}
    if len(values) > 1:
        return f"no two conditions of {sides[0][0].source.run_id} differ in {' and '.join(by)} alone"
    return f"{by[0]} is {values.pop()!r} throughout {sides[0][0].source.run_id}: there is nothing to compare it with"


def _labels(sides: Sequence[Sequence[RunCondition]]) -> list[str]:
    """What to call each run: its model, unless two have the same."""
    models = [cells[0].source.model if cells else "" for cells in sides]
    if len(set(models)) == len(models):
        return models
    ids = [cells[0].source.run_id if cells else "" for cells in sides]
    return ids if len(set(ids)) == len(ids) else [f"{name} ({number})" for number, name in enumerate(ids, start=1)]


def _label(cell: RunCondition, by: Sequence[str], run: str) -> str:
    return ", ".join(run if name == "model" else f"{name} {cell.settings[name]}" for name in by)


def _shared(cell: RunCondition, freed: Collection[str]) -> str:
    """A condition's name without what is compared."""
    known = cell.settings
    turns = f" by {known['turn_instructions']}" if known["turn_instructions"] else ""
    parts = {
        "template": known["template"],
        "shots": f"{known['shots']}-shot",
        "elicitation": f"{known['elicitation']}{turns}",
        "form": known["form"],
        "length": cell.language,
    }
    return ", ".join(text for name, text in parts.items() if name not in freed)


def _all_different(members: Sequence[tuple[int, RunCondition]], by: Sequence[str]) -> None:
    seen: dict[Any, RunCondition] = {}
    for side, cell in members:
        value = tuple(side if name == "model" else _plain(cell.settings[name]) for name in by)
        if value in seen:
            what = ", ".join("the same model's" if name == "model" else f"{name} {cell.settings[name]}" for name in by)
            runs = f"{seen[value].source.run_id} and {cell.source.run_id}"
            raise ConfigError(f"{cell.name}: {runs} both hold {what}; name one, or compare by what tells them apart")
        seen[value] = cell


def _all_else_equal(
    a: RunCondition, b: RunCondition, by: Sequence[str], freed: Collection[str], allow: Collection[str]
) -> None:
    lenient = {name for one in by for name in _NONE_AGREES.get(one, ())}
    for name in (*_ALSO, *OF_THE_MODEL):
        mine, its = a.settings[name], b.settings[name]
        if mine == its or name in freed or (name in lenient and None in (mine, its)):
            continue
        if name in allow and (name != "seed" or not (a.sampled or b.sampled)):
            continue
        if name in _EQUAL:
            why = "such runs cannot be paired"
            if name == "seed" and not (a.sampled or b.sampled):
                why = "leave that be with --allow seed"
        else:
            ways = [f"--by {name}"] if name in BY else []
            why = f"{name.replace('_', '-')} is not what is compared; {' or '.join([*ways, f'--allow {name}'])}"
        raise ConfigError(
            f"{a.name}: {name} is {_brief(mine)} in {a.source.run_id} and {_brief(its)} in {b.source.run_id}; {why}"
        )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, (dict, list)) else value


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
