"""The anatomy of a run's errors: :func:`anatomy`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.analysis.breakdowns import LEVEL, Reads, by_number, calibrated, cell, doubling, drift, explained, tenths
from ffprompt.errors import StoreError
from ffprompt.evaluation.early_stopping import stops
from ffprompt.evaluation.plan import Condition, Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.runs.folder import RunFolder
from ffprompt.stats.paired import Pairs, difference
from ffprompt.tasks.base import PROBABILITIES, Rule

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SCHEMA = 1
# Strings whose history is held in memory at a time.
_BLOCK = 2048
_KEY = ["template", "shots", "elicitation", "length", "p_write", "p_read", "p_ignore"]
_COLUMNS = [*_KEY, "string_index", "position", "gap", "truth", "answer", "outcome", "answer_logprobs"]


def anatomy(run: str | os.PathLike[str], calibrate: bool = True) -> dict[str, Any]:
    """What the errors of a run have in common, from its folder. Raises StoreError where that is damaged or no run.

    Without ``calibrate`` every ``calibration`` is None, which takes half of the time.

    The result is plain values that go into JSON (no NaN; None is no data). Keys are added in later versions, never
    renamed; ``schema`` is 1. Intervals are at ``level`` and take the string as the cluster::

        schema, run_id, model, backend, status, complete, level
        conditions    one a row of the result table, in its order:
            condition, template, shots, elicitation, turn_instructions, form, language, symbols
            outcomes            reads of each outcome, "error" among them, which nothing below counts
            missing_trials      trials that have no read in the table
            all                 a cell (below), or None
            by_gap              cells by instructions since the governing write; edges at powers of two
            by_contradictions   by ignores since that write whose symbol is not the stored one
            by_position         by tenths of the string
            by_earlier_read     label "first read" or "asked before": whether a read of the same bit stands before
            reads_visible       whether those show the true bit (forced, next) or not (list: blank, dialogue: its own)
            by_truth            by the true symbol
            drift               change of accuracy from a string's begin to its end: change, low, high, reads, strings,
                                warnings; or None where nothing varies
            rules               answered, wrong: reads; best: names of the rule that explains most (none: empty);
                                rules: a list, best first, of: rule, open_reads, explains, by_chance,
                same_answer         None, or: wrong, same, share, low, high, strings
                difference          None, or: estimate, low, high, p, wrong_where_rule_is_wrong,
                                    wrong_where_rule_is_right, reads_where_rule_is_wrong, reads_where_rule_is_right,
                                    strings, warnings
            calibration         None, or: reads, strings, left_out, brier, brier_low, brier_high, ece, ece_low,
                                ece_high, ece_if_calibrated, mass, mass_low, mass_high, warnings, bins (from, to,
                                reads, strings, probability, accuracy, low, high)
        templates     one a language × shots × elicitation × form with two templates or more:
            language, shots, elicitation, form, turn_instructions
            templates           cells with template and condition, most accurate first
            spread, sd          accuracy of the best less that of the worst; standard deviation over templates
            widest_interval     the length of the widest interval of one template, to compare the spread with
            difference          best less worst on the reads that both have: best, worst, estimate, low, high, p,
                                reads, strings, warnings

        cell          reads, strings, misses (reads not answered correctly), wrong (of these, a clear other answer),
                      accuracy, low, high, warnings; in a list also label, from, to (both inclusive)

    ``rules``: :func:`.facets.explained`; ``calibration``: :mod:`.stats.calibration`, of the answer chosen.
    """
    folder = RunFolder.open(Path(run))
    plan = plan_of(folder)
    frame, logprobs = _frame(folder)
    groups = _groups(frame)
    conditions, seen = [], []
    for condition in plan.conditions:
        spec = condition.spec
        p = tuple(spec.probabilities.get(name, -1.0) if spec else -1.0 for name in PROBABILITIES)
        key = (condition.template, condition.shots, condition.elicitation, condition.length, *p)
        rows = np.asarray(groups.get(key, ()), np.int64)
        answered = rows[(frame.outcome.iloc[rows] != "error").to_numpy(np.bool_)]
        scores = _logprobs(logprobs.take(answered), plan.config.symbols)
        reads = _reads(folder, plan, condition, frame.iloc[answered], scores)
        found = _condition(plan, condition, frame.iloc[rows], reads)
        conditions.append(found | {"calibration": calibrated(reads) if calibrate else None})
        seen.append(reads)
    if stops(plan.config):  # what a condition that stopped by itself was not asked is not missing
        rows_of = {row.condition: row.to_json() for row in folder.info.results or ()}
        for one in conditions:
            one["missing_trials"] = rows_of.get(one["condition"], one)["missing_trials"]
    complete = all(not one["missing_trials"] and not one["outcomes"].get("error") for one in conditions)
    return {
        "schema": SCHEMA,
        "run_id": folder.info.run_id,
        "model": plan.config.model,
        "backend": plan.config.backend,
        "status": folder.info.status,
        "complete": complete and folder.info.status == "done",
        "level": LEVEL,
        "conditions": conditions,
        "templates": _sensitivity(plan.conditions, conditions, seen),
    }


def _frame(folder: RunFolder) -> tuple[pd.DataFrame, pa.ListArray]:
    """``reads.parquet``, and apart from the rest its log-probabilities, which would be slow as Python objects."""
    import pyarrow.parquet as pq

    if not folder.reads_path.is_file():
        raise StoreError(f"run {folder.path}: no reads.parquet yet; make it with: ffprompt score {folder.path}")
    try:
        there = set(pq.read_schema(folder.reads_path).names)
        if missing := sorted(set(_COLUMNS) - there):
            raise ValueError(f"column {missing[0]} is missing")
        columns = [*_COLUMNS, *({"repeat"} & there)]  # a run of an earlier version has asked each prompt once
        table = pq.read_table(
            folder.reads_path, columns=columns, read_dictionary=["template", "elicitation", "outcome"]
        )
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StoreError(f"{folder.reads_path}: not readable ({error}); run: ffprompt score {folder.path}") from error
    frame = table.drop_columns("answer_logprobs").to_pandas()
    return frame if "repeat" in frame else frame.assign(repeat=0), table["answer_logprobs"].combine_chunks()


def _groups(frame: pd.DataFrame) -> Mapping[Any, Any]:
    """Rows of each condition, by what tells the conditions of one run apart; -1 for probabilities of a file."""
    key = frame[_KEY].fillna(dict.fromkeys(("p_write", "p_read", "p_ignore"), -1.0))
    return key.groupby(_KEY, observed=True, sort=False).indices


def _reads(
    folder: RunFolder, plan: Plan, condition: Condition, part: pd.DataFrame, logprobs: NDArray[np.float64] | None
) -> Reads:
    """Rows of a condition as arrays, with what stood before each read. The plan's strings tell, and prove the rows."""
    index, position, truth = (part[name].to_numpy(np.int64) for name in ("string_index", "position", "truth"))
    n = condition.length // plan.task.stride
    if len(part) and not (
        index.min() >= 0 and index.max() < plan.string_count and position.min() >= 0 and position.max() < n
    ):
        raise StoreError(f"{folder.reads_path}: reads that are not in its plan; run: ffprompt score {folder.path}")
    covariates: dict[str, NDArray[np.int64]] = {}
    answers: dict[str, NDArray[np.uint8]] = {}
    opened: dict[str, NDArray[np.bool_]] = {}
    order = np.argsort(index, kind="stable")
    for start in range(0, plan.string_count, _BLOCK):
        low, high = np.searchsorted(index[order], [start, start + _BLOCK])
        if low == high:
            continue
        here = order[low:high]
        strings = plan.strings(condition.spec, start, min(start + _BLOCK, plan.string_count))
        at = (index[here] - start, position[here])
        if (strings.answers[at] != truth[here]).any() or not strings.is_read[at].all():
            raise StoreError(
                f"{folder.reads_path}: its reads are not those of the plan; run: ffprompt score {folder.path}"
            )
        for name, values in strings.task.covariates(strings).items():
            covariates.setdefault(name, np.zeros(len(part), np.int64))[here] = values[at]
        for name, rule in strings.task.rules(strings, condition.see_reads).items():
            answers.setdefault(name, np.zeros(len(part), np.uint8))[here] = rule.answers[at]
            opened.setdefault(name, np.zeros(len(part), np.bool_))[here] = rule.open[at]
    return Reads(
        index=index,
        position=position,
        gap=part.gap.to_numpy(np.int64),
        truth=truth,
        answer=part.answer.fillna(-1).to_numpy(np.int64),
        correct=(part.outcome == "correct").to_numpy(np.bool_),
        wrong=(part.outcome == "wrong").to_numpy(np.bool_),
        contradictions=covariates.get("contradictions"),
        earlier=covariates.get("earlier_reads"),
        rules={name: Rule(answers[name], opened[name]) for name in answers},
        symbols=plan.config.symbols,
        instructions=n,
        logprobs=logprobs,
        repeat=part["repeat"].to_numpy(np.int64),
    )


