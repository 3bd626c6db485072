"""What the commands do that set runs beside each other."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ffprompt.cli import compare_output
from ffprompt.cli.console import line
from ffprompt.comparison import baselines, gate_report
from ffprompt.comparison.compare import compare as compared
from ffprompt.comparison.compare import compare_conditions
from ffprompt.comparison.conditions import conditions_of
from ffprompt.comparison.gate import GateReport
from ffprompt.comparison.gate import gate as gated
from ffprompt.comparison.power import strings_needed
from ffprompt.comparison.trend import Trend
from ffprompt.comparison.trend import trend as over_time
from ffprompt.config.suites import Suite
from ffprompt.errors import ConfigError, FFPromptError, StoreError
from ffprompt.runs.folder import RunFolder


def execute(options: Namespace) -> int:
    """Run the command that was chosen."""
    match options.command:
        case "compare":
            return compare(options)
        case "gate":
            return gate(options)
        case "baseline":
            return baseline(options)
        case "trend":
            return trend(options)
        case "power":
            return power(options)
        case other:
            raise AssertionError(other)


def compare(options: Namespace) -> int:
    """Compare runs, or the conditions of one."""
    _writable(options.json)
    made = compared(options.runs, options.by, options.allow, options.incomplete, options.level)
    compare_output.comparison(made, options.tests)
    if options.json:
        gate_report.to_json(Path(options.json), made.to_json())
    return 0


def gate(options: Namespace) -> int:
    """Compare a candidate with a baseline. Returns 0 for a pass, 1 for a regression, 3 where it does not tell."""
    _writable(options.json, options.junit, options.markdown)
    before = baselines.resolve(Path(options.out), options.baseline, options.suite)
    report = gated(before, options.candidate, options.margin, options.level, options.allow)
    compare_output.gated(report)
    if options.json:
        gate_report.to_json(Path(options.json), report.to_json())
    if options.junit:
        gate_report.to_junit(Path(options.junit), report)
    if options.markdown:
        gate_report.to_markdown(Path(options.markdown), report)
    return report.exit_code


def _writable(*files: str | None) -> None:
    """Say that a file cannot be written before anything is computed."""
    for file in files:
        if file and not Path(file).parent.is_dir():
            raise StoreError(f"{file}: the folder {Path(file).parent} is not there")


def baseline(options: Namespace) -> int:
    """Set a baseline or show them all."""
    results = Path(options.out)
    if options.action == "set":
        made = baselines.put(results, [Path(run) for run in options.runs], options.name, options.suite)
        whose = f" of suite {made.suite}" if made.suite else ""
        line(f"{results / baselines.FILE}: baseline {made.name}{whose} is {', '.join(made.runs)}")
        return 0
    known = baselines.read(results)
    if not known:
        line(f"{results / baselines.FILE}: no baseline; set one with: ffprompt baseline set RUN")
        return 0
    compare_output.baselines(
        [
            (one, run, _state(folder))
            for one in known
            for run, folder in zip(one.runs, baselines.folders(results, one), strict=True)
        ]
    )
    return 0


def _state(path: Path) -> str:
    try:
        info = RunFolder.open(path).info
        return f"{info.model_name}, {info.status}"
    except (StoreError, KeyError, TypeError):
        return "not there, or damaged"


def trend(options: Namespace) -> int:
    """Accuracy over all runs of a results folder. Returns 3 where one of them is damaged."""
    _writable(options.json, options.csv)
    made = over_time(options.results)
    if options.model:
        points = tuple(one for one in made.points if one.model == options.model)
        if not points:
            known = ", ".join(sorted({one.model for one in made.points}))
            raise ConfigError(f"model {options.model!r}: no run of it in {options.results} (there are: {known})")
        made = Trend(points, made.untold)
    compare_output.trend(made)
    if options.json:
        gate_report.to_json(Path(options.json), made.to_json())
    if options.csv:
        gate_report.to_csv(Path(options.csv), made.rows())
    return 0


def power(options: Namespace) -> int:
    """How many strings a question needs."""
    _writable(options.json)
    found = strings_needed(
        options.run, options.half_width, options.difference, options.margin, options.against, options.power,
        options.level, options.allow, options.incomplete,
    )  # fmt: skip
    chance = f", with probability {options.power:g}"
    if options.half_width is not None:
        question = f"strings for an interval of mean half width {options.half_width:g} at level {options.level:g}"
    elif options.difference is not None:
        question = (
            f"strings to tell a difference of {options.difference:g} from none at level {options.level:g}{chance}"
        )
    else:
        question = (
            f"strings for an equal model to pass a gate of margin {options.margin:g} at level {options.level:g}{chance}"
        )
    compare_output.strings_needed(found, question)
    if options.json:
        gate_report.to_json(Path(options.json), {"question": question, "conditions": [one.to_json() for one in found]})
    return 0


def few_shot(folders: Sequence[Path]) -> None:
    """After a run with several numbers of shots: each against the fewest, on the same reads."""
    for folder in folders:
        try:
            if len(RunFolder.open(folder).info.config["shots"]) < 2:
                continue
            made = compare_conditions([conditions_of(folder)], ["shots"])
        except (FFPromptError, KeyError, TypeError):  # the run itself has come to its end, and its table is shown
            continue
        compare_output.comparison(made)
        line(f"again, and as JSON: ffprompt compare --by shots {folder} --json FILE")


class AfterRun:
    """The gate of ``run --gate``: settled before anything is asked of the model, carried out after it."""

    def __init__(self, options: Namespace, suite: Suite | None) -> None:
        known = suite.gate if suite else {}
        margin = options.margin if options.margin is not None else known.get("margin")
        if margin is None:
            raise ConfigError("--gate: expected a margin, from --margin or [gate] margin of the suite")
        self.margin: float = margin
        self.level = known.get("level", 0.95)
        name = suite.name if suite else None
        if not 0 < self.margin < 1:
            raise ConfigError(f"margin {self.margin}: expected a loss of accuracy between 0 and 1, such as 0.01")
        results = Path(options.out)
        if options.baseline and Path(options.baseline).is_dir():
            self.baseline = [Path(options.baseline)]
        else:
            self.baseline = baselines.find(results, options.baseline or baselines.DEFAULT, name)

    def gate(self, made: Sequence[Path]) -> GateReport:
        """Compare what was made with the baseline, and show it."""
        report = gated(self.baseline, made, self.margin, self.level)
        compare_output.gated(report)
        return report
