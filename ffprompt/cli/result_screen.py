"""How a run ends on the terminal: the answer first, then a table that fits one screen.

::

    smollm2-135m: below the best memoryless rule from T = 100 on, nowhere above it

    condition  accuracy   95% interval   floor  verdict
    T=10         0.8438  0.5897–0.9708  0.8125  unclear
    T=100        0.6769  0.5901–0.7130  0.7333  below
    light-switch, 1-shot, forced, p=0.6. floor: the best rule without memory, on the same reads
    report: results/quick.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ffprompt._util.files import printable
from ffprompt._util.formatting import counted, plural_of, share, span
from ffprompt.analysis import verdict
from ffprompt.analysis.condition_names import Rows, name_rows
from ffprompt.analysis.verdict import ConditionVerdict, Verdict
from ffprompt.cli.console import line, make_console, show
from ffprompt.cli.output import Output
from ffprompt.cli.result_table import show_results
from ffprompt.evaluation.early_stopping import describe
from ffprompt.report.wording import REPEATS, failures, repeated, traced
from ffprompt.scoring.condition_result import ConditionResult

SCREEN = 25  # lines
_MOST_SENTENCES, _MOST_WARNINGS, _MOST_STOPS = 10, 4, 6
_FEWEST_ROWS = 4
_NARROWEST = 70  # columns, below which every row has lines of its own
_NAME = 32  # characters of a condition's name that is not broken
_HIGH_MASS = 0.9  # answer mass that needs no word
_STYLES = {"above": "green", "below": "red", "below chance": "red", "no result": "red", "unclear": "yellow"}


@dataclass(frozen=True)
class Ending:
    """What stands at the end of a run.

    Attributes:
        rows: The model and the result of each condition.
        after: Lines that follow the table: the report, the bill, what to run next.
        notes: What was noticed about the model and its replies.
    """

    rows: Rows
    after: Sequence[str] = ()
    notes: Sequence[str] = ()

    def show(self, output: Output) -> None:
        """Print the end of a run as far as it was asked for."""
        found = verdict.verdicts(self.rows)
        if output.quiet:
            for one in found:
                _say(str(one), output)
            return
        if output.verbose:
            for one in found:
                line(str(one))
            show_results(self.rows)
            for text in (*self.notes, *self.after):
                line(text)
            return
        self._screen(found)

    def _screen(self, found: Sequence[Verdict]) -> None:
        console = make_console()
        sentences = _first([str(one) for one in found], _MOST_SENTENCES, "models")
        told = {one.model for one in found if one.answer == "no result"}  # the sentence has said why
        doubtful = _warnings(self.rows, verdict.warnings([row for row in self.rows if row[0] not in told]))
        warned = [f"! {text}" for text in _first([*doubtful, *self.notes], _MOST_WARNINGS, "warnings")]
        names = name_rows(self.rows)
        below = [_caption(names.shared, [c for _, c in self.rows]), *_stops(self.rows), *warned, *self.after]
        used = sum(_height(text, console.width) for text in (*sentences, *below)) + 2  # an empty line and the header
        shown = _fitting(self.rows, max(_FEWEST_ROWS, SCREEN - used))
        for text in sentences:
            line(text)
        if self.rows:
            line("")
            judged = [one for each in found for one in each.conditions]
            # Verdicts come model by model, in which order they are found again.
            order = [n for each in found for n, (model, _) in enumerate(self.rows) if model == each.model]
            by_row = dict(zip(order, judged, strict=True))
            picked = [(*self.rows[n], by_row[n]) for n in shown]
            if console.width < _NARROWEST:
                for model, row, its in picked:
                    _stacked(model, row, its)
            else:
                show(_table(picked, several=len(found) > 1))
            if len(shown) < len(self.rows):
                line(
                    f"the {len(shown)} of {len(self.rows)} rows that are least above their floors; "
                    "all: --verbose, and the report"
                )
        for text in below:
            line(text)

    def to_json(self) -> dict[str, Any]:
        """Return the verdicts, the rows with their short names and verdicts, and the warnings as plain values."""
        found = verdict.verdicts(self.rows)
        names = name_rows(self.rows).rows
        words = [verdict.judge(row).word for _, row in self.rows]
        return {
            "verdicts": [one.to_json() for one in found],
            "warnings": _warnings(self.rows, verdict.warnings(self.rows)),
            "rows": [
                {"model": model, "name": name, "verdict": word, **row.to_json()}
                for (model, row), name, word in zip(self.rows, names, words, strict=True)
            ],
        }


def _say(text: str, output: Output) -> None:
    """Print a line also where other lines go elsewhere."""
    make_console(error=output.is_json).print(escape(printable(text)), soft_wrap=True)


def _first(texts: Sequence[str], most: int, what: str) -> list[str]:
    """The first of some lines, and how many more there are."""
    if len(texts) <= most:
        return list(texts)
    return [*texts[: most - 1], f"and {len(texts) - most + 1} more {what}: --verbose shows them"]


def _height(text: str, width: int) -> int:
    return max(1, -(-cell_len(text) // width))


def _warnings(rows: Rows, doubts: Sequence[str]) -> list[str]:
    """What changes how the table is to be read, the most serious first. ``doubts``: about results that there are."""
    missing = sum(row.missing_trials for _, row in rows)
    found = failures([row for _, row in rows])
    if missing:
        found.append(
            f"incomplete: {counted(missing, 'trial')} {plural_of(missing, 'has', 'have')} no answer yet, and what "
            "is missing may differ from the rest"
        )
    return [*found, *doubts]


def _stops(rows: Rows) -> list[str]:
    """How far each condition is that stops by itself."""
    stopped = [(model, row) for model, row in rows if row.stopping is not None]
    names = name_rows(stopped).rows
    several = len({model for model, _ in stopped}) > 1
    texts = [
        f"{f'{model} ' if several else ''}{name}: {describe(row.stopping)}"
        for (model, row), name in zip(stopped, names, strict=True)
        if row.stopping is not None
    ]
    return _first(texts, _MOST_STOPS, "conditions")


def _fitting(rows: Rows, most: int) -> list[int]:
    """The rows that are shown, in their order: all, or those with the least accuracy beside their floors."""
    if len(rows) <= most:
        return list(range(len(rows)))

    def above(number: int) -> float:
        row = rows[number][1]
        return -1.0 if row.accuracy is None else row.accuracy - (row.floor or 0.0)

    return sorted(sorted(range(len(rows)), key=above)[: most - 1])


def _caption(shared: str, rows: Sequence[ConditionResult]) -> str:
    """What all rows share, and what the floor is."""
    floor = "floor: the best rule without memory, on the same reads" if any(r.floor is not None for r in rows) else ""
    stops = "intervals hold wherever one stops" if any(row.stopping is not None for row in rows) else ""
    repeats = REPEATS if any(row.repeats > 1 for row in rows) else ""
    return ". ".join(text for text in (shared, floor, stops, repeats) if text)


def _table(rows: Sequence[tuple[str, ConditionResult, ConditionVerdict]], several: bool) -> Table:
    others = [other(row) for _, row, _ in rows]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    if several:
        shown.add_column("model", overflow="fold", max_width=30)
    shown.add_column("condition", overflow="fold", no_wrap=max(len(its.name) for *_, its in rows) <= _NAME)
    for name in ("accuracy", "95% interval", "floor"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("verdict", no_wrap=True)
    if any(others):
        shown.add_column("else", overflow="fold")
    before = None
    for (model, row, its), text in zip(rows, others, strict=True):
        style = _STYLES.get(its.word, "")
        cells = [
            *([escape(printable(model)) if model != before else ""] if several else []),
            escape(its.name),
            share(row.accuracy),
            span(row.interval_low, row.interval_high),
            share(row.floor),
            f"[{style}]{its.word}[/]" if style else its.word,
            *([escape(text)] if any(others) else []),
        ]
        shown.add_row(*cells)
        before = model
    return shown


def _stacked(model: str, row: ConditionResult, its: ConditionVerdict) -> None:
    """A row in lines of its own, for a terminal that a table does not fit into."""
    line(f"{model}  {its.name}: {its.word}")
    floor = share(row.floor)
    line(f"  accuracy {share(row.accuracy)}  95% interval {span(row.interval_low, row.interval_high)}  floor {floor}")
    line(f"  {', '.join([counted(row.reads, 'read'), *([text] if (text := other(row)) else [])])}")


def other(row: ConditionResult) -> str:
    """What became of reads that are neither right nor wrong, and what else a reader of the accuracy should know."""
    names = {"invalid": "invalid", "refused": "refused", "truncated": "cut off", "error": "failed"}
    found = [f"{count:,} {word}" for name, word in names.items() if (count := row.count(name))]
    if row.missing_trials:
        found.append(f"{counted(row.missing_trials, 'trial')} missing")
    if row.mean_answer_mass is not None and row.mean_answer_mass < _HIGH_MASS:
        found.append(f"mass {row.mean_answer_mass:.2g}")
    found += repeated(row)
    if row.contradicting_traces or row.replies_without_a_trace:
        found += traced(row)
    return ", ".join(found)


def rows_of(infos: Sequence[Mapping[str, Any]]) -> list[tuple[str, ConditionResult]]:
    """Return the rows of runs, given what their ``run.json`` holds."""
    return [
        (str(info["config"]["model"]), ConditionResult.from_json(row))
        for info in infos
        for row in info.get("results") or ()
    ]


def fits(console: Console) -> bool:
    """Whether a table fits into a terminal."""
    return console.width >= _NARROWEST
