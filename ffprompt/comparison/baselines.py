"""Which runs a gate compares with: ``baselines.json`` in a results folder, by suite and name.

::

    {"schema": 1, "baselines": [{"suite": "release", "name": "default", "runs": ["20261122-…"], "set": "2026-11-22T…"}]}
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ffprompt._util.files import json_bytes, read_text
from ffprompt._util.records import JsonObject
from ffprompt.errors import ConfigError, StoreError, did_you_mean
from ffprompt.runs.folder import RunFolder, replace_file

SCHEMA = 1
FILE = "baselines.json"
DEFAULT = "default"


@dataclass(frozen=True)
class Baseline:
    """Runs under a name: folders of the results folder by their name, others by their path. ``set``: when, UTC."""

    suite: str | None
    name: str
    runs: tuple[str, ...]
    set: str


def read(results: Path) -> list[Baseline]:
    """All baselines of a results folder.

    Raises:
        StoreError: where the file is damaged or of a newer version.
    """
    path = results / FILE
    try:
        content = json.loads(read_text(path))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable ({error})") from error
    try:
        if not isinstance(content["schema"], int) or content["schema"] > SCHEMA:
            raise StoreError(f"{path}: its schema is {content['schema']!r}, this version reads up to {SCHEMA}")
        return [_baseline(path, one) for one in content["baselines"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path}: damaged ({error!r:.80})") from error


def _baseline(path: Path, one: JsonObject) -> Baseline:
    made = Baseline(one["suite"], one["name"], tuple(one["runs"]), one["set"])
    texts = [made.name, made.set, *made.runs] + ([] if made.suite is None else [made.suite])
    if not made.runs or not all(isinstance(text, str) for text in texts):
        raise StoreError(f"{path}: damaged at {str(one)[:60]}")
    return made


def put(results: Path, runs: Sequence[Path], name: str = DEFAULT, suite: str | None = None) -> Baseline:
    """Make complete runs the baseline of a name, in place of what was.

    The file is replaced in one step.

    Raises:
        ConfigError: for a run that is not done.
    """
    if not name or "/" in name:
        raise ConfigError(f"name {name!r}: expected a word without a slash")
    for run in runs:
        status = RunFolder.open(run).info.status
        if status != "done":
            raise ConfigError(f"run {run}: it is {status}, not done; only a complete run can be a baseline")
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    made = Baseline(suite, name, tuple(_known_as(results, run) for run in runs), now)
    kept = [one for one in read(results) if (one.suite, one.name) != (suite, name)]
    rows = sorted([*kept, made], key=lambda one: (one.suite or "", one.name))
    content = {"schema": SCHEMA, "baselines": [asdict(one) for one in rows]}
    results.mkdir(parents=True, exist_ok=True)
    replace_file(results / FILE, json_bytes(content, indent=2) + b"\n")
    return made


def _known_as(results: Path, run: Path) -> str:
    whole = run.resolve()
    return whole.name if whole.parent == results.resolve() else str(whole)


def folders(results: Path, baseline: Baseline) -> list[Path]:
    """Where the runs of a baseline are."""
    return [results / run for run in baseline.runs]  # a path from the root stays what it is


def find(results: Path, name: str = DEFAULT, suite: str | None = None) -> list[Path]:
    """The runs of a baseline.

    Raises:
        ConfigError: where there is none.
        StoreError: where a run of it is gone.
    """
    known = read(results)
    for one in known:
        if (one.suite, one.name) == (suite, name):
            found = folders(results, one)
            for path in found:
                RunFolder.open(path)
            return found
    names = [one.name for one in known if one.suite == suite]
    what = f"baseline {name!r}" + (f" of suite {suite}" if suite else "")
    how = "set one with: ffprompt baseline set RUN" + (f" --suite {suite}" if suite else "")
    raise ConfigError(f"{what}: none in {results / FILE}{did_you_mean(name, names) if names else f'; {how}'}")


def resolve(results: Path, given: str, suite: str | None = None) -> list[Path]:
    """The runs that a word on the command line stands for: a run's folder, or a baseline's name."""
    path = Path(given)
    if path.is_dir() or "/" in given:
        return [path]
    return find(results, given, suite)
