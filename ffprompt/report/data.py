"""Everything that a report shows, as one :class:`Report`: what the page, the figures and the tables are made from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ffprompt import __version__
from ffprompt._util.files import printable
from ffprompt._util.formatting import counted
from ffprompt._util.plain import Plain
from ffprompt._util.records import JsonObject
from ffprompt.analysis.error_analysis import analyse
from ffprompt.analysis.verdict import Verdict, judge, verdicts, warnings
from ffprompt.comparison.compare import Comparison
from ffprompt.elicitation.condition import Condition
from ffprompt.errors import FFPromptError, StoreError
from ffprompt.evaluation.early_stopping import stops
from ffprompt.report import series
from ffprompt.report.curves import curves
from ffprompt.report.diagnosis import RunDiagnosis
from ffprompt.report.diagnosis import read as read_diagnosis
from ffprompt.report.joint import compared
from ffprompt.report.records import ReportRow, ReportRun
from ffprompt.report.samples import LONGEST_PROMPT, outcome_of_trials, pick, prompt, trials
from ffprompt.report.source import Source, open_run
from ffprompt.report.study_cells import TWO_MEASUREMENTS, study
from ffprompt.report.trainings import find, read_all
from ffprompt.report.wording import audit_notes
from ffprompt.runs.reads import Ints

MOST_TRIALS = 2_000
_TRIALS_SIZE = 4_000_000  # characters of all trials of a page
MOST_PROMPTS = 100


@dataclass(frozen=True)
class Setting(Plain):
    """A setting in which runs differ, with the value that each run has."""

    name: str
    values: list[object]


@dataclass(frozen=True)
class PromptSample(Plain):
    """The first prompt of the row with a number, as messages: see :func:`ffprompt.report.samples.prompt`."""

    row: int
    messages: list[JsonObject]


@dataclass(frozen=True)
class Report(Plain):
    """A report.

    Attributes:
        kind: ``run``, ``comparison`` (several runs or trainings that were named) or ``results`` (a folder of them).
        made: When it was made.
        verdicts: What the runs say, one for each model.
        notes: What a reader has to know before the first number.
        warnings: What changes how the rows are to be read, one line for each kind.
        interval: How the rows' intervals were computed.
        left_out: Why runs and trainings of a folder are not in it.
        study: Trainings and the cells of a study, None without a training.
        comparisons: Runs against the first one, and shots and templates of one run, on the same reads.
        not_compared: Why other runs could not be compared.
        lengths: Accuracy against T. ``tails``: sparse beside dense. ``trend``: one model over time.
        side_by_side: Conditions that several runs have, with a cell for each of ``shown_beside`` (places of runs).
        differing: Settings in which the runs differ, other than the model.
        prompts: The first prompt of each row, of ``prompts_in_all``.
        trials: Trials word for word, of ``trials_in_all``, of which ``trials_with_errors`` have a read that is not
            correct.
        diagnoses: What ``ffprompt diagnose`` found, of the runs that have it.
    """

    title: str
    kind: str
    made: str
    version: str
    verdicts: list[Verdict]
    notes: list[str]
    warnings: list[str]
    interval: str
    left_out: list[str]
    study: JsonObject | None
    comparisons: list[Comparison]
    not_compared: list[str]
    runs: list[ReportRun]
    rows: list[ReportRow]
    lengths: list[series.LengthSeries]
    tails: list[series.Tails]
    trend: list[series.Trend]
    side_by_side: list[series.SharedCondition]
    shown_beside: list[int]
    differing: list[Setting]
    prompts: list[PromptSample]
    prompts_in_all: int
    longest_prompt: int
    trials: list[JsonObject]
    trials_in_all: int
    trials_with_errors: int
    diagnoses: list[RunDiagnosis] = field(default_factory=list)


def build(given: Sequence[Path], incomplete: bool = False, title: str | None = None) -> Report:
    """Return the report on runs, on trainings of reference models (``study``), and on folders of either.

    In a folder of them, those that are not complete (unless ``incomplete``) or cannot be read are left out, and the
    report says which. One that is named itself must be fit for a report.

    Raises:
        StoreError: A path is no run, no training and no folder of them, or what it holds is damaged.
        RunFailedError: A run or a training that was named is not complete.
    """
    found = find(given)
    trainings, left_out = read_all(found, given, incomplete)
    sources = _sources(found.runs, given, incomplete, left_out)
    if not sources and not trainings:
        raise StoreError(f"no run in {given[0]} can be reported; the first: {left_out[0]}")
    kind = "results" if found.folders else "comparison" if len(sources) + len(trainings) > 1 else "run"
    labels = _labels(sources)
    runs = [_run(source, label) for source, label in zip(sources, labels, strict=True)]
    conditions = [(source, condition) for source in sources for condition in source.plan.conditions]
    rows, bad, good = _rows(runs, sources)
    results = [(row.label, row.result) for row in rows]
    side_by_side, beside = series.side_by_side(len(runs), rows)
    comparisons, not_compared = compared(sources, labels) if kind != "results" else ([], [])
    report = Report(
        title=title or _title(kind, runs, trainings, given),
        kind=kind,
        made=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        version=__version__,
        verdicts=verdicts(results),
        notes=[*_notes(runs, rows), *([TWO_MEASUREMENTS] if trainings and rows else [])],
        warnings=warnings(results),
        interval=interval_of(rows),
        left_out=left_out,
        study=study(trainings),
        comparisons=comparisons,
        not_compared=not_compared,
        runs=runs,
        rows=rows,
        lengths=series.lengths(rows),
        tails=series.tails(rows),
        trend=series.trends(rows),
        side_by_side=side_by_side,
        shown_beside=beside,
        differing=_differing(runs),
        prompts=_prompts(conditions),
        prompts_in_all=len(rows),
        longest_prompt=LONGEST_PROMPT,
        trials=trials(conditions, pick(bad, good, MOST_TRIALS), _TRIALS_SIZE),
        trials_in_all=sum(map(len, bad)) + sum(map(len, good)),
        trials_with_errors=sum(map(len, bad)),
        diagnoses=_diagnoses(sources, labels),
    )
    return printable(report)


def _diagnoses(sources: Sequence[Source], labels: Sequence[str]) -> list[RunDiagnosis]:
    found = (read_diagnosis(source.folder.path, label) for source, label in zip(sources, labels, strict=True))
    return [one for one in found if one is not None]


def _sources(paths: Sequence[Path], given: Sequence[Path], incomplete: bool, left_out: list[str]) -> list[Source]:
    """The runs that can be reported. Why others cannot is added to ``left_out``, unless they were named."""
    sources = []
    for path in paths:
        try:
            sources.append(open_run(path, incomplete))
        except FFPromptError as error:
            if path in given:
                raise
            left_out.append(str(error))
    return sources


def _rows(runs: Sequence[ReportRun], sources: Sequence[Source]) -> tuple[list[ReportRow], list[Ints], list[Ints]]:
    """The rows of all runs. Of each its trials that have a read that is not correct, and its other trials."""
    rows: list[ReportRow] = []
    bad, good = [], []
    for number, (run, source) in enumerate(zip(runs, sources, strict=True)):
        drawn = []
        with source.table() as table:
            for reads in source.reads(table):
                drawn.append(curves(reads, source.plan.config.symbols))
                of_bad, of_good = outcome_of_trials(reads, source.plan.repeats)
                bad.append(of_bad)
                good.append(of_good)
            analysis = analyse(source.folder, source.plan, table, calibrate=False)
        letters = {
            effect: "".join(event.letter for event in source.plan.task.events if event.effect == effect)
            for effect in ("read", "reset")
        }
        for condition, result, curve, errors in zip(
            source.plan.conditions, source.rows, drawn, analysis.conditions, strict=True
        ):
            spec = condition.spec
            rows.append(
                ReportRow(
                    result=result,
                    run=number,
                    label=run.label,
                    model=run.model,
                    incomplete=run.incomplete,
                    verdict=judge(result),
                    length=condition.length,
                    shot_length=condition.shot_length if condition.shots else 0,
                    p_ignore=spec.probabilities.get("ignore") if spec else None,
                    preset=spec.preset if spec else None,
                    started=run.started,
                    letters=letters,
                    gap_counts=source.plan.task.gap_counts,
                    curves=curve,
                    errors=errors,
                )
            )
    return rows, bad, good


def _run(source: Source, label: str) -> ReportRun:
    """A run and where it comes from. The templates' texts stay in run.json."""
    info = source.folder.info.to_json()
    templates = {
        name: {key: value for key, value in one.items() if key != "content"}
        for name, one in info["plan"]["templates"].items()
    }
    kept = {key: value for key, value in info.items() if key not in ("results", "schema")}
    rows = source.rows
    return ReportRun(
        id=source.folder.path.name,
        label=label,
        model=str(info["config"]["model"]),
        backend=str(info["config"]["backend"]),
        origin=_origin(info),
        status=str(info.get("status")),
        started=info.get("started"),
        ended=info.get("ended"),
        seconds=info.get("seconds"),
        incomplete=not source.complete,
        missing_trials=sum(row.missing_trials for row in rows),
        failed_trials=int((source.where.failed & (source.where.offset >= 0)).sum()),
        trials=int((source.where.offset >= 0).sum()) if stops(source.plan.config) else len(source.plan),
        reads=sum(row.reads for row in rows),
        answered_reads=sum(row.reads - row.count("error") for row in rows),
        prompt_tokens=_sum(row.prompt_tokens for row in rows),
        reply_tokens=_sum(row.reply_tokens for row in rows),
        usd=(info.get("spent") or {}).get("usd"),
        data_digest=info["plan"].get("data_digest"),
        settings=dict(info["config"]),
        provenance={**kept, "plan": {**info["plan"], "templates": templates}},
    )


