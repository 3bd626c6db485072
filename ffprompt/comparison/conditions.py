"""The reads of a run as arrays, condition by condition, beside the settings that they were asked with.

Only the columns that a comparison needs are read from ``reads.parquet``. The rest comes from ``run.json``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ffprompt._util.records import JsonObject
from ffprompt.backends.base import OWN
from ffprompt.comparison.bias import answer_bias
from ffprompt.config.settings import ROWS, recorded_in
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import IncompleteRunError, StoreError
from ffprompt.runs.folder import RunFolder
from ffprompt.runs.reads import KEY, OUTCOMES, Digests, Ints, ReadTable, Texts
from ffprompt.tasks import registry
from ffprompt.tasks.base import PROBABILITIES

# Columns that a comparison needs, and those that came later: without them nothing was repeated, and neither strings
# nor prompts have a digest.
_COLUMNS = ("string_index", "read_index", "outcome")
_LATER_COLUMNS = ("string", "repeat", "prompt")
# Settings that say which model answered, and how it was run as far as that may change an answer.
OF_THE_MODEL = (
    "model", *(row.name for row in ROWS if row.identifies_model and row.name != "model"), "weights",
)  # fmt: skip
# What a backend knows a model file or folder by, whatever its name.
_WEIGHTS = ("sha256", "gguf_sha256")


@dataclass(frozen=True)
class Source:
    """The run that answers come from.

    Attributes:
        path: Its folder.
        run_id: Its name.
        model: The model as the user named it.
        complete: Whether every trial has an answer.
        info: What its ``run.json`` holds.
    """

    path: Path
    run_id: str
    model: str
    complete: bool
    info: JsonObject = field(repr=False)


@dataclass(frozen=True, eq=False)
class RunCondition:
    """One condition of one run: its settings and its reads, (n,) each.

    Attributes:
        source: The run.
        number: The number of the condition in its run.
        name: The name of the condition.
        language: What its strings were sampled from.
        settings: Every setting that can change an answer.
        string: The number of each read's string.
        read: The number of each read in its string. In a repeat of a prompt, numbers are higher by the string's length
            than in the repeat before.
        digest: The digest of each read's string, or None for a run of a version that did not keep it.
        outcome: The index into ``OUTCOMES`` of each read.
        prompt: The digest of what the model was shown, where it is known.
        bias: How much it leans towards answer 1 of two, as in :func:`ffprompt.comparison.bias.answer_bias`.
    """

    source: Source
    number: int
    name: str
    language: str
    settings: JsonObject
    string: Ints
    read: Ints
    digest: Digests | None
    outcome: Ints
    prompt: Texts | None = None
    bias: float | None = None

    @property
    def sampled(self) -> bool:
        """Whether the strings follow from seed and number, as those of a file do not."""
        return self.source.info["config"]["data"] is None

    @cached_property
    def counts(self) -> dict[str, int]:
        """Reads with each outcome."""
        found = np.bincount(self.outcome, minlength=len(OUTCOMES)).tolist()
        return {str(name): count for name, count in zip(OUTCOMES, found, strict=True)}


def conditions_of(run: str | os.PathLike[str], incomplete: bool = False) -> list[RunCondition]:
    """Return every condition of a run, in its order, also those without a read.

    Raises:
        StoreError: The folder is no run, is damaged, or its table does not agree with its record.
        IncompleteRunError: Trials have no answer and ``incomplete`` does not ask for what there is.
    """
    folder = RunFolder.open(run)
    info = folder.info.to_json()
    complete = info.get("status") == "done"
    if not (complete or incomplete):
        raise IncompleteRunError(
            f"run {folder.path}: it is {info.get('status')}, not done; finish it with --resume, or compare what there "
            "is with --incomplete"
        )
    with ReadTable.open(folder) as table:
        if not complete and folder.reads_path.stat().st_mtime < folder.trials_path.stat().st_mtime:
            raise StoreError(
                f"{folder.reads_path}: older than the log of this unfinished run; make it again with: "
                f"ffprompt score {folder.path}"
            )
        table.read(*_COLUMNS, *(name for name in _LATER_COLUMNS if name in table.names))
        try:
            source = Source(folder.path, str(info["run_id"]), str(info["config"]["model"]), complete, info)
            conditions = _conditions(source, table)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise StoreError(f"run {folder.path}: run.json lacks or garbles something ({error!r:.80})") from error
    if not any(len(condition.outcome) for condition in conditions):
        raise IncompleteRunError(f"run {folder.path}: no read in it; run it with --resume")
    return conditions


def _conditions(source: Source, table: ReadTable) -> list[RunCondition]:
    results = source.info.get("results") or []
    conditions = []
    for number, condition in enumerate(source.info["plan"]["conditions"]):
        reads = table.of(number)
        made = RunCondition(
            source, number, condition["name"], _language(source.info, condition), settings_of(source.info, condition),
            reads.string, reads.repeat * condition["length"] + reads.read, reads.digest, reads.outcome, reads.prompt,
            answer_bias(reads, condition["symbols"], find_elicitation(condition["elicitation"]).blanks),
        )  # fmt: skip
        if source.complete and results[number]["outcomes"] != made.counts:
            raise StoreError(
                f"run {source.path}: reads.parquet and run.json disagree about {made.name}; compute both again with: "
                f"ffprompt score {source.path}"
            )
        conditions.append(made)
    return conditions


def _language(info: JsonObject, condition: JsonObject) -> str:
    if info["config"]["data"] is not None:
        return f"file({condition['length']})"
    task = registry.get(info["config"].get("task", registry.DEFAULT), info["config"].get("task_arg") or ())
    given = {name: condition[f"p_{name}"] for name in PROBABILITIES}
    probabilities = {name: value for name, value in given.items() if value is not None}
    return str(task.spec(condition["length"], condition["symbols"], probabilities))


def settings_of(info: JsonObject, condition: JsonObject) -> JsonObject:
    """Return every setting that can change an answer, by name. Those that play no part in a condition are None."""
    config, identity = info["config"], info["model"]
    versions = {made["name"]: made["digest"] for made in info["plan"]["templates"].values()}
    asked = [row for row in ROWS if row.compare in ("by", "allow", "equal") and not row.identifies_model]
    honoured = find_elicitation(condition["elicitation"]).settings
    plays = {
        row.name
        for row in asked
        if row.used_with is None or (condition["shots"] if row.used_with == "shots" else row.name in honoured)
    }
    model = {name: identity.get(name, config.get(name)) for name in OF_THE_MODEL if name != "weights"}
    # Nothing was said of it, or there was nothing to leave room for.
    model |= {name: None for name in ("thinking", "reasoning_room") if model[name] in (OWN, 0)}
    temperature = {"temperature": OWN} if identity.get("temperature") == OWN and "temperature" in plays else {}
    return {
        **{row.name: recorded_in(row, config) if row.name in plays else None for row in asked},
        **{name: condition.get(name) for name in KEY},
        **model,
        **temperature,
        # As given, and not as a package's file: the name is what a user knows it by.
        "model": config["model"],
        "weights": {name: identity[name] for name in _WEIGHTS if identity.get(name) is not None} or None,
        "template_version": versions[condition["template"]],
        "symbols": condition["symbols"],
    }