def _logprobs(column: pa.ListArray, symbols: int) -> NDArray[np.float64] | None:
    """(n, symbols), a row of NaN where they are not all there; None where no read has any."""
    import pyarrow.compute as pc

    if column.null_count == len(column):
        return None
    found = np.full((len(column), symbols), np.nan)
    whole = pc.fill_null(pc.equal(pc.list_value_length(column), symbols), False)
    flat = column.filter(whole).flatten().to_numpy(zero_copy_only=False)  # null becomes NaN
    found[whole.to_numpy(zero_copy_only=False)] = flat.reshape(-1, symbols)
    return found


def _condition(plan: Plan, condition: Condition, part: pd.DataFrame, reads: Reads) -> dict[str, Any]:
    outcomes = part.outcome.value_counts()
    return {
        "condition": condition.name,
        "template": condition.template,
        "shots": condition.shots,
        "elicitation": condition.elicitation,
        "turn_instructions": condition.turn_instructions,
        "form": condition.form,
        "language": condition.language,
        "symbols": plan.config.symbols,
        "outcomes": {str(name): int(count) for name, count in outcomes.items() if count},
        "missing_trials": plan.trials - len(part[["string_index", "repeat"]].drop_duplicates()),
        "all": cell(reads, np.ones_like(reads.correct)),
        "by_gap": by_number(reads, reads.gap, doubling(reads.gap)),
        "by_contradictions": _by_contradictions(reads),
        "by_position": by_number(reads, reads.position, tenths(reads.instructions)),
        "by_earlier_read": _by_earlier_read(reads),
        "reads_visible": condition.see_reads,
        "by_truth": by_number(reads, reads.truth, range(plan.config.symbols + 1)),
        "drift": drift(reads),
        "rules": explained(reads),
    }


