"""A run in Python: its table, its reads, its report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt._util.formatting import NO_DATA, counted, share, span
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt._util.storage import is_folder
from ffprompt.analysis.verdict import ConditionVerdict, Verdict, verdicts
from ffprompt.errors import StoreError
from ffprompt.report.wording import notes
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.records import ConditionRecord
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.score import Outcome

if TYPE_CHECKING:
    import pandas as pd

    from ffprompt.analysis.error_analysis import ErrorAnalysis

# Columns of the table that come from the plan, and those of the result that are one value each.
_PLANNED = ("template", "shots", "elicitation", "form", "length", "p_write", "p_read", "p_ignore", "turn_instructions")
_NESTED = {"outcomes", "reasons", "floors", "warnings", "strings_with_an_error", "zero_error_bounds", "stopping"}
_NESTED |= {"unread", "reasoning_tags", "condition", *_PLANNED}


class Run:
    """A run that is on disk, as tables.

    It stands for its folder: every function that takes the path of a run takes a ``Run`` as well.

    Attributes:
        path: The folder.
        info: What ``run.json`` holds: settings, plan, model, provenance, results.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path
        self._folder = folder
        self.info: JsonObject = folder.info.to_json()

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        info = self._folder.info
        conditions = len(info.plan.conditions)
        return f"Run({str(self.path)!r}, {info.model_name}, {counted(conditions, 'condition')}, {info.status})"

    @property
    def complete(self) -> bool:
        """Whether every trial has an answer."""
        results = self._folder.info.results
        return results is not None and all(row.complete for row in results)

    @cached_property
    def table(self) -> pd.DataFrame:
        """The result table, with a row for each condition: the numbers that the command line prints.

        ``accuracy`` is the share of reads answered correctly among ``reads`` that are no errors, with its 95% interval
        from ``interval_low`` to ``interval_high``. ``floor`` is what the best rule without memory, ``floor_rule``,
        scores on the same reads, and ``against_floor`` says whether the whole interval lies above or below it.
        ``correct`` to ``error`` count the reads with each outcome. No data is None or NaN.

        Raises:
            StoreError: the run has no table yet.
        """
        import pandas as pd

        info = self._folder.info
        rows = [
            _row(info.model_name, condition, result.to_json(), verdict.word)
            for condition, result, verdict in zip(info.plan.conditions, self._results, self.verdicts, strict=True)
        ]
        return pd.DataFrame(rows)

    @property
    def verdicts(self) -> Sequence[ConditionVerdict]:
        """What each condition says against its floor, in the order of the table.

        Raises:
            StoreError: the run has no table yet.
        """
        return self.verdict.conditions

    @cached_property
    def verdict(self) -> Verdict:
        """What the run says of its model: a sentence, and a verdict for each condition.

        Raises:
            StoreError: the run has no table yet.
        """
        info = self._folder.info
        (found,) = verdicts([(info.model_name, result) for result in self._results])
        return found

    @property
    def _results(self) -> Sequence[ConditionResult]:
        if (results := self._folder.info.results) is None:
            raise StoreError(f"run {self.path}: it has no table yet; compute it with: ffprompt score {self.path}")
        return results

    @cached_property
    def reads(self) -> pd.DataFrame:
        """The reads, a row for each: ``outcome``, ``truth``, ``answer``, ``gap`` and more.

        Columns are added in later versions and never renamed.

        Raises:
            StoreError: ``reads.parquet`` is not there or cannot be read.
        """
        import pandas as pd

        path = self._folder.reads_path
        if not path.is_file():
            raise StoreError(f"run {self.path}: no reads.parquet yet; make it with: ffprompt score {self.path}")
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
            raise StoreError(f"{path}: not readable ({error}); run: ffprompt score {self.path}") from error

    @cached_property
    def trials(self) -> pd.DataFrame:
        """The log, a row for each trial as it was asked and answered.

        Raises:
            StoreError: a line of the log is damaged.
        """
        import pandas as pd

        return pd.DataFrame([line for _, _, line in read_lines(self._folder.trials_path) if "first_turn" not in line])

    def report(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write the report, one HTML file, and return its path.

        Args:
            path: Where it goes. Without it that is ``report.html`` in the run's folder.

        Raises:
            ModelError: plotly is not installed.
            StoreError: The run is damaged, or the file cannot be written.
        """
        from ffprompt.report import data, page

        if path is not None and not isinstance(path, (str, os.PathLike)):
            raise StoreError(f"report {path!r:.80}: expected the path of an .html file")
        target = self.path / "report.html" if path is None else Path(path)
        if target.suffix not in (".html", ".htm"):
            raise StoreError(f"report {target}: the file's name must end in .html")
        if not is_folder(target.parent):
            raise StoreError(f"report {target}: the folder {target.parent} is not there")
        page.write(data.build([self.path], incomplete=True), target)
        return target

    def anatomy(self, calibrate: bool = True) -> ErrorAnalysis:
        """Return what the errors have in common, as ``ffprompt.anatomy(run)`` does."""
        from ffprompt.analysis.error_analysis import anatomy

        return anatomy(self, calibrate)

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        info = self._folder.info
        if info.results is None:
            return f"<p>{escape(repr(self))}</p>"
        rows = [{"model": info.model_name, **result.to_json()} for result in info.results]
        shown = [_cells(row, verdict) for row, verdict in zip(rows, self.verdicts, strict=True)]
        names = ("condition", "accuracy", "95% interval", "floor", "against the floor", "reads", "strings", "outcomes")
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>" for cells in shown)
        remarks = "".join(
            f"<li>{escape(note)}</li>" for note in notes([(info.model_name, result) for result in info.results])
        )
        below = f"<details><summary>notes</summary><ul>{remarks}</ul></details>" if remarks else ""
        status = "" if self.complete else f" ({escape(info.status)})"
        return (
            f"<p><b>{escape(info.model_name)}</b>{status}: {escape(self.verdict.sentence)}</p>"
            f"<p>{escape(str(self.path))}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
        )


def load(run: str | os.PathLike[str]) -> Run:
    """Return a run from its folder.

    >>> load("results/20261122-101500-scripted-oracle-1f0c").reads.outcome.value_counts()  # doctest: +SKIP

    Raises:
        StoreError: The folder is no run, is damaged, or has no table of reads yet.
    """
    folder = RunFolder.open(run)
    if not folder.reads_path.is_file():
        raise StoreError(f"run {folder.path}: no reads.parquet yet; make it with: ffprompt score {folder.path}")
    return Run(folder)


def _row(model: str, condition: ConditionRecord, result: Mapping[str, Any], verdict: str) -> dict[str, Any]:
    """A row of the table: the condition, its settings, its numbers."""
    outcomes = {str(name): result["outcomes"].get(name, 0) for name in Outcome}
    numbers = {name: value for name, value in result.items() if name not in _NESTED}
    first = {name: numbers.pop(name) for name in ("reads", "strings")}
    planned = {name: getattr(condition, name) for name in _PLANNED}
    warnings = "; ".join(result.get("warnings", ()))
    return {
        "model": model, "condition": condition.name, **planned, **first, **numbers, "against_floor": verdict,
        **outcomes, "warnings": warnings,
    }  # fmt: skip


def _cells(row: Mapping[str, Any], verdict: ConditionVerdict) -> tuple[str, ...]:
    """A row as a notebook shows it."""
    floor = NO_DATA if row["floor"] is None else f"{share(row['floor'])} {row['floor_rule']}"
    outcomes = ", ".join(f"{row['outcomes'][name]:,} {name}" for name in Outcome if row["outcomes"].get(name))
    return (
        row["condition"], share(row["accuracy"]), span(row["interval_low"], row["interval_high"]), floor, verdict.word,
        f"{row['reads']:,}", f"{row['strings']:,}", outcomes,
    )  # fmt: skip
