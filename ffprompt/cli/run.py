"""``ffprompt run``: evaluate a model, or all runs of a suite."""

from __future__ import annotations

import contextlib
import shlex
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ffprompt._util.formatting import counted
from ffprompt.backends.base import Backend
from ffprompt.backends.entry_points import backend_names
from ffprompt.backends.registry import needs_batches
from ffprompt.cli import batch, track_flags
from ffprompt.cli.compare import few_shot
from ffprompt.cli.console import line
from ffprompt.cli.dry_run import dry_run
from ffprompt.cli.gate import AfterRun
from ffprompt.cli.output import Output
from ffprompt.cli.progress import progress
from ffprompt.cli.report import after as write_report
from ffprompt.cli.result_screen import Ending
from ffprompt.cli.result_table import bill, show_errors
from ffprompt.cli.run_flags import given_settings
from ffprompt.comparison.gate import GateReport
from ffprompt.config.run_config import RunConfig, make
from ffprompt.config.suites import Suite, load_suite
from ffprompt.errors import ConfigError, FFPromptError, StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.batch_runner import batchable
from ffprompt.evaluation.early_stopping import stops, verdict
from ffprompt.evaluation.fleet import open_model
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import errors_of
from ffprompt.evaluation.runner import carry_out, complete, finished, make_plan, own_trials, remaining, start
from ffprompt.report.wording import audit_notes
from ffprompt.runs.folder import RunFolder, refuse_nesting
from ffprompt.scoring.condition_result import ConditionResult

BARE_SUITE = "quick"
Ask = Callable[[RunFolder, Plan, Backend], list[ConditionResult]]  # gets a run its answers and returns its table


@dataclass
class Done:
    """What came of the runs of a command."""

    folders: list[RunFolder] = field(default_factory=list)
    report: str | None = None  # a line that says where it is
    gate: GateReport | None = None
    exit_code: int = 0

    @property
    def rows(self) -> list[tuple[str, ConditionResult]]:
        """The model and the result of each condition."""
        return [(folder.info.model_name, row) for folder in self.folders for row in folder.info.results or ()]


def execute(options: Namespace) -> int:
    """Evaluate one model, or all runs of a suite. Without any setting, that is the bundled quick suite.

    Returns:
        0, or 3 when a run is incomplete. With a rule that stops a run it is what ``verdict`` says, with ``--gate``
        the exit code of the gate.
    """
    output = Output.of(options)
    _check(options, output)
    trackers = track_flags.checked(options)
    with output.beside():
        done = _carry_out(options, output)
        if output.shows and done.rows:
            _ending(done, options).show(output)
            if done.gate is not None:
                line("")
    if output.quiet and done.rows:
        _ending(done, options).show(output)
    if done.gate is not None:
        AfterRun.show(done.gate, output)
    if not options.dry_run:
        with output.beside():
            _track(done, trackers)
        output.write(_document(done))
    return done.exit_code


def _track(done: Done, trackers: Sequence[str]) -> None:
    """Tell trackers of the runs, and of the gate behind them."""
    if not trackers:
        return
    from ffprompt.integrations.trackers import entry

    report = Path(done.report.removeprefix("report: ")) if done.report else None
    makers = [partial(entry.of_run, folder, report) for folder in done.folders]
    gates = [partial(entry.of_gate, done.gate)] if done.gate is not None else []
    track_flags.tell(trackers, [*makers, *gates])


def _check(options: Namespace, output: Output) -> None:
    """Refuse flags that do not go together before anything is asked or paid for."""
    if options.batch and (options.certify is not None or options.until_width is not None):
        flag = "--certify" if options.certify is not None else "--until-width"
        raise ConfigError(f"{flag}: cannot be combined with --batch, which submits all strings at once")
    if options.batch_part is not None and not options.batch:
        raise ConfigError(f"--batch-part {options.batch_part}: goes with --batch")
    if options.new and not options.resume:
        raise ConfigError("--new: goes with --resume; without it every run is a new one")
    if options.dry_run and output.json is not None:
        raise ConfigError("--json: cannot be combined with --dry-run, which has no result")


