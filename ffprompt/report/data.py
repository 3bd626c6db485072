"""Everything that a report shows, as one plain dict: what the page, the figures and the tables are made from.

It holds nothing but dicts, lists, strings, numbers and None, so that it can be looked at, tested and written as JSON.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt.analysis.error_analysis import anatomy as dissect
from ffprompt.errors import FFPromptError, StoreError
from ffprompt.evaluation.early_stopping import stops
from ffprompt.report.anatomy import anatomy
from ffprompt.report.cells import study
from ffprompt.report.samples import LONGEST_PROMPT, outcome_of_trials, pick, prompt, trials
from ffprompt.report.source import Source, open_run
from ffprompt.report.trainings import find, read_all
from ffprompt.report.wording import audit_notes

MOST_TRIALS = 2_000
_TRIALS_SIZE = 4_000_000  # characters of all trials of a page
MOST_PROMPTS = 100
_SPARSE, _DENSE = 0.98, 0.1
# What a report takes from the anatomy of a condition.
_FACETS = ("by_contradictions", "by_position", "by_truth", "by_earlier_read", "reads_visible", "drift", "rules")


def build(given: Sequence[Path], incomplete: bool = False, title: str | None = None) -> dict[str, Any]:
    """The dict of a report on runs, on trainings of reference models (``study``), and on folders of either.

    In a folder of them, those that are not complete (unless ``incomplete``) or cannot be read are left out, and the
    report says which; one that is named itself must be fit for a report. Raises StoreError, RunFailedError.
    """
    found = find(given)
    trainings, left_out = read_all(found, given, incomplete)
    sources: list[Source] = []
    for path in found.runs:
        try:
            sources.append(open_run(path, incomplete))
        except FFPromptError as error:
            if path in given:
                raise
            left_out.append(str(error))
    if not sources and not trainings:
        raise StoreError(f"no run in {given[0]} can be reported; the first: {left_out[0]}")
    kind = "results" if found.folders else "comparison" if len(sources) + len(trainings) > 1 else "run"
    runs = [_run(source) for source in sources]
    _label(runs, sources)
    rows: list[dict[str, Any]] = []
    prompts: list[dict[str, Any]] = []
    of_rows = [(source, condition) for source in sources for condition in source.plan.conditions]
    bad, good = [], []  # strings of each row, by whether they have a read that is not correct
    for number, (run, source) in enumerate(zip(runs, sources, strict=True)):
        first = len(rows)
        mine = [_row(number, run, source, n) for n in range(len(source.rows))]
        for n, reads in source.reads():
            mine[n] |= anatomy(reads)
            of_bad, of_good = outcome_of_trials(reads)
            bad.append(of_bad)
            good.append(of_good)
        for row, facets in zip(mine, dissect(source.folder.path, calibrate=False)["conditions"], strict=True):
            row["anatomy"] = {key: facets[key] for key in _FACETS}
        rows += mine
        prompts += _prompts(source, first, MOST_PROMPTS - len(prompts))
    made = {
        "title": title or _title(kind, runs, trainings, given),
        "kind": kind,
        "made": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "notes": _notes(runs, rows),
        "interval": interval_of(rows),
        "warnings": _warnings(rows),
        "left_out": left_out,
        "study": study(trainings),
        "runs": runs,
        "rows": rows,
        "lengths": _lengths(rows),
        "tails": _tails(rows),
        "trend": _trend(rows),
        "side_by_side": _side_by_side(runs, rows),
        "differing": _differing(runs),
        "prompts": prompts,
        "prompts_in_all": len(rows),
        "longest_prompt": LONGEST_PROMPT,
        "trials": trials(of_rows, pick(bad, good, MOST_TRIALS), _TRIALS_SIZE),
        "trials_in_all": sum(map(len, bad)) + sum(map(len, good)),
        "trials_with_errors": sum(map(len, bad)),
    }
    return printable(made)


def _run(source: Source) -> dict[str, Any]:
    """A run and where it comes from. The templates' texts stay in run.json."""
    info = source.folder.info.to_json()
    templates = {
        name: {key: value for key, value in one.items() if key != "content"}
        for name, one in info["plan"]["templates"].items()
    }
    kept = {key: value for key, value in info.items() if key not in ("results", "schema")}
    rows = source.rows
    answered = sum(row["reads"] - row["outcomes"].get("error", 0) for row in rows)
    return {
        "id": source.folder.path.name,
        "model": str(info["config"]["model"]),
        "backend": str(info["config"]["backend"]),
        "origin": _origin(info),
        "status": str(info.get("status")),
        "started": info.get("started"),
        "ended": info.get("ended"),
        "seconds": info.get("seconds"),
        "incomplete": not source.complete,
        "missing_trials": sum(row["missing_trials"] for row in rows),
        "failed_trials": int((source.where.failed & (source.where.offset >= 0)).sum()),
        "trials": int((source.where.offset >= 0).sum()) if stops(source.plan.config) else len(source.plan),
        "reads": sum(row["reads"] for row in rows),
        "answered_reads": answered,
        "prompt_tokens": _sum(row.get("prompt_tokens") for row in rows),
        "reply_tokens": _sum(row.get("reply_tokens") for row in rows),
        "usd": (info.get("spent") or {}).get("usd"),
        "data_digest": info["plan"].get("data_digest"),
        "settings": dict(info["config"]),
        "provenance": {**kept, "plan": {**info["plan"], "templates": templates}},
    }


