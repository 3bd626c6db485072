"""A run on disk: ``run.json`` says what was asked of which model, ``trials.jsonl`` holds one line a trial.

Lines are appended and synced before the run goes on; the folder can be lost at no other moment than between two
trials. ``reads.parquet`` and the numbers in ``run.json`` are computed from the lines, at any time, by ``rebuild``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ffprompt._util.files import json_bytes, read_text, refuse_pointer
from ffprompt._util.secrets import redacted, shown_command
from ffprompt._util.storage import append_synced, cut_unfinished_line, hold, release, write_atomically
from ffprompt.errors import RunFailedError, StoreError

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
# Whose versions a run records, where they are installed.
_PACKAGES = (
    "numpy", "pandas", "pyarrow", "torch", "transformers", "tokenizers", "safetensors", "openai", "anthropic",
    "tenacity",
)  # fmt: skip


class UnwritableError(StoreError):
    """A run that cannot be written now, though it can be read."""


class RunFolder:
    """One folder under ``results/``. ``info`` is what ``run.json`` holds; ``save`` writes it.

    Its ``status`` is running, waiting (for batches), done, incomplete, interrupted or failed.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info

    @property
    def trials_path(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / "trials.jsonl"

    @property
    def batches_path(self) -> Path:
        """Which trials are or were with a provider as batches, one JSON object a line; only where there are some."""
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
        """The commonest replies that could not be read; only where there are some."""
        return self.path / "invalid.md"

    @classmethod
    def create(cls, out: Path, name: str, info: dict[str, Any]) -> RunFolder:
        """A new folder ``out/name`` (or ``name-2``, …). Raises StoreError when it cannot be written."""
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
            folder = cls(path, {"schema": SCHEMA, "run_id": path.name, **info})
            folder.save()
            folder.trials_path.touch()
        except OSError as error:
            raise StoreError(f"results folder {out}: cannot be written ({error.strerror or error})") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run. Raises StoreError when it is not one, or is of a newer version of ffprompt."""
        try:
            info = json.loads(read_text(path / "run.json"))
        except FileNotFoundError:
            raise StoreError(f"run {path}: no run.json in it") from None
        except (OSError, ValueError) as error:
            raise StoreError(f"run {path}: run.json is not readable ({error})") from error
        schema = info.get("schema") if isinstance(info, dict) else None
        if not isinstance(schema, int) or schema > SCHEMA:
            raise StoreError(f"run {path}: its schema is {schema!r}, this version reads up to {SCHEMA}")
        folder = cls(path, info)
        for file in (folder.trials_path, folder.strings_path, folder.reads_path, folder.batches_path):
            _refuse_pointer(file)
        return folder

    def save(self) -> None:
        """Replace ``run.json`` in one step."""
        replace_file(self.path / "run.json", json_bytes(redacted(self.info), indent=2))


def _refuse_pointer(path: Path) -> None:
    try:
        with path.open("rb") as file:
            refuse_pointer(file.read(64))
    except ValueError as error:
        raise StoreError(f"{path}: {error}") from None
    except OSError:
        return  # it is not there, or whoever needs it says why it cannot be read


def find(out: Path, plan_digest: str, done: bool) -> RunFolder | None:
    """The newest run under ``out`` of the same plan that came to its end (``done``) or did not."""
    for path in sorted(out.glob("*/run.json"), key=lambda p: p.parent.name, reverse=True):
        try:
            folder = RunFolder.open(path.parent)
        except StoreError:
            continue  # not ours to judge here; `ffprompt score` says what is wrong with it
        if folder.info.get("plan_digest") == plan_digest and (folder.info.get("status") == "done") == done:
            return folder
    return None


class Log:
    """``trials.jsonl``, open for appending by one process. Raises StoreError when another one holds it."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.on_line: Callable[[dict[str, Any]], None] | None = None  # hears of every line that is on the disk
        try:
            self._file: IO[bytes] = folder.trials_path.open("r+b")
            self._file.seek(0, os.SEEK_END)
        except FileNotFoundError as error:
            raise StoreError(f"run {folder.path}: no trials.jsonl in it") from error
        except OSError as error:
            raise UnwritableError(f"run {folder.path}: cannot be written ({error.strerror})") from error
        self._lock()
        cut_unfinished_line(self._file)

    def _lock(self) -> None:
        try:
            self._held = hold(self.folder.path)
        except OSError as error:
            raise UnwritableError(f"run {self.folder.path}: cannot be written ({error.strerror})") from error
        if self._held is None:
            raise UnwritableError(f"run {self.folder.path}: another process is writing it")

    def append(self, lines: Iterable[dict[str, Any]]) -> None:
        """Write lines and wait until they are on the disk.

        Raises ValueError or TypeError for a line that JSON cannot hold, after the others are written.
        """
        written: list[dict[str, Any]] = []
        content: list[bytes] = []
        problem: Exception | None = None
        for line in lines:
            try:
                content.append(json_bytes(line) + b"\n")
                written.append(line)
            except (TypeError, ValueError, RecursionError) as error:
                problem = error
        self._write(b"".join(content))
        if self.on_line is not None:
            for line in written:
                self.on_line(line)
        if problem is not None:
            raise problem

    def _write(self, content: bytes) -> None:
        try:
            append_synced(self._file, content)
        except OSError as error:
            raise RunFailedError(
                f"run {self.folder.path}: trials cannot be written ({error.strerror}); what is written is kept, "
                "make room and go on with --resume"
            ) from error

    def close(self) -> None:
        """Let go of the file and its lock."""
        self._file.close()
        if self._held is not None:
            release(self._held)
            self._held = None

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Index:
    """Where in the log each trial's line begins; -1 for none. ``failed`` marks lines that hold an error.

    ``parts`` are the lines that hold the answered turns of a dialogue that is not over, in order.
    """

    offset: NDArray[np.int64]  # (trials,)
    failed: NDArray[np.bool_]  # (trials,)
    parts: Mapping[int, Sequence[int]] = field(default_factory=dict)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Trials that have a complete answer and are not asked again."""
        return np.asarray((self.offset >= 0) & ~self.failed)


def index(folder: RunFolder, trials: int) -> Index:
    """Find every trial's line: the first with an answer, or else the latest failure with the most turns answered.

    Raises StoreError naming the number of a line that is not one. An unfinished last line is passed over.
    """
    offset, failed = np.full(trials, -1, np.int64), np.zeros(trials, bool)
    parts: dict[int, list[int]] = {}
    turns: dict[int, int] = {}
    for number, start, line in lines(folder.trials_path):
        trial = line.get("trial")
        if not isinstance(trial, int) or not 0 <= trial < trials:
            raise StoreError(f"{folder.trials_path}, line {number}: trial {trial!r} is not in the plan of this run")
        if offset[trial] < 0 or failed[trial]:
            first, last = _turns(folder.trials_path, number, line)
            known = turns.get(trial, 0)
            if "error" not in line:
                parts.pop(trial, None)
            elif last < known or 0 < first != known:
                continue  # an attempt that got less far, or does not go on from here
            elif last > first:
                parts[trial] = [*(parts.get(trial, []) if first else []), start]
                turns[trial] = last
            offset[trial], failed[trial] = start, "error" in line
    return Index(offset, failed, parts)


def _turns(path: Path, number: int, line: Mapping[str, Any]) -> tuple[int, int]:
    """(first, last + 1) of the turns that a line holds; (0, 0) where it is about no dialogue."""
    first, turns = line.get("first_turn", 0), line.get("turns", [])
    if not isinstance(first, int) or first < 0 or not isinstance(turns, list):
        raise StoreError(f"{path}, line {number}: the turns of trial {line['trial']} are damaged")
    return first, first + len(turns)


def begun(folder: RunFolder, where: Index, trial: int) -> dict[str, Any] | None:
    """The latest line of a dialogue that is not over, with all its answered turns; None where there is none."""
    if trial not in where.parts:
        return None
    with folder.trials_path.open("rb") as file:
        found = [read_at(file, offset) for offset in where.parts[trial]]
    return found[-1] | {"turns": [turn for line in found for turn in line["turns"]]}


def lines(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """(line number from 1, byte offset, content) of every complete line."""
    start = 0
    try:
        file = path.open("rb")
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})") from error
    with file:
        for number, text in enumerate(file, start=1):
            if text.endswith(b"\n"):
                yield number, start, _content(path, number, text)
            start += len(text)


def _content(path: Path, number: int, text: bytes) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError as error:
        raise StoreError(f"{path}, line {number}: not JSON ({error})") from error
    if not isinstance(line, dict):
        raise StoreError(f"{path}, line {number}: not a JSON object")
    return line


def read_at(file: IO[bytes], offset: int) -> dict[str, Any]:
    """The line that begins at a byte offset found by ``index``."""
    file.seek(offset)
    line: dict[str, Any] = json.loads(file.readline())
    return line


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from error


@dataclass(frozen=True)
class Run:
    """A run in memory: ``info`` (run.json), ``trials`` (one row a trial) and ``reads`` (one row a read)."""

    info: dict[str, Any]
    trials: pd.DataFrame
    reads: pd.DataFrame


def load(run: str | os.PathLike[str]) -> Run:
    """Load a run folder as pandas frames.

    >>> load("results/20261122-101500-scripted-oracle-1f0c").reads.outcome.value_counts()  # doctest: +SKIP
    """
    import pandas as pd

    folder = RunFolder.open(Path(run))
    if not folder.reads_path.is_file():
        raise StoreError(f"run {folder.path}: no reads.parquet yet; make it with: ffprompt score {folder.path}")
    trials = pd.DataFrame([line for _, _, line in lines(folder.trials_path) if "first_turn" not in line])
    try:
        reads = pd.read_parquet(folder.reads_path)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise StoreError(f"{folder.reads_path}: not readable ({error}); run: ffprompt score {folder.path}") from error
    return Run(folder.info, trials, reads)


def provenance() -> dict[str, Any]:
    """Versions, commit and hardware, as ``run.json`` records them."""
    import importlib.metadata
    import platform

    from ffprompt import __version__

    versions = {"ffprompt": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "source": _source(), "hardware": _hardware(), "command": shown_command(sys.argv[1:])}


def _source() -> dict[str, Any]:
    """The commit that the running code comes from, where it is a checkout."""
    import subprocess

    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root.resolve():
            return {"commit": None, "dirty": None}
        return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None}


def _hardware() -> dict[str, Any]:
    import platform

    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")  # only where the backend has loaded it
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return found