def _carry_out(options: Namespace, output: Output) -> Done:
    """Carry out every run, then write the report and hold the gate."""
    settings = given_settings(options)
    out = Path(options.out)
    refuse_nesting(out)
    ask = in_batches(options) if options.batch else partial(_live, shown=not output.quiet)
    suite: Suite | None = None
    if (options.suite or not settings) and not options.batch:
        suite = load_suite(options.suite or BARE_SUITE, settings)
        runs = list(suite.runs)
        line(f"{suite.name}: {suite.summary}")
    else:
        runs = [(config_of(settings), False)]
    gate = _gate_of(options, suite)
    reuse = len(runs) > 1 or gate is not None or output.json is not None
    done = Done()
    for config, optional in runs:
        if optional and (missing := _missing(config)):
            line(f"left out: {missing}")
            continue
        resume = Resume(options.resume, options.new, reuse)
        folder = one_run(config, out, resume, options.dry_run, ask=ask, before=gate.before if gate else None)
        if folder is not None:
            done.folders.append(folder)
    results = [row for _, row in done.rows]
    paths = [folder.path for folder in done.folders]
    if not options.no_report:
        done.report = write_report(paths, out, suite.name if suite else None)
    if not all(complete(folder.info.results or ()) for folder in done.folders):
        done.exit_code = 3
    elif gate is None or options.dry_run or not paths:
        done.exit_code = verdict(results)
    else:
        done.gate = gate.gate(paths)
        done.exit_code = done.gate.exit_code
    return done


def _ending(done: Done, options: Namespace) -> Ending:
    """What stands at the end: the table, the bill, few-shot against zero-shot, the report, and what to run next."""
    infos = [folder.info.to_json() for folder in done.folders]
    bills = [text for info in infos for text in bill(info)]
    notes = [text for info in infos for text in audit_notes(info)]
    shots = few_shot([folder.path for folder in done.folders])
    folder = [f"run: {done.folders[0].path}"] if len(done.folders) == 1 else []
    report = [done.report] if done.report else []
    return Ending(done.rows, [*bills, *shots, *folder, *report, *_next(done, options)], notes)


def _next(done: Done, options: Namespace) -> list[str]:
    """The command that a reader of the result most likely wants, in one line."""
    last = done.folders[-1]
    path = shlex.quote(str(last.path))
    if not complete(last.info.results or ()):
        return [f"next: ask again what has no answer, with the same command and --resume; or: ffprompt score {path}"]
    if options.suite is None and not given_settings(options):
        return ["next: your own model, ffprompt run --backend transformers --model MODEL (see --help)"]
    if any(row.count("wrong") for row in last.info.results or ()):
        return [f"next: what its errors have in common, ffprompt anatomy {path}"]
    if any(row.count("invalid") for row in last.info.results or ()):
        return [f"next: replies that could not be read, {shlex.quote(str(last.invalid_path))}"]
    return []


def _document(done: Done) -> dict[str, Any]:
    """What ``--json`` writes."""
    return {
        "exit_code": done.exit_code,
        "runs": [
            {
                "folder": str(folder.path),
                "run_id": folder.info.run_id,
                "model": folder.info.model_name,
                "backend": folder.info.backend_name,
                "status": folder.info.status,
                "seconds": folder.info.seconds,
            }
            for folder in done.folders
        ],
        "report": done.report.removeprefix("report: ") if done.report and done.report.startswith("report: ") else None,
        **Ending(done.rows).to_json(),
        "gate": done.gate and done.gate.to_json(),
    }


def _gate_of(options: Namespace, suite: Suite | None) -> AfterRun | None:
    """The gate that is to follow, with its baseline found before anything is asked or paid for."""
    if options.gate:
        return AfterRun(options, suite)
    for name in ("baseline", "margin", "junit", "markdown"):
        if (value := getattr(options, name)) is not None:
            raise ConfigError(f"--{name} {value}: goes with --gate")
    return None


def config_of(settings: dict[str, Any]) -> RunConfig:
    """The configuration of one run from its flags."""
    if "backend" not in settings:
        raise ConfigError(f"--backend is missing ({', '.join(backend_names())}); no flags at all run a quick suite")
    if "model" not in settings:
        raise ConfigError("--model is missing: a short name, a folder, a GGUF file or a hub id")
    return make(settings)


def _missing(config: RunConfig) -> str | None:
    """Why the model of an optional run is not available here, or None."""
    if config.backend != "transformers":
        return None
    from ffprompt.backends.local.weights import SHIPPED, installed

    if config.model in SHIPPED and not installed(config.model):
        return f"{config.model} (its weights are not installed: {SHIPPED[config.model].install})"
    return None