def _origin(info: Mapping[str, Any]) -> str | None:
    """How a reference model, exported ones too, came to do this task; None for other models."""
    made = info.get("model") or {}
    if info["config"]["backend"] != "reference" and "trained_on" not in made:
        return None
    # Weights that were written by hand were trained on nothing.
    return "built for this task" if made.get("trained_on", "") is None else "trained on this task"


def _sum(counts: Iterable[int | None]) -> int | None:
    """The sum, None where a part of it is not known."""
    known = list(counts)
    return None if None in known else sum(count for count in known if count is not None)


# Settings that say which conditions a run has, and not of which model.
_OF_CONDITIONS = {"template", "shots", "shot_length", "elicitation", "form", "length", "p_ignore", "p_write", "p_read"}
_OF_CONDITIONS |= {"trials", "turn_instructions", "next_read"}


def _apart(one: Source, other: Source) -> bool:
    """Whether two runs are of one model under the same settings and have no condition in common."""
    infos = [run.folder.info.to_json() for run in (one, other)]
    settings = [{k: v for k, v in info["config"].items() if k not in _OF_CONDITIONS} for info in infos]
    asked = [
        {(c.template, c.shots, c.elicitation, c.form, c.turn_instructions, c.language) for c in run.plan.conditions}
        for run in (one, other)
    ]
    same = settings[0] == settings[1] and infos[0].get("model") == infos[1].get("model")
    return same and not asked[0] & asked[1]


def _label(runs: Sequence[dict[str, Any]], sources: Sequence[Source]) -> None:
    """A run goes by the last part of its model's name, and by its own too where that would not tell rows apart.

    A model that was made for this very task is no language model that happens to solve it: its label says so.
    """
    # The file of a training's model has the same name in every folder.
    short = [run["model"].removesuffix("/model.safetensors").rstrip("/").rsplit("/", 1)[-1] for run in runs]
    for run, name, source in zip(runs, short, sources, strict=True):
        others = [other for other, theirs in zip(sources, short, strict=True) if theirs == name and other is not source]
        run["label"] = name if all(_apart(source, other) for other in others) else f"{name} ({run['id']})"
        run["label"] += f" ({run['origin']})" if run["origin"] else ""


def _row(number: int, run: Mapping[str, Any], source: Source, n: int) -> dict[str, Any]:
    """A row of the result table with what is needed to put it into a figure."""
    condition = source.plan.conditions[n]
    turns = f" by {condition.turn_instructions}" if condition.turn_instructions else ""
    asked = f"{condition.elicitation}{turns}, {condition.form}"
    how = f"{condition.template} · {condition.shots}-shot · {asked}"
    return {
        **source.rows[n],
        "run": number,
        "label": run["label"],
        "model": run["model"],
        "incomplete": run["incomplete"],
        "asked": asked,
        "how": how,
        "name": f"{run['label']} · {how} · {condition.language}",
        "length": condition.length,
        "p_ignore": condition.spec.probabilities.get("ignore") if condition.spec else None,
        "started": run["started"],
    }


def _language(row: Mapping[str, Any]) -> str:
    """A language without its length."""
    return "strings from a file" if row["p_ignore"] is None else f"p(ignore) {row['p_ignore']}"