def _by_contradictions(reads: Reads) -> list[dict[str, Any]]:
    if reads.contradictions is None:
        return []
    return by_number(reads, reads.contradictions, doubling(reads.contradictions))


def _by_earlier_read(reads: Reads) -> list[dict[str, Any]]:
    if reads.earlier is None:
        return []
    both = {"first read": cell(reads, reads.earlier == 0), "asked before": cell(reads, reads.earlier > 0)}
    return [
        {"label": label, "from": number, "to": number, **one}
        for number, (label, one) in enumerate(both.items())
        if one is not None
    ]


def _sensitivity(
    conditions: Sequence[Condition], made: Sequence[Mapping[str, Any]], seen: Sequence[Reads]
) -> list[dict[str, Any]]:
    """How much the accuracy depends on the template, everything else being the same."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, (condition, one) in enumerate(zip(conditions, made, strict=True)):
        if one["all"] is not None:
            key = (
                condition.language,
                condition.shots,
                condition.elicitation,
                condition.form,
                condition.turn_instructions,
            )
            alike.setdefault(key, []).append(number)
    found = []
    names = ("language", "shots", "elicitation", "form", "turn_instructions")
    for key, numbers in alike.items():
        if len(numbers) < 2:
            continue
        numbers = sorted(numbers, key=lambda number: -made[number]["all"]["accuracy"])
        shares = [made[number]["all"]["accuracy"] for number in numbers]
        found.append(
            {
                **dict(zip(names, key, strict=True)),
                "templates": [
                    {name: made[number][name] for name in ("template", "condition")} | made[number]["all"]
                    for number in numbers
                ],
                "spread": shares[0] - shares[-1],
                "sd": float(np.std(shares, ddof=1)),
                "widest_interval": max(made[n]["all"]["high"] - made[n]["all"]["low"] for n in numbers),
                "difference": _apart(conditions, seen, numbers[0], numbers[-1]),
            }
        )
    return found


def _numbers(reads: Reads, strings: int) -> NDArray[np.int64]:
    """(n,) a number for each read, the same in every condition: by repeat, string and position."""
    string = reads.index if reads.repeat is None else reads.repeat * strings + reads.index
    return string * reads.instructions + reads.position


def _apart(conditions: Sequence[Condition], seen: Sequence[Reads], best: int, worst: int) -> dict[str, Any] | None:
    """Best less worst template on the same reads of the same strings; None where they share none."""
    a, b = seen[worst], seen[best]
    x, y = (_numbers(one, 1 + max(int(side.index.max(initial=0)) for side in (a, b))) for one in (a, b))
    _, left, right = np.intersect1d(x, y, assume_unique=True, return_indices=True)
    found = difference(Pairs.from_reads(a.index[left], a.correct[left], b.correct[right]), LEVEL)
    if found is None:
        return None
    return {
        "best": conditions[best].template,
        "worst": conditions[worst].template,
        "estimate": found.estimate,
        "low": found.low,
        "high": found.high,
        "p": found.p,
        "reads": found.n_reads,
        "strings": found.n_clusters,
        "warnings": list(found.warnings),
    }
