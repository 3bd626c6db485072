"""``ffprompt sweep``: a study to trainings, what they would cost, and the trainings themselves."""

from __future__ import annotations

import json
import platform
import shlex
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ffprompt import __version__
from ffprompt._util.extras import needs
from ffprompt._util.formatting import counted, plural_of
from ffprompt._util.ray_cluster import not_a_share
from ffprompt._util.storage import write_atomically
from ffprompt.cli import output_flags, sweep_output
from ffprompt.cli.console import line
from ffprompt.cli.output import Output
from ffprompt.cli.train import configure
from ffprompt.config.settings import BY_NAME
from ffprompt.errors import ConfigError, FFPromptError, IncompleteRunError, StoreError
from ffprompt.reference.training.studies import Study, load_study
from ffprompt.runs.folder import refuse_nesting

if TYPE_CHECKING:
    from ffprompt.reference.training.sweep import Job
    from ffprompt.report.standing import Standing

EPILOG = """\
Every cell of the suite and every seed is a training in a folder of its own, as `ffprompt train` makes it. A sweep that
was stopped goes on with the same command: what is finished is left alone, the rest is resumed.

  ffprompt sweep r2-lstm-cpu --dry-run
  ffprompt sweep mine.toml --out results/studies/mine
  ffprompt sweep r1-seeds --ray auto --gpus-per-task 0.25
"""
RECORD = "sweep.json"
FORMAT = 1


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``sweep``."""
    parser.add_argument("suite", metavar="SUITE", help="a bundled study (see suites/studies) or a .toml file")
    parser.add_argument("--out", metavar="DIR", help="folder of the study (default results/studies/NAME)")
    parser.add_argument("--dry-run", action="store_true", help="show the trainings and what they would cost")
    parser.add_argument("--ray", metavar="ADDRESS", help=BY_NAME["ray"].help_text)
    parser.add_argument("--cpus-per-task", type=int, metavar="N", help="cores (default: all; with Ray 1 a replicate)")
    parser.add_argument("--gpus-per-task", type=float, metavar="X", help="with Ray: GPUs, or a share of one")
    output_flags.add_flags(parser, "print only the table of glitch rates, and what is not finished")


def execute(options: Namespace) -> int:
    """Train every cell of a study with every seed. Returns 0; raises IncompleteRunError when one is not finished."""
    try:
        from ffprompt.reference.training.sweep import locally, on_ray
    except ImportError as error:
        raise needs("training", "reference", error) from error
    output = Output.of(options)
    if options.dry_run and output.json is not None:
        raise ConfigError("--json: cannot be combined with --dry-run, which has no result")
    study = load_study(options.suite)
    out = Path(options.out or Path("results") / "studies" / study.name)
    refuse_nesting(out)
    jobs = _jobs(study, out.absolute())
    ray = options.ray is not None
    replicates, at_once, cpus, gpus = _shares(study, jobs, options, ray)
    with output.beside():
        line(f"{study.name}: {study.summary}")
    if options.dry_run:
        _dry_run(study, jobs, output)
        return 0
    todo, whys = _remaining(jobs)
    _write(out, study, jobs)
    with output.beside():
        line(f"{out}: trainings: {len(jobs)}, finished before: {len(jobs) - len(todo) - len(whys)}")
    with sweep_output.sweeping({job.name: job.training.steps for job in todo}, not output.quiet) as shown:

        def ended(name: str, why: str | None) -> None:
            shown.ended(name, why)
            if why is not None:
                whys[name] = why

        if ray and todo:
            on_ray(todo, replicates, at_once, shown.tell, ended, address=options.ray, cpus=cpus, gpus=gpus)
        else:
            locally(todo, replicates, at_once, shown.tell, ended)
    return _close(out, study, jobs, whys, output)


def _jobs(study: Study, out: Path) -> list[Job]:
    """The trainings; every one of them is looked at before the first is begun."""
    from ffprompt.reference.training.loop import agree
    from ffprompt.reference.training.plan import Plan
    from ffprompt.reference.training.sweep import Job

    jobs = []
    for cell in study.cells:
        try:
            config, training, plan = configure(cell.given)
            agree(config, training)
        except FFPromptError as error:
            raise ConfigError(f"study {study.name}, training {cell.name}: {error}") from error
        assert isinstance(plan, Plan)
        jobs.append(Job(out / cell.name, config, training, plan))
    return jobs


def _shares(study: Study, jobs: Sequence[Job], options: Namespace, ray: bool) -> tuple[int, int, int, float]:
    """Trainings a task, trainings at once, cores and GPUs a task."""
    from ffprompt.reference.training.replicates import cores

    threads = max(job.training.threads for job in jobs)
    if options.cpus_per_task is not None and options.cpus_per_task < threads:
        raise ConfigError(f"--cpus-per-task {options.cpus_per_task}: expected at least {threads}")
    cpus = options.cpus_per_task or ((study.replicates or 1) * threads if ray else cores())
    if threads > 1 and (study.replicates or 1) > 1:
        raise ConfigError(f"study {study.name}: threads {threads}: trainings together have 1 core each")
    if options.gpus_per_task is not None and not ray:
        raise ConfigError(f"--gpus-per-task {options.gpus_per_task:g}: it goes with --ray")
    gpus = options.gpus_per_task
    if gpus is None:
        gpus = 1.0 if any(job.training.device.startswith("cuda") for job in jobs) else 0.0
    if said := not_a_share("--gpus-per-task", gpus):
        raise ConfigError(said)
    at_once = max(1, cpus // threads) if threads == 1 else 1
    return study.replicates or at_once, at_once, cpus, gpus


def _remaining(jobs: Sequence[Job]) -> tuple[list[Job], dict[str, str]]:
    """Those that are not finished, and why some cannot be: they diverged.

    Raises ConfigError when a folder holds another training than the study asks for.
    """
    from ffprompt.reference.training.sweep import finished

    todo, whys = [], {}
    for job in jobs:
        try:
            if not finished(job):
                todo.append(job)
        except ConfigError as error:
            raise ConfigError(f"training {job.name}: {error}") from error
        except FFPromptError as error:
            whys[job.name] = str(error)
    return todo, whys


def _close(out: Path, study: Study, jobs: Sequence[Job], whys: dict[str, str], output: Output) -> int:
    """Show and write what the study came to. The trainings are on disk, whatever is odd about one."""
    from ffprompt.report.standing import standing

    found = standing({job.folder: cell.group or study.name for cell, job in zip(study.cells, jobs, strict=True)})
    _show(out, found, whys, output)
    output.write(
        {
            "exit_code": IncompleteRunError.exit_code if whys else 0,
            "folder": str(out),
            "study": study.name,
            "trainings": len(jobs),
            "not_finished": whys,
            "cells": [row.to_json() for row in found.rows],
        }
    )
    if whys:
        raise IncompleteRunError(
            f"{len(whys)} of {counted(len(jobs), 'training')} in {out} "
            f"{plural_of(len(whys), 'is', 'are')} not finished; the same command goes on with what can go on"
        )
    return 0


def _show(out: Path, found: Standing, whys: Mapping[str, str], output: Output) -> None:
    """Print the table of cells, why some trainings are not finished, and what shows more."""
    with output.beside():
        for text in found.odd:
            line(f"left out: {text}")
    with output.answer():
        sweep_output.results(found.rows)
    with output.beside():
        sweep_output.troubles(found.header, found.troubles)
        if any(row.finished for row in found.rows):
            line(f"figures and all numbers: ffprompt report {shlex.quote(str(out))}")
    with output.answer():
        for name, why in whys.items():
            line(f"not finished: {name}: {why}")
    with output.beside():
        if not whys:
            line(f"all finished: {out}")


def _dry_run(study: Study, jobs: Sequence[Job], output: Output) -> None:
    from ffprompt.reference.training.timing import Cost, key, measure

    costs: dict[object, Cost] = {}
    groups: dict[str, sweep_output.Estimate] = {}
    for cell, job in zip(study.cells, jobs, strict=True):
        row = groups.setdefault(cell.group or study.name, sweep_output.Estimate())
        row.trainings += 1
        row.steps += job.training.steps
        if job.training.device != "cpu":  # what a step takes there, no timing here can tell
            if study.gpu_minutes is not None:
                row.gpu_hours = (row.gpu_hours or 0.0) + study.gpu_minutes / 60
            continue
        like = key(job.config, job.training)
        if like not in costs:
            costs[like] = measure(job.config, job.training)
        row.core_hours = (row.core_hours or 0.0) + costs[like].hours(job.training, job.plan)
        row.step = costs[like].step
    sweep_output.estimates(groups)
    with output.beside():
        if costs:
            line("core hours: from a few steps and test strings timed on one core just now, evaluations included")
        if any(job.training.device != "cpu" for job in jobs):
            stated = (
                f"{study.gpu_minutes:g} minutes a training, says the file" if study.gpu_minutes else "not in the file"
            )
            line(f"GPU hours: {stated}{f' ({study.source})' if study.source else ''}")


def _write(out: Path, study: Study, jobs: Sequence[Job]) -> None:
    """Write sweep.json, whole or not at all."""
    record = {
        "format": FORMAT,
        "name": study.name,
        "summary": study.summary,
        "file": study.text,
        "ffprompt": __version__,
        "python": platform.python_version(),
        "torch": jobs[0].training.torch,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "cells": [
            {
                "name": cell.name,
                "group": cell.group,
                "model_seed": job.training.model_seed,
                "data_seed": job.training.data_seed,
                "given": {key: value for key, value in cell.given.items() if value is not None},
            }
            for cell, job in zip(study.cells, jobs, strict=True)
        ],
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / RECORD, json.dumps(record, indent=2).encode() + b"\n")
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error.strerror or error}") from error
