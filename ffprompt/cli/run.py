"""``ffprompt run``: evaluate a model, or all runs of a suite."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ffprompt.backends.base import Backend
from ffprompt.backends.entry_points import backend_names
from ffprompt.backends.registry import needs_batches, open_backend
from ffprompt.cli import batch
from ffprompt.cli.compare import AfterRun, few_shot
from ffprompt.cli.console import line
from ffprompt.cli.dry_run import dry_run
from ffprompt.cli.progress import progress
from ffprompt.cli.report import after as write_report
from ffprompt.cli.result_table import bill, show_errors, show_results
from ffprompt.cli.run_flags import given_settings
from ffprompt.config.run_config import RunConfig, make
from ffprompt.config.suites import Suite, load_suite
from ffprompt.errors import ConfigError, FFPromptError, StoreError
from ffprompt.evaluation import spending
from ffprompt.evaluation.batch_runner import batchable
from ffprompt.evaluation.early_stopping import stops, verdict
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import errors_of
from ffprompt.evaluation.runner import carry_out, complete, make_plan, remaining, start
from ffprompt.report.wording import audit_notes
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.condition_result import ConditionResult

BARE_SUITE = "quick"
Ask = Callable[[RunFolder, Plan, Backend], list[ConditionResult]]  # what gets a run its answers and gives its table


def execute(options: Namespace) -> int:
    """Evaluate one model, or all runs of a suite; without any setting the bundled quick suite.

    Returns 0, or 3 when a run is incomplete; with a rule that stops it what ``verdict`` says, with ``--gate`` the gate.
    """
    settings = given_settings(options)
    out = Path(options.out)
    if options.batch and (options.certify is not None or options.until_width is not None):
        flag = "--certify" if options.certify is not None else "--until-width"
        raise ConfigError(f"{flag}: cannot be had with --batch, which hands over all strings at once")
    ask = in_batches(options) if options.batch else _live
    if options.batch_part is not None and not options.batch:
        raise ConfigError(f"--batch-part {options.batch_part}: goes with --batch")
    suite = None
    suite_name: str | None = None
    if (options.suite or not settings) and not options.batch:
        suite = load_suite(options.suite or BARE_SUITE, settings)
        runs, suite_name = suite.runs, suite.name
        line(f"{suite.name}: {suite.summary}")
    else:
        runs = [(config_of(settings), False)]
    gate = _gate_of(options, suite)
    rows: list[dict[str, Any]] = []
    results: list[ConditionResult] = []
    remarks: list[str] = []
    made: list[Path] = []
    incomplete = False
    for config, optional in runs:
        if optional and (missing := _missing(config)):
            line(f"left out: {missing}")
            continue
        folder = one_run(config, out, options.resume, options.dry_run, reuse=len(runs) > 1, ask=ask)
        if folder is not None:
            done = folder.info.results or ()
            results += done
            incomplete |= not complete(done)
            rows += [{"model": config.model, **row.to_json()} for row in done]
            remarks += [*audit_notes(folder.info.to_json()), *bill(folder.info.to_json())]
            made.append(folder.path)
    if rows:
        show_results(rows)
    for remark in remarks:
        line(remark)
    few_shot(made)
    if not options.no_report:
        write_report(made, out, suite_name)
    if incomplete or gate is None or options.dry_run:
        return 3 if incomplete else verdict(results)
    return gate.gate(made).exit_code


def _gate_of(options: Namespace, suite: Suite | None) -> AfterRun | None:
    """The gate that is to follow, with its baseline found before anything is asked or paid for."""
    if options.gate:
        return AfterRun(options, suite)
    if options.baseline is not None or options.margin is not None:
        flag = f"--baseline {options.baseline}" if options.baseline is not None else f"--margin {options.margin}"
        raise ConfigError(f"{flag}: goes with --gate")
    return None


def config_of(settings: dict[str, Any]) -> RunConfig:
    """The configuration of one run from its flags."""
    if "backend" not in settings:
        raise ConfigError(f"--backend is missing ({', '.join(backend_names())}); no flags at all run a quick suite")
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


def one_run(config: RunConfig, out: Path, resume: bool, dry: bool, reuse: bool, ask: Ask) -> RunFolder | None:
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
            line(
                f"--repeats {plan.repeats} at temperature 0: a deterministic model answers {plan.repeats} times the "
                "same, so what differs is its server's doing; to repeat sampled replies: --temperature 1"
            )
        if dry:
            dry_run(plan, backend, batch=ask is not _live)
            return None
        folder, found = start(config, backend, plan, out, resume, reuse)
        if found and folder.info.status == "done":
            line(f"{folder.path}: already complete")
            return folder
        state = f"{'at most ' if stops(plan.config) else ''}{len(plan):,} trials"
        if found:
            state = f"going on, {remaining(folder, plan):,} of {state} are left"
        elif resume:
            state += ", a new run: there is no unfinished one of this plan"
        line(f"{folder.path}: {state}")
        try:
            ask(folder, plan, backend)
        except FFPromptError:
            # What stopped it is told last, and may not be what most of its calls failed of.
            with contextlib.suppress(StoreError):  # a damaged log must not hide what went wrong
                show_errors(errors_of(folder, plan))
            raise
        return folder
    finally:
        backend.close()


def _live(folder: RunFolder, plan: Plan, backend: Backend) -> list[ConditionResult]:
    with progress(len(plan)) as watch:
        return carry_out(folder, plan, backend, watch)


def in_batches(options: Namespace, only_submit: bool = False) -> Ask:
    """Return what asks a model through its provider's batches. Raises ConfigError for flags that do not go with it."""
    if options.suite:
        raise ConfigError(f"--suite {options.suite}: batches take one run at a time; give its settings as flags")
    if options.batch_part is not None and options.batch_part < 1:
        raise ConfigError(f"--batch-part {options.batch_part}: expected at least 1")
    return partial(batch.submit if only_submit else batch.run, most=options.batch_part)
