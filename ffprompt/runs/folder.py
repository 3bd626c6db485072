"""A run on disk: ``run.json`` says what was asked of which model, ``trials.jsonl`` holds one line a trial.

Lines are appended and synced before the run goes on. The folder can be lost at no other moment than between two
trials. ``reads.parquet`` and the numbers in ``run.json`` are computed from the lines, at any time, by ``rebuild``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from ffprompt._util.files import json_bytes, printable, read_text, refuse_pointer
from ffprompt._util.records import JsonObject
from ffprompt._util.secrets import redacted
from ffprompt._util.storage import write_atomically
from ffprompt.errors import StoreError
from ffprompt.runs.records import RunInfo

SCHEMA = 1


class UnwritableError(StoreError):
    """A run that cannot be written now, though it can be read."""


class RunFolder:
    """One folder under ``results/``. ``info`` is what ``run.json`` holds. ``save`` writes it."""

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info

    @property
    def trials_path(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / "trials.jsonl"

    @property
    def batches_path(self) -> Path:
        """Which trials are or were with a provider as batches, one JSON object a line. Only where there are some."""
        return self.path / "batches.jsonl"

    @property
    def sent_path(self) -> Path:
        """What each attempt at a call of an API could cost at most."""
        return self.path / "sent.tsv"

    @property
    def strings_path(self) -> Path:
        """The strings of a run whose strings came from a file."""
        return self.path / "strings.parquet"

    @property
    def reads_path(self) -> Path:
        """The table of reads."""
        return self.path / "reads.parquet"

    @property
    def invalid_path(self) -> Path:
        """The commonest replies that could not be read. Only where there are some."""
        return self.path / "invalid.md"

    @classmethod
    def create(cls, out: Path, name: str, info: JsonObject) -> RunFolder:
        """Make a new folder ``out/name`` (or ``name-2``, …). ``info`` lacks the schema and the run's id.

        Raises:
            StoreError: it cannot be written, or ``out`` is inside another run.
        """
        refuse_nesting(out)
        try:
            out.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = out / (name if number == 1 else f"{name}-{number}")
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    number += 1
            folder = cls(path, RunInfo.from_json({"schema": SCHEMA, "run_id": path.name, **info}))
            folder.save()
            folder.trials_path.touch()
        except (OSError, ValueError) as error:  # the latter for a name that no file system can have
            why = getattr(error, "strerror", None) or error
            raise StoreError(f"results folder {printable(str(out))}: cannot be written ({why})") from error
        return folder

    @classmethod
    def open(cls, run: str | os.PathLike[str]) -> RunFolder:
        """Open an existing run.

        Args:
            run: The path of its folder, or an object that stands for it.

        Raises:
            StoreError: It is no run, its ``run.json`` is damaged, or it was made by a newer version of ffprompt.
        """
        if not isinstance(run, (str, os.PathLike)):
            raise StoreError(f"run {run!r:.80}: expected a run, or the path of its folder")
        path = Path(run)
        try:
            content = json.loads(read_text(path / "run.json"))
        except FileNotFoundError:
            raise StoreError(f"run {path}: {_no_run(path)}") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"run {path}: run.json is not readable ({error})") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(schema, int) or schema > SCHEMA:
            raise StoreError(f"run {path}: its schema is {schema!r}, this version reads up to {SCHEMA}")
        folder = cls(path, RunInfo.from_json(content, f"run {path}: run.json"))
        for file in (folder.trials_path, folder.strings_path, folder.reads_path, folder.batches_path):
            _refuse_pointer(file)
        return folder

    def update(self, **changes: object) -> None:
        """Change ``info``. ``save`` writes it down."""
        self.info = self.info.updated(**changes)

    def save(self) -> None:
        """Replace ``run.json`` in one step."""
        replace_file(self.path / "run.json", json_bytes(redacted(self.info.to_json()), indent=2))


def each_run(runs: object) -> list[str | os.PathLike[str]]:
    """Return runs as a list, whether one was given or several.

    Raises:
        StoreError: where neither was.
    """
    if isinstance(runs, (str, os.PathLike)):
        return [runs]
    if isinstance(runs, Iterable) and not isinstance(runs, (bytes, Mapping)):
        return list(runs)
    raise StoreError(f"run {runs!r:.80}: expected a run, the path of its folder, or a list of them")


def refuse_nesting(out: Path) -> None:
    """Raise StoreError for a folder to be made that is a run or inside one, where nobody would look for it."""
    try:
        place = out.resolve()
        inside = [one for one in (place, *place.parents) if (one / "run.json").exists()]
        run = next((one for one in inside if (one / "trials.jsonl").exists()), None)
    except (OSError, ValueError, RuntimeError):
        return  # no file system can have it, as whoever makes it says
    if run is not None:
        what = "it is a run" if run == place else f"it is inside the run {run}"
        raise StoreError(f"{printable(str(out))}: {what}; expected a folder outside of all runs")


def _refuse_pointer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            refuse_pointer(file.read(64))
    except ValueError as error:
        raise StoreError(f"{path}: {error}") from None
    except OSError:
        return  # it is not there, or whoever needs it says why it cannot be read


def find(out: Path, plan_digest: str, done: bool, shard: str | None = None) -> RunFolder | None:
    """The newest run under ``out`` of the same plan, or part of it, that came to its end (``done``) or did not."""
    for path in sorted(out.glob("*/run.json"), key=lambda p: p.parent.name, reverse=True):
        try:
            folder = RunFolder.open(path.parent)
        except StoreError:
            continue  # not ours to judge here; `ffprompt score` says what is wrong with it
        info = folder.info
        if info.plan_digest == plan_digest and info.shard == shard and (info.status == "done") == done:
            return folder
    return None


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error


def _no_run(path: Path) -> str:
    """Return why a path without a run.json is no run. A folder of runs says how to name one of them."""
    inside = sorted(one.parent for one in path.glob("*/run.json"))
    if not inside:
        return "no run.json in it"
    return f"a folder of runs; give one of them: {inside[-1]}"
