"""Everything that a report shows, as one plain dict: what the page, the figures and the tables are made from.

It holds nothing but dicts, lists, strings, numbers and None, so that it can be looked at, tested and written as JSON.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt._util.plain import plain
from ffprompt._util.records import JsonObject
from ffprompt.analysis.error_analysis import analyse
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import FFPromptError, StoreError
from ffprompt.evaluation.early_stopping import stops
from ffprompt.report import series
from ffprompt.report.curves import curves
from ffprompt.report.samples import LONGEST_PROMPT, outcome_of_trials, pick, prompt, trials
from ffprompt.report.source import Source, open_run
from ffprompt.report.study_cells import study
from ffprompt.report.trainings import find, read_all
from ffprompt.report.wording import audit_notes
from ffprompt.runs.reads import Ints

MOST_TRIALS = 2_000
_TRIALS_SIZE = 4_000_000  # characters of all trials of a page
MOST_PROMPTS = 100
# What a report takes from the error analysis of a condition.
_BREAKDOWNS = ("by_contradictions", "by_position", "by_truth", "by_earlier_read", "reads_visible", "drift", "rules")


def build(given: Sequence[Path], incomplete: bool = False, title: str | None = None) -> JsonObject:
    """The dict of a report on runs, on trainings of reference models (``study``), and on folders of either.

    In a folder of them, those that are not complete (unless ``incomplete``) or cannot be read are left out, and the
    report says which; one that is named itself must be fit for a report. Raises StoreError, RunFailedError.
    """
    found = find(given)
    trainings, left_out = read_all(found, given, incomplete)
    sources = _sources(found.runs, given, incomplete, left_out)
    if not sources and not trainings:
        raise StoreError(f"no run in {given[0]} can be reported; the first: {left_out[0]}")
    kind = "results" if found.folders else "comparison" if len(sources) + len(trainings) > 1 else "run"
    runs = [_run(source) for source in sources]
    _label(runs, sources)
    conditions = [(source, condition) for source in sources for condition in source.plan.conditions]
    rows, bad, good = _rows(runs, sources)
    report = {
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
        "lengths": plain(series.lengths(rows)),
        "tails": plain(series.tails(rows)),
        "trend": plain(series.trends(rows)),
        "side_by_side": plain(series.side_by_side(len(runs), rows)),
        "differing": _differing(runs),
        "prompts": _prompts(conditions),
        "prompts_in_all": len(rows),
        "longest_prompt": LONGEST_PROMPT,
        "trials": trials(conditions, pick(bad, good, MOST_TRIALS), _TRIALS_SIZE),
        "trials_in_all": sum(map(len, bad)) + sum(map(len, good)),
        "trials_with_errors": sum(map(len, bad)),
    }
    return printable(report)


def _sources(paths: Sequence[Path], given: Sequence[Path], incomplete: bool, left_out: list[str]) -> list[Source]:
    """The runs that can be reported; why others cannot is added to ``left_out``, unless they were named."""
    sources = []
    for path in paths:
        try:
            sources.append(open_run(path, incomplete))
        except FFPromptError as error:
            if path in given:
                raise
            left_out.append(str(error))
    return sources


def _rows(runs: Sequence[JsonObject], sources: Sequence[Source]) -> tuple[list[JsonObject], list[Ints], list[Ints]]:
    """The rows of all runs; of each its trials that have a read that is not correct, and its other trials."""
    rows: list[JsonObject] = []
    bad, good = [], []
    for number, (run, source) in enumerate(zip(runs, sources, strict=True)):
        mine = [_row(number, run, source, n) for n in range(len(source.rows))]
        with source.table() as table:
            for row, reads in zip(mine, source.reads(table), strict=True):
                row |= curves(reads, source.plan.config.symbols).to_json()
                of_bad, of_good = outcome_of_trials(reads, source.plan.repeats)
                bad.append(of_bad)
                good.append(of_good)
            analysis = analyse(source.folder, source.plan, table, calibrate=False)
        for row, errors in zip(mine, analysis.conditions, strict=True):
            row["anatomy"] = {name: plain(getattr(errors, name)) for name in _BREAKDOWNS}
        rows += mine
    return rows, bad, good


def _run(source: Source) -> JsonObject:
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


def _origin(info: JsonObject) -> str | None:
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
        {
            (c.template, c.shots, c.elicitation.name, c.form, c.turn_instructions, c.language)
            for c in run.plan.conditions
        }
        for run in (one, other)
    ]
    same = settings[0] == settings[1] and infos[0].get("model") == infos[1].get("model")
    return same and not asked[0] & asked[1]


def _label(runs: Sequence[JsonObject], sources: Sequence[Source]) -> None:
    """A run goes by the last part of its model's name, and by its own too where that would not tell rows apart.

    A model that was made for this very task is no language model that happens to solve it: its label says so.
    """
    # The file of a training's model has the same name in every folder.
    short = [run["model"].removesuffix("/model.safetensors").rstrip("/").rsplit("/", 1)[-1] for run in runs]
    for run, name, source in zip(runs, short, sources, strict=True):
        others = [other for other, theirs in zip(sources, short, strict=True) if theirs == name and other is not source]
        run["label"] = name if all(_apart(source, other) for other in others) else f"{name} ({run['id']})"
        run["label"] += f" ({run['origin']})" if run["origin"] else ""


def _row(number: int, run: JsonObject, source: Source, n: int) -> JsonObject:
    """A row of the result table with what is needed to put it into a figure."""
    condition = source.plan.conditions[n]
    turns = f" by {condition.turn_instructions}" if condition.turn_instructions else ""
    asked = f"{condition.elicitation.name}{turns}, {condition.form}"
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
        "preset": condition.spec.preset if condition.spec else None,
        "started": run["started"],
        "letters": {
            effect: "".join(event.letter for event in source.plan.task.events if event.effect == effect)
            for effect in ("read", "reset")
        },
    }


def _differing(runs: Sequence[JsonObject]) -> list[JsonObject]:
    """Settings in which the runs differ, other than the model."""
    names = list(dict.fromkeys(name for run in runs for name in run["settings"]))
    found = [{"setting": name, "values": [run["settings"].get(name) for run in runs]} for name in names]
    return [one for one in found if any(value != one["values"][0] for value in one["values"])]


def _notes(runs: Sequence[JsonObject], rows: Sequence[JsonObject]) -> list[str]:
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


def interval_of(rows: Sequence[JsonObject]) -> str:
    """How the intervals of the rows were computed; runs of earlier versions have Wilson's and do not say so."""
    found = dict.fromkeys(row.get("interval_method") or "Wilson" for row in rows if row["accuracy"] is not None)
    return f"{' or '.join(found) or 'Wilson'} over strings, 95%"


def _warnings(rows: Sequence[JsonObject]) -> list[str]:
    """What the statistics say of some rows' intervals, each once, with the number of rows."""
    counts: dict[str, int] = {}
    for row in rows:
        for text in row.get("warnings") or ():
            counts[text] = counts.get(text, 0) + 1
    return [f"{text} ({count} of {len(rows)} rows)" for text, count in counts.items()]


def _prompts(conditions: Sequence[tuple[Source, Condition]]) -> list[JsonObject]:
    """The first prompt of each condition, up to ``MOST_PROMPTS``."""
    return [
        {"row": row, "messages": prompt(source, condition)}
        for row, (source, condition) in enumerate(conditions[:MOST_PROMPTS])
    ]


def _title(kind: str, runs: Sequence[JsonObject], trainings: Sequence[JsonObject], given: Sequence[Path]) -> str:
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
