"""What the commands of the command line do."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ffprompt.backends.base import Asker, Backend
from ffprompt.backends.registry import needs_batches, open_backend
from ffprompt.cli import (
    anatomy,
    compare,
    compare_flags,
    display,
    export,
    report,
    sweep,
    train,
)
from ffprompt.cli import (
    batch as batches,
)
from ffprompt.config.run_config import BACKENDS, ELICITATIONS, RunConfig, Suite, load_suite, make, suite_folder
from ffprompt.elicitation.prompts import prompt
from ffprompt.errors import ConfigError, FFPromptError, StoreError, UsageError, did_you_mean
from ffprompt.evaluation import spending
from ffprompt.evaluation.batch_runner import batchable
from ffprompt.evaluation.early_stopping import forecast, stops, verdict
from ffprompt.evaluation.estimate import of_plan
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import errors_of, plan_of, rebuild
from ffprompt.evaluation.runner import audit, carry_out, complete, make_plan, remaining, start
from ffprompt.runs.folder import Log, RunFolder, UnwritableError
from ffprompt.tasks import datasets
from ffprompt.tasks.flipflop import Spec, sample
from ffprompt.tasks.shots import sample_shots
from ffprompt.templates import template as templates
from ffprompt.templates.template import Elicitation, Form

BARE_SUITE = "quick"
Ask = Callable[[RunFolder, Plan, Backend], list[dict[str, Any]]]  # what gets a run its answers and gives its table


def execute(options: Namespace) -> int:
    """Run the command that was chosen."""
    match options.command:
        case "run":
            return run(options)
        case "batch":
            return batch(options)
        case "score":
            return score(Path(options.run))
        case "anatomy":
            return anatomy.show(Path(options.run), options.json and Path(options.json))
        case "report":
            return report.report(options)
        case "suites":
            return list_suites()
        case "prompts":
            return prompts(options)
        case "train":
            return train.train(options)
        case "export":
            return export.export(options)
        case "sweep":
            return sweep.sweep(options)
        case "sample":
            return write_sample(options)
        case name if name in compare_flags.COMMANDS:
            return compare.execute(options)
        case other:
            raise AssertionError(other)


def run(options: Namespace) -> int:
    """Evaluate one model, or all runs of a suite; without any setting the bundled quick suite.

    Returns 0, or 3 when a run is incomplete; with a rule that stops it what ``verdict`` says, with ``--gate`` the gate.
    """
    settings = _settings(options)
    out = Path(options.out)
    if options.batch and (options.certify is not None or options.until_width is not None):
        flag = "--certify" if options.certify is not None else "--until-width"
        raise ConfigError(f"{flag}: cannot be had with --batch, which hands over all strings at once")
    ask = _in_batches(options) if options.batch else _live
    if options.batch_part is not None and not options.batch:
        raise ConfigError(f"--batch-part {options.batch_part}: goes with --batch")
    suite = None
    suite_name: str | None = None
    if (options.suite or not settings) and not options.batch:
        suite = load_suite(options.suite or BARE_SUITE, settings)
        runs, suite_name = suite.runs, suite.name
        display.line(f"{suite.name}: {suite.summary}")
    else:
        runs = [(_config(settings), False)]
    gate = _gate_of(options, suite)
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    made: list[Path] = []
    incomplete = False
    for config, optional in runs:
        if optional and (missing := _missing(config)):
            display.line(f"left out: {missing}")
            continue
        folder = _one_run(config, out, options.resume, options.dry_run, reuse=len(runs) > 1, ask=ask)
        if folder is not None:
            done = folder.info["results"]
            incomplete |= not complete(done)
            rows += [{"model": config.model, **row} for row in done]
            remarks += [*display.audit_notes(folder.info), *display.bill(folder.info)]
            made.append(folder.path)
    if rows:
        display.table(rows)
    for remark in remarks:
        display.line(remark)
    compare.few_shot(made)
    if not options.no_report:
        report.after(made, out, suite_name)
    if incomplete or gate is None or options.dry_run:
        return 3 if incomplete else verdict(rows)
    return gate.gate(made).exit_code


def _gate_of(options: Namespace, suite: Suite | None) -> compare.AfterRun | None:
    """The gate that is to follow, with its baseline found before anything is asked or paid for."""
    if options.gate:
        return compare.AfterRun(options, suite)
    if options.baseline is not None or options.margin is not None:
        flag = f"--baseline {options.baseline}" if options.baseline is not None else f"--margin {options.margin}"
        raise ConfigError(f"{flag}: goes with --gate")
    return None


def _settings(options: Namespace) -> dict[str, Any]:
    """The settings of a run that were given as flags."""
    return {key: value for key, value in vars(options).items() if key in RunConfig.model_fields and value is not None}


def _config(settings: dict[str, Any]) -> RunConfig:
    """The configuration of one run from its flags."""
    if "backend" not in settings:
        raise ConfigError(f"--backend is missing ({', '.join(BACKENDS)}); no flags at all run a quick suite")
    if "model" not in settings:
        raise ConfigError("--model is missing: a short name, a folder, a GGUF file or a hub id")
    return make(settings)


def _missing(config: RunConfig) -> str | None:
    """Why an optional run cannot be had here, or None."""
    if config.backend != "transformers":
        return None
    from ffprompt.backends.local.weights import SHIPPED, installed

    if config.model in SHIPPED and not installed(config.model):
        return f"{config.model} (its weights are not installed: {SHIPPED[config.model].install})"
    return None


def _one_run(config: RunConfig, out: Path, resume: bool, dry: bool, reuse: bool, ask: Ask) -> RunFolder | None:
    """Carry out a run and return its folder; None where it was only looked at (``dry``)."""
    if ask is not _live:
        needs_batches(config)
        spending.unlimited(config)
    backend = open_backend(config, weights=not dry)
    try:
        plan = make_plan(config, backend)
        if ask is not _live:
            batchable(plan)
        if plan.repeats > 1 and config.temperature == 0:
            display.line(
                f"--repeats {plan.repeats} at temperature 0: a deterministic model answers {plan.repeats} times the "
                "same, so what differs is its server's doing; to repeat sampled replies: --temperature 1"
            )
        if dry:
            _dry_run(plan, backend, batch=ask is not _live)
            return None
        folder, found = start(config, backend, plan, out, resume, reuse)
        if found and folder.info["status"] == "done":
            display.line(f"{folder.path}: already complete")
            return folder
        state = f"{'at most ' if stops(plan.config) else ''}{len(plan):,} trials"
        if found:
            state = f"going on, {remaining(folder, plan):,} of {state} are left"
        elif resume:
            state += ", a new run: there is no unfinished one of this plan"
        display.line(f"{folder.path}: {state}")
        try:
            ask(folder, plan, backend)
        except FFPromptError:
            # What stopped it is told last, and may not be what most of its calls failed of.
            with contextlib.suppress(StoreError):  # a damaged log must not hide what went wrong
                display.errors(errors_of(folder, plan))
            raise
        return folder
    finally:
        backend.close()


def _live(folder: RunFolder, plan: Plan, backend: Backend) -> list[dict[str, Any]]:
    with display.progress(len(plan)) as watch:
        return carry_out(folder, plan, backend, watch)


def _in_batches(options: Namespace, only_submit: bool = False) -> Ask:
    if options.suite:
        raise ConfigError(f"--suite {options.suite}: batches take one run at a time; give its settings as flags")
    if options.batch_part is not None and options.batch_part < 1:
        raise ConfigError(f"--batch-part {options.batch_part}: at least 1 is wanted")
    return partial(batches.submit if only_submit else batches.run, most=options.batch_part)


def batch(options: Namespace) -> int:
    """Submit, look at, collect or cancel the batches of a run. Returns 0, or 3 where something is still to come."""
    if options.action != "submit":
        step = {"status": batches.status, "collect": batches.collect, "cancel": batches.cancel}
        return step[options.action](Path(options.run), options.key_file)
    ask, settings = _in_batches(options, only_submit=True), _settings(options)
    if options.run is None:
        _one_run(_config(settings), Path(options.out), options.resume, options.dry_run, reuse=False, ask=ask)
        return 0
    if given := sorted(settings.keys() - {"key_file"}):
        raise ConfigError(f"--{given[0].replace('_', '-')}: {options.run} has its own settings; give a run or flags")
    with batches.opened(Path(options.run), options.key_file) as (folder, plan, backend):
        ask(folder, plan, backend)
    return 0


def _dry_run(plan: Plan, backend: Backend, batch: bool) -> None:
    audits = audit(plan, backend)
    if isinstance(backend, Asker):
        price = spending.price_of(plan.config, backend.identity)
        display.plan(plan, backend.identity, audits, of_plan(plan, backend, price, batch), price, thinks=backend.thinks)
    else:
        display.plan(plan, backend.identity, audits)
    for text in forecast(plan):
        display.line(text)
    first = plan.batch(plan.conditions[0], 0, 1)
    display.prompt(f"first prompt, {first.trial_id(0, plan.seed)}", plan.prompt(first, 0))


def score(path: Path) -> int:
    """Compute a run's table again, and save it unless the run is being written. Returns 3 when it is not complete."""
    folder = RunFolder.open(path)
    try:
        with Log(folder):
            folder = RunFolder.open(path)  # as it is now that nobody else writes it
            rows, differing = rebuild(folder, plan_of(folder))
            status = folder.info["status"]
            folder.info |= {"results": rows, "spent": spending.record(folder, rows)}
            folder.info["status"] = "done" if complete(rows) else "incomplete" if status == "done" else status
            folder.save()
    except UnwritableError as error:
        display.line(f"{error}; nothing is saved")
        rows, differing = rebuild(folder, plan_of(folder), write=False)
        folder.info |= {"results": rows, "spent": spending.record(folder, rows)}
    display.table([{"model": folder.info["config"]["model"], **row} for row in rows])
    for remark in [*display.audit_notes(folder.info), *display.bill(folder.info)]:
        display.line(remark)
    if differing:
        display.line(f"{differing:,} trials are judged differently now than when they were logged")
    return verdict(rows) if complete(rows) else 3