@dataclass(frozen=True)
class Resume:
    """Which earlier run of a plan is taken up.

    Attributes:
        unfinished: The newest unfinished run goes on.
        new: A new run begins where none is unfinished, whether or not one is finished.
        reuse: A finished run stands for a new one.
    """

    unfinished: bool = False
    new: bool = False
    reuse: bool = False


def one_run(
    config: RunConfig,
    out: Path,
    resume: Resume,
    dry: bool,
    ask: Ask,
    before: Callable[[Plan], Sequence[str]] | None = None,
) -> RunFolder | None:
    """Carry out a run.

    Args:
        before: Says what there is to say of a plan before anything is asked, one line each.

    Returns:
        Its folder. None where it was only looked at (``dry``), and where ``--resume`` finds it finished.
    """
    batches = not isinstance(ask, partial) or ask.func is not _live
    if batches:
        needs_batches(config)
        spending.unlimited(config)
    backend = open_model(config, weights=not dry)
    try:
        plan = make_plan(config, backend)
        if batches:
            batchable(plan)
        for text in (*_beforehand(plan, config), *(before(plan) if before else ())):
            line(text)
        if dry:
            line(f"{config.model}: {trial_count(plan)}")
            dry_run(plan, backend, batch=batches, out=out)
            return None
        reuse = resume.reuse and not resume.new
        if resume.unfinished and not resume.new and not reuse and (known := finished(backend, plan, out)):
            line(
                f"nothing to resume: {known.path} is finished. Its table: ffprompt score {known.path}; to ask "
                "everything again: --resume --new"
            )
            return None
        folder, found = start(config, backend, plan, out, resume.unfinished, reuse)
        if found and folder.info.status == "done":
            line(f"{folder.path}: already complete")
            return folder
        state = trial_count(plan)
        if found:
            state = f"going on, {remaining(folder, plan):,} of {counted(own_trials(folder, plan), 'trial')} are left"
        elif resume.unfinished:
            state += ", a new run: there is no unfinished one of this plan"
        if plan.shard is not None:
            state += f"; shard {plan.shard} has {own_trials(folder, plan):,} of them"
        line(f"{config.model}: {state} ({folder.path})")
        try:
            ask(folder, plan, backend)
        except FFPromptError:
            # The error that stopped the run is shown last, and most of its calls may have failed for another reason.
            with contextlib.suppress(StoreError):  # a damaged log must not hide what went wrong
                show_errors(errors_of(folder, plan))
            raise
        return folder
    finally:
        backend.close()


def _beforehand(plan: Plan, config: RunConfig) -> list[str]:
    """What a user may not expect of a plan."""
    if plan.repeats == 1 or config.temperature != 0:
        return []
    return [
        f"--repeats {plan.repeats} at temperature 0: a deterministic model gives the same answer {plan.repeats} times, "
        "so differences come from its server; to repeat sampled replies: --temperature 1"
    ]


def trial_count(plan: Plan) -> str:
    """Return how many trials a run has and what they are the product of.

    For example ``30 strings x 2 shots x 2 elicitations = 120 trials``.
    """
    config = plan.config
    most = "at most " if stops(config) else ""
    several = {
        "templates": config.template,
        "shots": config.shots,
        "elicitations": config.elicitation,
        "lengths": config.length,
        "p-ignore": config.p_ignore,
    }
    factors = [f"{len(values)} {name}" for name, values in several.items() if values and len(values) > 1]
    factors += [f"{plan.repeats} repeats"] if plan.repeats > 1 else []
    if not factors:
        return f"{most}{counted(len(plan), 'trial')}"
    parts = [counted(plan.string_count, "string"), *factors]
    return f"{most}{' x '.join(parts)} = {counted(len(plan), 'trial')}"


def _live(folder: RunFolder, plan: Plan, backend: Backend, shown: bool = True) -> list[ConditionResult]:
    names = [condition.name for condition in plan.conditions]
    with progress(plan.config.model, names, own_trials(folder, plan), shown) as watch:
        return carry_out(folder, plan, backend, watch)


def in_batches(options: Namespace, only_submit: bool = False) -> Ask:
    """Return what asks a model through its provider's batches.

    Raises:
        ConfigError: for flags that do not go with it.
    """
    if options.suite:
        raise ConfigError(f"--suite {options.suite}: batches take one run at a time; give its settings as flags")
    if options.batch_part is not None and options.batch_part < 1:
        raise ConfigError(f"--batch-part {options.batch_part}: expected at least 1")
    return partial(batch.submit if only_submit else batch.run, most=options.batch_part)
