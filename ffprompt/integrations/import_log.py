"""``ffprompt import``: a log of another harness becomes a run, with the same files as any other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from ffprompt._util.files import read_text
from ffprompt.backends.base import Reply, Scores
from ffprompt.errors import ConfigError, FFPromptError, StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import carry_out, start
from ffprompt.integrations.harness import SETTINGS, plan_of
from ffprompt.integrations.harness_log import HarnessLog, Sample
from ffprompt.integrations.lm_eval.samples import scores
from ffprompt.integrations.recorded import Answer, RecordedBackend, RecordedIdentity
from ffprompt.runs.folder import RunFolder
from ffprompt.scoring.condition_result import ConditionResult


def import_log(path: Path, out: Path, model: str | None = None) -> tuple[RunFolder, list[ConditionResult]]:
    """Make a run of a log of lm-eval (``samples_*.jsonl``) or Inspect (``.eval``), and return it with its table.

    Args:
        path: The log.
        out: The folder that runs are in.
        model: The model's name in the run, in place of the log's.

    Raises:
        StoreError: The log is not readable, or it is not one of ffprompt's tasks.
        ConfigError: Its settings are not those of a task that this version has.
    """
    log = _read(path)
    name = model or log.model
    settings = dict(log.settings)
    count = max(sample.trial for sample in log.samples) + 1
    planned = settings.get("trials")
    if settings.get("data") is None and isinstance(planned, int) and count < planned:
        settings["trials"] = count  # the harness was told to stop early (--limit)
    try:
        plan = plan_of(log.harness, settings, name)
        _check_strings(path, log, plan)
    except StoreError:
        raise
    except FFPromptError as error:
        raise ConfigError(f"{path}: {error}") from error
    identity = RecordedIdentity(
        backend=log.harness,
        model=name,
        harness=f"{log.harness} {log.version}".strip(),
        log=path.name,
        served_by=log.served_by,
    )
    backend = RecordedBackend(identity, dict(chain.from_iterable(sample.answers.items() for sample in log.samples)))
    folder, _ = start(plan.config, backend, plan, out, resume=False)
    return folder, carry_out(folder, plan, backend)


def _read(path: Path) -> HarnessLog:
    if path.suffix == ".eval":
        from ffprompt.integrations.inspect.logs import read_log

        return read_log(path)
    if path.suffix == ".jsonl":
        return _read_lm_eval(path)
    raise StoreError(f"{path}: expected a samples_*.jsonl of lm-eval or an .eval file of Inspect")


def _read_lm_eval(path: Path) -> HarnessLog:
    samples: list[Sample] = []
    settings: Mapping[str, Any] | None = None
    for number, line in _lines(path):
        where = f"{path}: line {number}"
        try:
            document, replies = line["doc"], line["resps"]
            found = {name: value for name, value in document["settings"].items() if name in SETTINGS}
            trial, key, string = int(document["trial"]), str(document["key"]), str(document["string"])
            if found.get("elicitation") == ["forced"]:
                symbols = len(replies) // len(document["truth"])
                answer: Answer = scores([_pair(reply[0]) for reply in replies], symbols)
            else:
                answer = Reply(str(replies[0][0]), "stop")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreError(f"{where}: no sample of a task of ffprompt ({type(error).__name__}: {error})") from error
        if settings is not None and settings != found:
            raise StoreError(f"{where}: its settings are not those of the lines before")
        settings = found
        samples.append(Sample(trial, string, {key: answer}))
    if settings is None:
        raise StoreError(f"{path}: no samples in it")
    model, version, served_by = _lm_eval_results(path)
    return HarnessLog("lm-eval", version, settings, model, served_by, samples)


def _pair(reply: Any) -> tuple[float, bool]:
    """(log-probability, whether it was the first choice), which the harness writes as texts."""
    value, first = reply
    return float(value), first if isinstance(first, bool) else {"True": True, "False": False}[first]


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Every line of a log with its number.

    A log of ours may end within a line, which is passed over. One of another harness is finished, so a last line that
    is cut means a damaged file. Passed over, its string would be missing without a word.
    """
    try:
        text = read_text(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise StoreError(f"{path}: line {number}: no JSON ({error})") from error


def _lm_eval_results(path: Path) -> tuple[str, str, str | None]:
    """The model's name, the harness's version and its arguments, from the results file beside the samples."""
    time = path.stem.rpartition("_")[2]
    file = path.parent / f"results_{time}.json"
    try:
        results = json.loads(read_text(file))
        name = str(results["model_name"])
        return name, str(results.get("lm_eval_version", "")), str(results["config"].get("model_args"))
    except (OSError, ValueError, KeyError, AttributeError):
        return path.parent.name, "", None


def _check_strings(path: Path, log: HarnessLog, plan: Plan) -> None:
    """Raise StoreError where the strings of the log are not those of its settings."""
    condition = plan.conditions[0]
    batch = plan.batch(condition, 0, plan.trials, shots=False)
    seen: set[int] = set()
    for sample in log.samples:
        if not 0 <= sample.trial < plan.trials or sample.trial in seen:
            raise StoreError(f"{path}: trial {sample.trial} is there twice, or is none of its {plan.trials}")
        seen.add(sample.trial)
        if sample.string != batch.digests[sample.trial]:
            raise StoreError(
                f"{path}: trial {sample.trial} is about string {sample.string}, "
                f"but its settings give {batch.digests[sample.trial]}"
            )
        for answer in sample.answers.values():
            reads = len(batch.asked[sample.trial])
            if isinstance(answer, Scores) and answer.answers.shape != (reads, plan.config.symbols):
                raise StoreError(
                    f"{path}: trial {sample.trial} has {answer.answers.shape[0]} scored reads; its string has {reads}"
                )
