"""A log of Inspect as the samples of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffprompt.backends.base import Failure, Reply
from ffprompt.errors import ModelError, StoreError
from ffprompt.integrations.harness_log import HarnessLog, Sample
from ffprompt.integrations.recorded import Answer
from ffprompt.scoring.response_records import ScoresRecord, read_response

if TYPE_CHECKING:
    from inspect_ai.log import EvalSample


def read_log(path: Path) -> HarnessLog:
    """Return what an ``.eval`` file says about each string.

    Raises:
        StoreError: The file is not readable, or it is not of a task of ffprompt.
        ModelError: Inspect is not installed.
    """
    try:
        from inspect_ai.log import read_eval_log
    except ImportError as error:
        raise ModelError(f'{path}: {error.name} reads it; run: pip install "ffprompt[inspect]"') from error
    try:
        log = read_eval_log(path)
    except Exception as error:  # a broken archive raises whatever its part raises
        raise StoreError(f"{path}: not readable as a log of Inspect ({error})") from error
    settings = (log.eval.metadata or {}).get("settings")
    if not isinstance(settings, dict):
        raise StoreError(f"{path}: task {log.eval.task!r} is none of ffprompt's")
    samples = []
    for number, sample in enumerate(log.samples or [], 1):
        try:
            samples.append(_sample(sample))
        except (KeyError, TypeError, ValueError, StoreError) as error:
            raise StoreError(f"{path}: sample {number}: it is not as ffprompt's task leaves it ({error!r})") from error
    if not samples:
        raise StoreError(f"{path}: no samples in it")
    version = str(log.eval.packages.get("inspect_ai", ""))
    return HarnessLog("inspect", version, settings, log.eval.model, str(log.eval.model_args), samples)


def _sample(sample: EvalSample) -> Sample:
    document = sample.metadata
    trial, key, string = int(document["trial"]), str(document["key"]), str(document["string"])
    replies = document.get("replies")
    answers: dict[str, Answer] = {key: Failure(sample.error.message if sample.error else "it was not asked")}
    if replies:
        answers = {name: _answer(made) for name, made in replies.items()}
    return Sample(trial, string, answers)


def _answer(made: dict[str, Any]) -> Answer:
    if "logprobs" in made:
        from ffprompt.integrations.inspect.prompt_scores import of_record

        kept = read_response(made)
        assert isinstance(kept, ScoresRecord)
        return of_record(kept)
    return Failure(**made) if "error" in made else Reply(**made)
