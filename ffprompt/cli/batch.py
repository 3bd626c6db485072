"""``ffprompt batch``: submit, look at, collect and cancel the batches of a run."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path

from ffprompt._util.formatting import counted, plural_of
from ffprompt._util.secrets import HIDDEN, shown_url
from ffprompt.backends.base import Backend, Batcher
from ffprompt.backends.registry import needs_batches, open_backend, open_batcher
from ffprompt.cli import run_flags
from ffprompt.cli.console import line
from ffprompt.cli.output import Output
from ffprompt.cli.progress import waiting as shown_waiting
from ffprompt.cli.result_screen import Ending
from ffprompt.cli.result_table import bill
from ffprompt.config.run_config import RunConfig, make
from ffprompt.errors import ConfigError, ModelError, StoreError
from ffprompt.evaluation.batch_runner import Batching, carry_out_step, describe
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.evaluation.runner import complete
from ffprompt.runs.batch_journal import Part, parts
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.condition_result import ConditionResult


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``batch``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    submit = actions.add_parser(
        "submit", help="hand over what has no answer yet, of a run or of a new one with these flags", allow_abbrev=False
    )
    submit.set_defaults(parser=submit, batch=True)
    submit.add_argument("run", nargs="?", metavar="RUN", help="a folder under results/; without it flags make a run")
    run_flags.add_flags(submit, submits=True)
    for name, text in (
        ("status", "one line a part; exit code 3 while one is not to be collected yet"),
        ("collect", "log what the ended batches hold; exit code 3 while the run is not complete"),
        ("cancel", "ask the provider to stop; what was answered stays to be collected"),
    ):
        made = actions.add_parser(name, help=text, description=text.capitalize(), allow_abbrev=False)
        made.set_defaults(parser=made)
        made.add_argument("run", metavar="RUN", help="a folder under results/")
        made.add_argument("--key-file", metavar="FILE", help="holds the key, instead of the environment")


def execute(options: argparse.Namespace) -> int:
    """Submit, look at, collect or cancel the batches of a run. Returns 0, or 3 where something is still to come."""
    from ffprompt.cli.run import Resume, config_of, in_batches, one_run

    if options.action != "submit":
        step = {"status": status, "collect": collect, "cancel": cancel}
        return step[options.action](Path(options.run), options.key_file)
    ask, settings = in_batches(options, only_submit=True), run_flags.given_settings(options)
    if options.run is None:
        resume = Resume(options.resume, options.new)
        one_run(config_of(settings), Path(options.out), resume, options.dry_run, ask=ask)
        return 0
    if given := sorted(settings.keys() - {"key_file"}):
        raise ConfigError(f"--{given[0].replace('_', '-')}: {options.run} has its own settings; give a run or flags")
    with opened(Path(options.run), options.key_file) as (folder, plan, backend):
        ask(folder, plan, backend)
    return 0


def run(folder: RunFolder, plan: Plan, backend: Backend, most: int | None) -> list[ConditionResult]:
    """Hand everything over, wait, and collect. Returns the table's rows."""

    async def step(batching: Batching) -> list[str]:
        await batching.submit(most)
        line(f"waiting; Ctrl-C leaves the batches at work, collect them with: {_collect(folder)}")
        with shown_waiting() as watch:
            await batching.wait(watch)
        return []

    try:
        return carry_out_step(folder, plan, open_batcher(backend), step, line)[0]
    except KeyboardInterrupt:
        line(f"what was submitted goes on at the provider; collect it with: {_collect(folder)}")
        raise


def submit(folder: RunFolder, plan: Plan, backend: Backend, most: int | None) -> list[ConditionResult]:
    """Hand everything over that has no answer and is not under way. Returns the table's rows."""

    async def step(batching: Batching) -> list[str]:
        submitted = await batching.submit(most)
        return [f"{counted(submitted, 'request')} {plural_of(submitted, 'was', 'were')} submitted"]

    rows, said = carry_out_step(folder, plan, open_batcher(backend), step, line)
    line(f"{said[0]}; collect with: {_collect(folder)}")
    return rows


def status(path: Path, key_file: str | None) -> int:
    """One line a part. Returns 3 while one is not to be collected yet."""
    with opened(path, key_file) as (folder, _, backend):
        found = parts(folder)
        if not found:
            raise StoreError(f"run {path}: nothing of it was submitted in batches")
        return 0 if asyncio.run(_look(found, open_batcher(backend))) else 3


async def _look(found: list[Part], batcher: Batcher) -> bool:
    """Show every part. Returns whether all have ended."""
    ended = True
    try:
        for part in found:
            if part.void is not None:
                line(f"part {part.number}: void ({part.void})")
            elif part.collected is not None:
                line(f"part {part.number}: batch {part.id}, {part.state}, collected {part.collected}")
            elif part.id is None:
                ended = False
                line(f"part {part.number}: no id, the provider will be asked for it by: ffprompt batch collect")
            else:
                now = await batcher.status(part.id)
                ended &= now.ended
                line(describe(part, now, dt.datetime.now(dt.UTC)))
    finally:
        await batcher.aclose()
    return ended


def collect(path: Path, key_file: str | None) -> int:
    """Log what the ended batches hold. Returns 3 while the run is not complete."""
    with opened(path, key_file) as (folder, plan, backend):
        rows, waiting = carry_out_step(folder, plan, open_batcher(backend), Batching.collect, line)
    Ending([(folder.info.model_name, row) for row in rows], [*bill(folder.info.to_json()), *waiting]).show(Output())
    return 3 if waiting or not complete(rows) else 0


def cancel(path: Path, key_file: str | None) -> int:
    """Ask the provider to stop. Returns 3 while something is still to be collected."""
    with opened(path, key_file) as (folder, plan, backend):
        _, waiting = carry_out_step(folder, plan, open_batcher(backend), Batching.cancel, line)
        left = [part for part in parts(folder) if part.open]
    for text in waiting:
        line(text)
    line(f"collect what was answered with: {_collect(folder)}" if left else "no batch is open")
    return 3 if left else 0


@contextlib.contextmanager
def opened(path: Path, key_file: str | None) -> Iterator[tuple[RunFolder, Plan, Backend]]:
    """A run with its own plan, and the model that it asks.

    Raises:
        ModelError: where that is not to be found again.
    """
    folder = RunFolder.open(path)
    plan = plan_of(folder)
    config = _with_address(path, make(folder.info.config | {"key_file": key_file}))
    needs_batches(config)
    backend = open_backend(config)
    try:
        then, now = (identity.get("base_url") for identity in (folder.info.model, backend.identity.to_json()))
        if then != now:
            raise ModelError(f"run {path}: it asked {then}, and here {now} would be asked; set the base URL as it was")
        yield folder, plan, backend
    finally:
        backend.close()


def _with_address(path: Path, config: RunConfig) -> RunConfig:
    """The configuration with the secrets of its base URL, which run.json does not keep, from the environment."""
    variable = f"{config.backend.upper()}_BASE_URL"
    if config.first_url is None:
        return config
    given = os.environ.get(variable)
    if given and shown_url(given) == config.first_url:
        return config.model_copy(update={"base_url": given})
    if HIDDEN in config.first_url:
        raise ModelError(
            f"run {path}: its base URL {config.first_url} had secrets in it, which are not kept; set {variable} to the "
            "whole address"
        )
    return config


def _collect(folder: RunFolder) -> str:
    return f"ffprompt batch collect {folder.path}"
