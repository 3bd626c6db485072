"""The diagnosis of a run as a report shows it: what ``ffprompt diagnose`` has written into the run's folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ffprompt._util.files import read_text
from ffprompt._util.plain import Plain
from ffprompt._util.records import JsonObject
from ffprompt.analysis.diagnosis import examples
from ffprompt.errors import StoreError

FILE = "diagnosis.json"
SCHEMA = 1
ROLES = ("write", "stale", "ignored", "answers", "first", "rest")
MOST_CONDITIONS = 4  # with figures of their own
_SHARE = 0.1  # attention on values of one role from which a head is called after it
_SINK = 0.3  # the same on the first token (Gu et al. 2025)


@dataclass(frozen=True)
class RunDiagnosis(Plain):
    """The diagnosis of one run.

    Attributes:
        label: What the report calls the run.
        names: Short names of the conditions.
        found: The content of ``diagnosis.json``.
        heads: For each condition, the heads that the single reads show.
        reads: The single reads, as in :class:`ffprompt.analysis.diagnosis.examples.Example`.
        wrong_in_all: Wrong reads of each condition, of which ``reads`` holds some.
    """

    label: str
    names: list[str]
    found: JsonObject
    heads: list[list[str]]
    reads: list[JsonObject]
    wrong_in_all: list[int]


def read(folder: Path, label: str) -> RunDiagnosis | None:
    """Return the diagnosis of a run. None where there is none.

    Raises:
        StoreError: It is damaged, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    found = _read(path, SCHEMA)
    beside = folder / examples.FILE
    looked = beside.is_file() and all(one["heads"] for one in found["conditions"])
    single = _read(beside, examples.SCHEMA) if looked else {"heads": [], "reads": [], "wrong_in_all": []}
    names = short_names([str(one["condition"]) for one in found["conditions"]])
    return RunDiagnosis(label, names, found, single["heads"], single["reads"], single["wrong_in_all"])


def _read(path: Path, schema: int) -> JsonObject:
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); make it again with: ffprompt diagnose {path.parent}"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != schema:
        raise StoreError(f"{path}: not of schema {schema}; make it again with: ffprompt diagnose {path.parent}")
    return content


def short_names(conditions: Sequence[str]) -> list[str]:
    """Return the languages of conditions, or their whole names where two have one language.

    >>> short_names(["a/0-shot/forced/completion/FFL(20, 0.6)"])
    ['FFL(20, 0.6)']
    """
    short = [one.rsplit("/", 1)[-1] for one in conditions]
    return short if len(set(short)) == len(short) else list(conditions)


def role(head: JsonObject) -> tuple[str, float]:
    """Return the role of a head, and its attention on the tokens of that role.

    A head is called after the values on which it has the most attention, if that is a tenth or more. Otherwise it is a
    head of the first token, or of a learned sink, from 0.3 on, and of the rest below that.
    """
    most = max(ROLES[:4], key=lambda name: float(head[name]))
    if head[most] >= _SHARE:
        return most, float(head[most])
    first = float(head["first"]) + float(head["sink"])
    return ("first", first) if first >= _SINK else ("rest", float(head["rest"]))


def table(one: RunDiagnosis) -> Iterator[list[str]]:
    """Yield the lines of the table: condition, strings, reads, error rate, and its head with most on the write."""
    for name, condition in zip(one.names, one.found["conditions"], strict=True):
        best = condition["heads"]["best"][0] if condition["heads"] else {}
        yield [
            name,
            f"{condition['strings']:,}",
            f"{condition['reads']:,}",
            interval(condition["error"]),
            str(condition["against_floor"]),
            best.get("name", "–"),
            interval(best.get("write")),
            interval(best.get("top1")),
            interval(best.get("write_by_outcome"), signed=True),
        ]


def interval(value: JsonObject | None, signed: bool = False) -> str:
    """Return an estimate with its interval: ``0.31 (0.25 to 0.40)``. ``–`` where there is none."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    text = f"{value['estimate']:{sign}.2f}"
    return text if value["low"] is None else f"{text} ({value['low']:{sign}.2f} to {value['high']:{sign}.2f})"


def warnings(one: RunDiagnosis) -> list[str]:
    """Return what changes how the numbers are to be read, each text once with the conditions that it is about."""
    texts: dict[str, list[str]] = {}
    for name, condition in zip(one.names, one.found["conditions"], strict=True):
        for text in condition["warnings"]:
            texts.setdefault(text, []).append(name)
    return [f"{', '.join(names)}: {text}" for text, names in texts.items()]


def course_table(steps: list[JsonObject]) -> Iterator[list[str]]:
    """Yield the lines of a course: step, condition, errors, best head, its attention, margin, and share on top."""
    for step in steps:
        names = short_names([one["condition"] for one in step["conditions"]])
        for name, row in zip(names, step["conditions"], strict=True):
            best = row["best"]
            yield [
                f"{step['step']:,}", name, interval(row["error"]), best["name"], interval(best["write"]),
                interval(best["margin"], signed=True), interval(best["top1"]),
            ]  # fmt: skip