def list_suites() -> int:
    """List the bundled suites. Which runs ask for a model on the command line is found by giving none."""
    found = []
    for path in sorted(suite_folder().glob("*.toml")):
        try:
            suite, needs = load_suite(path.stem, {}), ""
        except ConfigError:
            suite, needs = load_suite(path.stem, {"backend": "scripted", "model": "oracle"}), "--backend and --model"
        found.append((suite.name, str(len(suite.runs)), needs, suite.summary))
    display.suites(found)
    return 0


def prompts(options: Namespace) -> int:
    """List the templates or show prompts of one."""
    if options.action == "list":
        display.templates([templates.load(name) for name in templates.names()])
        return 0
    if options.elicitation not in (None, *ELICITATIONS):
        raise ConfigError(
            f"elicitation {options.elicitation!r} is unknown{did_you_mean(options.elicitation, ELICITATIONS)}"
        )
    if options.form not in (None, "completion", "chat"):
        raise ConfigError(f"form {options.form!r} is unknown{did_you_mean(options.form, ('completion', 'chat'))}")
    _check_turns(options)
    if not 0 <= options.shots <= 64:
        raise ConfigError(f"shots {options.shots}: 0 to 64 are possible")
    if options.index < 0:
        raise ConfigError(f"index {options.index}: a whole number from 0 on is wanted")
    spec = Spec.ffl(options.p_ignore, options.length, options.symbols)
    words = templates.Renderer(templates.load(options.template), options.symbols)
    strings = sample(spec, options.seed, options.index, options.index + 1)
    shot_spec = (
        Spec(options.shot_length, spec.p_write, spec.p_read, spec.p_ignore, spec.symbols) if options.shots else spec
    )
    shots = sample_shots(shot_spec, options.seed, options.index, strings, options.shots)
    solved = [(shot.events[0], shot.values[0]) for shot in shots]
    display.line(f"{spec}, seed {options.seed}, string {options.index}: {strings.texts()[0]}")
    wanted: list[tuple[Elicitation, Form]] = [("forced", "completion"), ("list", "chat")]
    if options.elicitation == "dialogue":
        wanted = [("dialogue", "chat")]
    elif options.elicitation:
        forms: list[Form] = [options.form] if options.form else ["completion", "chat"]
        wanted = [(options.elicitation, form) for form in forms]
    elif options.form:
        wanted = [("forced", options.form), ("list", options.form)]
    for elicitation, form in wanted:
        string = (strings.events[0], strings.values[0])
        made = prompt(words, elicitation, form, string, solved, turn_instructions=options.turn_instructions)
        display.prompt(f"{elicitation}, {form}", made)
    return 0


def _check_turns(options: Namespace) -> None:
    if options.elicitation == "dialogue":
        if options.form == "completion":
            raise ConfigError("form completion: a dialogue is held with a chat model")
        if options.turn_instructions is not None and options.turn_instructions < 1:
            raise ConfigError(f"turn-instructions {options.turn_instructions}: at least 1 is wanted")
    elif options.turn_instructions is not None:
        raise ConfigError(f"turn-instructions {options.turn_instructions}: only dialogue has turns")


def write_sample(options: Namespace) -> int:
    """Write strings to a file."""
    if options.strings < 1:
        raise UsageError(f"strings {options.strings}: at least 1 is wanted")
    path = Path(options.out)
    datasets.write(path, Spec.parse(options.spec, symbols=options.symbols), options.seed, options.strings)
    display.line(f"{path}: {options.strings:,} strings, {path.stat().st_size:,} bytes")
    return 0