def _point(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("accuracy", "interval_low", "interval_high", "floor", "floor_rule", "reads", "strings", "incomplete")
    bounds = row.get("zero_error_bounds")
    # What all reads being right leaves possible, from one side; None where one was not, or a run does not say.
    at_most = bounds["strings"]["high"] if bounds and row["accuracy"] == 1 else None
    return {name: row[name] for name in names} | {"length": row["length"], "at_most": at_most}


def _lengths(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy against T: one series for what differs in nothing else, and only of rows that have an accuracy."""
    series: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        if row["accuracy"] is not None:
            key = (row["label"], row["how"], row.get("shot_length"), _rest(row))
            found = {"elicitation": row["elicitation"], "name": f"{row['label']} · {row['how']} · {_language(row)}"}
            series.setdefault(key, found | {"points": []})["points"].append(_point(row))
    for one in series.values():
        one["points"].sort(key=lambda point: point["length"])
    return list(series.values())


def _rest(row: Mapping[str, Any]) -> str:
    """The language of a row but for its length."""
    return str(row["language"]).replace(f"({row['length']}", "(T", 1)


def _tails(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy on FFL(0.98) beside that on FFL(0.1), where a run has both under the same conditions."""
    pairs: dict[tuple[Any, ...], dict[float, Mapping[str, Any]]] = {}
    for row in rows:
        # FFL(T, p) shares the rest evenly between writes and reads; other languages begin with another name.
        even = str(row["language"]).startswith(f"FFL({row['length']}, {row['p_ignore']}")
        if row["accuracy"] is not None and row["p_ignore"] in (_SPARSE, _DENSE) and even:
            pairs.setdefault((row["run"], row["how"], row["length"]), {})[row["p_ignore"]] = row
    return [
        {
            "name": f"{two[_SPARSE]['label']} · {two[_SPARSE]['how']} · T = {two[_SPARSE]['length']}",
            "sparse": _point(two[_SPARSE]),
            "dense": _point(two[_DENSE]),
        }
        for two in pairs.values()
        if len(two) == 2
    ]


def _trend(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One model under one condition in several runs, by the time that the runs were started."""
    series: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["accuracy"] is not None and row["started"]:
            series.setdefault((row["model"], row["condition"]), []).append(row)
    return [
        {
            "name": f"{model} · {found[0]['how']} · {found[0]['language']}",
            "points": [
                _point(row) | {"started": row["started"], "label": row["label"]}
                for row in sorted(found, key=lambda row: str(row["started"]))
            ],
        }
        for (model, _), found in series.items()
        if len({row["run"] for row in found}) > 1
    ]


def _side_by_side(runs: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Conditions that several runs have: ``cells`` are numbers of rows, None where a run lacks the condition."""
    shared: dict[str, list[int | None]] = {}
    for number, row in enumerate(rows):
        shared.setdefault(row["condition"], [None] * len(runs))[row["run"]] = number
    return [
        {"condition": condition, "cells": cells}
        for condition, cells in shared.items()
        if sum(cell is not None for cell in cells) > 1
    ]


def _differing(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Settings in which the runs differ, other than the model."""
    names = list(dict.fromkeys(name for run in runs for name in run["settings"]))
    found = [{"setting": name, "values": [run["settings"].get(name) for run in runs]} for name in names]
    return [one for one in found if any(value != one["values"][0] for value in one["values"])]


def _notes(runs: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader has to know before the first number."""
    found = []
    for run in runs:
        if run["incomplete"]:
            found.append(
                f"{run['label']} is not complete (status {run['status']}): of {run['trials']:,} trials "
                f"{run['missing_trials']:,} were never answered and {run['failed_trials']:,} failed. Each of its "
                "numbers is marked †; those of what is missing may be others."
            )
        found += audit_notes(run["provenance"])
    if any(row["accuracy"] is None for row in rows):
        found.append("Where no read was answered there is no accuracy: None, which is not 0.")
    models: dict[str, set[Any]] = {}
    for row in rows:
        models.setdefault(row["condition"], set()).add(runs[row["run"]]["data_digest"])
    if any(len(digests) > 1 for digests in models.values()):
        found.append("Not all runs were asked the same strings (their data digests differ).")
    silent = [row for row in rows if row["reads"] and row["outcomes"].get("invalid", 0) == row["reads"]]
    if silent:
        found.append(f"No answer could be read in {len(silent)} of {len(rows)} conditions: all reads are invalid.")
    return found


def interval_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """How the intervals of the rows were computed; runs of earlier versions have Wilson's and do not say so."""
    found = dict.fromkeys(row.get("interval_method") or "Wilson" for row in rows if row["accuracy"] is not None)
    return f"{' or '.join(found) or 'Wilson'} over strings, 95%"


def _warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the statistics say of some rows' intervals, each once, with the number of rows."""
    counts: dict[str, int] = {}
    for row in rows:
        for text in row.get("warnings") or ():
            counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count} of {len(rows)} rows)" for text, count in counts.items()]


def _prompts(source: Source, first_row: int, room: int) -> list[dict[str, Any]]:
    return [
        {"row": first_row + condition.number, "messages": prompt(source, condition)}
        for condition in source.plan.conditions[: max(0, room)]
    ]


def _title(
    kind: str, runs: Sequence[Mapping[str, Any]], trainings: Sequence[Mapping[str, Any]], given: Sequence[Path]
) -> str:
    counts = [(len(runs), "run"), (len(trainings), "training")]
    count = " and ".join(f"{n} {what}{'' if n == 1 else 's'}" for n, what in counts if n)
    match kind:
        case "run":
            return str(runs[0]["model"]) if runs else f"Training of {trainings[0]['id']}"
        case "comparison":
            labels = [run["label"] for run in runs] + [f"training of {one['id']}" for one in trainings]
            return " and ".join(labels) if len(labels) < 4 else count
        case _:
            return f"{', '.join(path.resolve().name for path in given)}: {count}"
