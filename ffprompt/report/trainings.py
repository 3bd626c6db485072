"""Trainings to report: their folders, read strictly, as plain dicts. Their models are not needed, and never loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ffprompt._util.files import read_text
from ffprompt._util.jsonl import read_lines
from ffprompt._util.records import JsonObject
from ffprompt.errors import FFPromptError, RunFailedError, StoreError
from ffprompt.reference.defaults import NETWORKS, TRAINING, complete
from ffprompt.report.naming import home, study_cells

RECORD, LOG, RUN = "training.json", "train.jsonl", "run.json"
FORMAT = 1
ENDED = ("finished", "diverged")
_STATUSES = (*ENDED, "running", "interrupted", "failed")
_EVENTS = ("step", "monitor", "warning", "evaluation", "attention", "kinds")
# ln 0.05 / ln 0.025: from the upper end of a two-sided 95 % interval to a bound of one side, where no read was wrong.
_ONE_SIDED = math.log(0.05) / math.log(0.025)


@dataclass
class Found:
    """What paths name: run folders, training folders, and whether a folder of such folders was among them."""

    runs: list[Path] = field(default_factory=list)
    trainings: list[Path] = field(default_factory=list)
    not_begun: list[str] = field(default_factory=list)
    folders: bool = False


def find(given: Sequence[Path]) -> Found:
    """The run and training folders that are named, and those in the results and study folders that are named.

    Raises:
        StoreError: A path is none of these.
    """
    found = Found()
    for path in given:
        if (path / RUN).is_file():
            found.runs.append(path)
        elif (path / RECORD).is_file():
            found.trainings.append(path)
        else:
            runs, trainings = (sorted(one.parent for one in path.glob(f"*/{name}")) for name in (RUN, RECORD))
            missing = _not_begun(path)
            if not (runs or trainings or missing):
                what = "no run, no training and no folder of them" if path.is_dir() else "no such folder"
                raise StoreError(f"run {path}: {what}; expected a folder with a {RUN} or a {RECORD}, or one of such")
            found.runs += runs
            found.trainings += trainings
            found.not_begun += missing
            found.folders = True
    found.runs, found.trainings = list(dict.fromkeys(found.runs)), list(dict.fromkeys(found.trainings))
    return found


def _not_begun(folder: Path) -> list[str]:
    """The cells of a study that have no folder yet, as far as its sweep.json names them."""
    names = [cell.get("name") if isinstance(cell, Mapping) else cell for cell in study_cells(folder)[1]]
    return [f"{folder.name}/{name}" for name in names if name and not (folder / str(name) / RECORD).is_file()]


def read_all(found: Found, named: Sequence[Path], incomplete: bool) -> tuple[list[JsonObject], list[str]]:
    """Every training, and a line about each that is left out.

    One that was not named itself is left out where it has not ended (unless ``incomplete``) or cannot be read. Raises
    StoreError, RunFailedError for one that was.
    """
    trainings: dict[str, JsonObject] = {}
    left_out = [f"training {name}: not begun" for name in found.not_begun]
    for path in found.trainings:
        try:
            one = read(path)
            if one["unfinished"] and not incomplete:
                raise RunFailedError(
                    f"training {path}: {one['status']} at step {one['step']:,} of {one['steps']:,}; go on with "
                    "--resume, or report what there is with --incomplete"
                )
        except FFPromptError as error:
            if path in named:
                raise
            left_out.append(str(error))
            continue
        other = trainings.setdefault(one["key"], one)
        if other is not one:
            first, second = (other, one) if other["status"] == "finished" else (one, other)
            trainings[one["key"]] = first
            left_out.append(f"training {second['id']}: the same settings and seeds as {first['id']}, so no replicate")
    return list(trainings.values()), left_out


def read(folder: Path) -> JsonObject:
    """A training as a plain dict: record, curve, evaluations by data set, warnings.

    A setting that did not exist when the training was recorded has its default in ``config`` and ``training``.
    ``final`` holds the evaluations at its last step, {} unless it is finished.

    Raises:
        StoreError: for a folder that is damaged, naming the line where there is one.
    """
    record = _record(folder / RECORD)
    lines = list(_lines(folder / LOG))
    events: dict[str, list[JsonObject]] = {name: [] for name in _EVENTS}
    for number, line in lines:
        events[line["event"]].append(_checked(folder / LOG, number, line))
    config = complete(record["config"], NETWORKS.get(record["architecture"], {}))
    training = complete(record["training"], TRAINING)
    made = {
        "id": folder.name,
        "study": folder.resolve().parent.name,
        "home": home(folder),
        "architecture": str(record["architecture"]),
        "status": record["status"],
        "why": record.get("why"),
        "unfinished": record["status"] not in ENDED,
        "parameters": record.get("parameters"),
        "seconds": record.get("seconds"),
        "started": record.get("started"),
        "seeds": [training.get("model_seed"), training.get("data_seed")],
        "steps": training["steps"],
        "step": max((line["step"] for _, line in lines), default=0),
        "config": config,
        "training": training,
        "curve": [{name: line.get(name) for name in ("step", "loss")} for line in events["step"]],
        "warnings": events["warning"],
        "evaluations": _by_set(events["evaluation"]),
        "looks": [look for line in events["attention"] for look in line["looks"]],
        "kinds": events["kinds"],
        "provenance": record,
        "course": _course(folder),
    }
    last = {data: found[-1] for data, found in made["evaluations"].items() if found[-1]["step"] == made["steps"]}
    made["final"] = last if record["status"] == "finished" else {}
    if record["status"] == "finished" and not last:
        raise StoreError(f"training {folder}: finished, but {LOG} has no evaluation of its last step {made['steps']:,}")
    recipe = {name: value for name, value in training.items() if name not in _MACHINE}
    made["key"] = json.dumps([made["architecture"], config, recipe], sort_keys=True)
    return made


def _course(folder: Path) -> JsonObject | None:
    """What ``ffprompt diagnose --course`` has found. None where it was not asked."""
    path = folder / "course.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict) or found.get("schema") != 1:
        raise StoreError(f"{path}: not of schema 1; make it again with: ffprompt diagnose {folder} --course")
    return found


# Where a training ran is no part of what it is a replicate of.
_MACHINE = ("device", "threads", "compiled", "torch")
_SEEDS = ("model_seed", "data_seed")


def cell_key(training: JsonObject) -> str:
    """The same for all replicates of a training, which differ from it by their seeds alone."""
    recipe = {name: value for name, value in training["training"].items() if name not in (*_MACHINE, *_SEEDS)}
    return json.dumps([training["architecture"], training["config"], recipe], sort_keys=True)


def _record(path: Path) -> JsonObject:
    try:
        record = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise StoreError(f"{path}: not the record of a training, or of another format than {FORMAT}")
    if record.get("status") not in _STATUSES:
        raise StoreError(f"{path}: status {record.get('status')!r}; expected one of {', '.join(_STATUSES)}")
    for name in ("config", "training"):
        if not isinstance(record.get(name), dict):
            raise StoreError(f"{path}: {name} is missing")
    if "architecture" not in record or not isinstance(record["training"].get("steps"), int):
        raise StoreError(f"{path}: the architecture or the number of steps is missing")
    return record


def _lines(path: Path) -> Iterator[tuple[int, JsonObject]]:
    """The lines of a log with their numbers. What was being written when the power went is no line."""
    if not path.exists():
        return
    before = 0
    for number, _, line in read_lines(path):
        event, step = line.get("event"), line.get("step")
        if event not in _EVENTS or type(step) is not int or step < before:
            shown = f"event {event!r:.40}, step {step!r:.40}"
            raise StoreError(f"{path}, line {number}: not a line of a training's log, or out of order: {shown}")
        before = step
        yield number, line


def _checked(path: Path, number: int, line: JsonObject) -> JsonObject:
    """A line whose numbers are possible. Raises StoreError."""
    try:
        match line["event"]:
            case "step":
                loss = line["loss"]
                finite = isinstance(loss, (int, float)) and math.isfinite(loss)
                return {"step": line["step"], "loss": float(loss) if finite else None}
            case "warning":
                value = line.get("value")
                told = value if isinstance(value, (int, float)) and math.isfinite(value) else None
                return {"step": line["step"], "monitor": line["monitor"], "value": told, "text": str(line["text"])}
            case "evaluation":
                return _evaluation(line)
            case "attention":
                return _looks(line)
            case "kinds":
                return _kinds(line)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise StoreError(
            f"{path}, line {number}: the numbers of this {line['event']} do not fit ({error!r})"
        ) from error
    return line


def _evaluation(line: JsonObject) -> JsonObject:
    reads, errors, low, high = line["reads"], line["errors"], line["low"], line["high"]
    gaps = [[int(gap), int(count)] for gap, count in line["gaps"]]
    glitch = errors / reads
    if not (0 <= errors <= reads and 0 <= low <= glitch + 1e-9 and glitch <= high + 1e-9 and high <= 1):
        raise ValueError(f"{errors} of {reads}, {low} to {high}")
    if gaps and sum(count for _, count in gaps) != errors:
        raise ValueError(f"gaps of {sum(count for _, count in gaps)} errors, not {errors}")
    return {
        "step": line["step"],
        "data": str(line["data"]),
        "p_ignore": line["p_ignore"],
        "strings": line["strings"],
        "reads": reads,
        "errors": errors,
        "rate": glitch,
        "low": low,
        "high": high,
        # With no error the interval is exact over strings, so that its bound of one side follows from its upper end.
        "at_most": 1 - (1 - high) ** _ONE_SIDED if errors == 0 else None,
        "gaps": gaps,
        "certificate": _certificate(line.get("certificate")),
    }


def _certificate(found: JsonObject | None) -> JsonObject | None:
    """What a sequential test showed. None without one."""
    if found is None:
        return None
    if found["decision"] not in ("below", "above", None) or not 0 <= found["low"] <= found["high"] <= 1:
        raise ValueError(f"certificate {found['decision']!r}, {found['low']} to {found['high']}")
    return {name: found[name] for name in ("bound", "level", "decision", "strings", "reads", "errors", "low", "high")}


def _looks(line: JsonObject) -> JsonObject:
    """Looks at the attention of one string, each with its panels as T x T lists of shares."""
    tokens, reads = [str(token) for token in line["tokens"]], [[int(q), int(s)] for q, s in line["reads"]]
    return {
        "step": line["step"],
        "looks": [
            {
                "step": int(look["step"]),
                "tokens": tokens,
                "reads": reads,
                "wrong": [int(one) for one in look["wrong"]],
                "panels": {str(name): matrix(text, len(tokens)) for name, text in look["panels"].items()},
            }
            for look in line["looks"]
        ],
    }


def _kinds(line: JsonObject) -> JsonObject:
    """Counts of reads by what is on top of the attention, and the string that misled most."""
    counts = {str(name): [int(one) for one in four] for name, four in line["kinds"].items()}
    if any(len(four) != 4 or four[1] > four[0] or four[3] > four[2] for four in counts.values()):
        raise ValueError(f"kinds {counts}")
    worst = line["worst"] and _looks({**line["worst"], "step": line["step"], "looks": [{**line["worst"], "step": -1}]})
    return {
        "step": line["step"],
        "data": str(line["data"]),
        "strings": int(line["strings"]),
        "kinds": counts,
        "worst": worst["looks"][0] if worst else None,
    }


def matrix(text: str, size: int) -> list[list[float]]:
    """Weights (size, size) from bytes in hexadecimal, 255 for 1.

    Raises:
        ValueError: for another number of them.
    """
    weights = [round(byte / 255, 3) for byte in bytes.fromhex(text)]
    if len(weights) != size * size:
        raise ValueError(f"{len(weights)} weights for {size} tokens")
    return [weights[row * size : (row + 1) * size] for row in range(size)]


def _by_set(evaluations: Sequence[JsonObject]) -> dict[str, list[JsonObject]]:
    found: dict[str, list[JsonObject]] = {}
    for one in evaluations:
        found.setdefault(one["data"], []).append(one)
    return found