def _origin(info: JsonObject) -> str | None:
    """How a reference model, exported ones too, came to do this task. None for other models."""
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
_OF_CONDITIONS |= {"trials", "turn_instructions", "next_read", "task", "task_arg"}


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


def _labels(sources: Sequence[Source]) -> list[str]:
    """What each run is called: the last part of its model's name, and its own too where rows would have one name.

    A model that was made for this very task is no language model that happens to solve it: its label says so.
    """
    models = [str(source.folder.info.config["model"]) for source in sources]
    # The file of a training's model has the same name in every folder.
    short = [model.removesuffix("/model.safetensors").rstrip("/").rsplit("/", 1)[-1] for model in models]
    labels = []
    for name, source in zip(short, sources, strict=True):
        others = [other for other, theirs in zip(sources, short, strict=True) if theirs == name and other is not source]
        origin = _origin(source.folder.info.to_json())
        told = name if all(_apart(source, other) for other in others) else f"{name} ({source.folder.path.name})"
        labels.append(f"{told} ({origin})" if origin else told)
    return labels


def _differing(runs: Sequence[ReportRun]) -> list[Setting]:
    """Settings in which the runs differ, other than the model."""
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    found = [Setting(name, [run.settings.get(name) for run in runs]) for name in names]
    return [one for one in found if any(value != one.values[0] for value in one.values)]


def _notes(runs: Sequence[ReportRun], rows: Sequence[ReportRow]) -> list[str]:
    """What a reader has to know before the first number."""
    found = []
    for run in runs:
        if run.incomplete:
            found.append(
                f"{run.label} is not complete (status {run.status}): of {run.trials:,} trials {run.missing_trials:,} "
                f"were never answered and {run.failed_trials:,} failed. Each of its numbers is marked †. Those of what "
                "is missing may be others."
            )
        found += audit_notes(run.provenance)
    if any(row.result.accuracy is None for row in rows):
        found.append("Where no read was answered there is no accuracy: –, which is not 0.")
    strings: dict[str, set[str]] = {}
    for row in rows:
        strings.setdefault(row.result.condition, set()).add(_strings(runs[row.run]))
    most = max(strings.values(), key=len, default=set())
    if len(most) > 1:
        found.append(f"Not all runs were asked the same strings: {' and '.join(sorted(most))}.")
    return found


def _strings(run: ReportRun) -> str:
    """Name the strings that a run draws on. Runs of one seed share them, however many each of them asks."""
    data = run.settings.get("data")
    return f"seed {run.settings.get('seed')}" if data is None else f"{data} (digest {str(run.data_digest)[:12]})"


def interval_of(rows: Sequence[ReportRow]) -> str:
    """Return how the intervals of the rows were computed. Runs of earlier versions have Wilson's and do not say so."""
    found = dict.fromkeys(row.result.interval_method or "Wilson" for row in rows if row.result.accuracy is not None)
    return f"{' or '.join(found) or 'Wilson'} over strings, 95%"


def _prompts(conditions: Sequence[tuple[Source, Condition]]) -> list[PromptSample]:
    """The first prompt of each condition, up to ``MOST_PROMPTS``."""
    return [
        PromptSample(row, prompt(source, condition))
        for row, (source, condition) in enumerate(conditions[:MOST_PROMPTS])
    ]


def _title(kind: str, runs: Sequence[ReportRun], trainings: Sequence[JsonObject], given: Sequence[Path]) -> str:
    counts = [(len(runs), "run"), (len(trainings), "training")]
    count = " and ".join(counted(n, what) for n, what in counts if n)
    match kind:
        case "run":
            return str(runs[0].model) if runs else f"Training of {trainings[0]['id']}"
        case "comparison":
            labels = list(dict.fromkeys(run.label for run in runs)) + [f"training of {one['id']}" for one in trainings]
            return " and ".join(labels) if len(labels) < 4 else count
        case _:
            return f"{', '.join(path.resolve().name for path in given)}: {count}"
