"""A condition as the task of another harness: the same strings, prompts, outcomes and intervals as in a run of ours.

A harness has one document for each trial. It asks its own model, and hands the answers back to be judged::

    condition = HarnessCondition("lm-eval", {"template": "raw-spaced", "length": 100})
    for document in condition.documents(): ...
        question = condition.question(document["trial"])
        counts = condition.counts(document["trial"], response)
    condition.summary(all_counts)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Never, TypedDict

import numpy as np

from ffprompt.backends.base import Reply, Scores
from ffprompt.config.run_config import make
from ffprompt.elicitation.question import Question
from ffprompt.errors import ConfigError, FFPromptError, did_you_mean
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import judge_response
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.integrations.recorded import CAPABILITIES
from ffprompt.scoring.response_records import ResponseRecord, record
from ffprompt.scoring.score import Judged, Outcome
from ffprompt.stats.clusters import Clusters
from ffprompt.stats.intervals import rate_interval
from ffprompt.tasks import registry
from ffprompt.tasks.datasets import read as read_strings

# The settings that a user may give inside another harness. The harness itself decides everything about the model.
SETTINGS = (
    "task", "task_arg", "template", "length", "p_ignore", "p_write", "p_read", "symbols", "data", "trials", "seed",
    "shots", "shot_length", "shared_shots", "elicitation", "next_read", "turn_instructions", "form", "max_tokens",
)  # fmt: skip
_DEFAULTS = {
    "template": "light-switch",
    "length": 100,
    "p_ignore": 0.8,
    "trials": 200,
    "shots": 0,
    "form": "completion",
}
_UNNAMED = "unnamed"  # a model that nobody has named yet
_CHUNK = 64  # strings that are drawn together


class Document(TypedDict):
    """One trial as a harness holds it. ``settings`` are those of the plan, from which ``plan_of`` makes it again."""

    trial: int
    key: str
    string: str  # the digest of the string
    truth: list[str]  # the right answers, as they are written
    settings: Mapping[str, Any]


class CountsRecord(TypedDict):
    """:class:`Counts` as plain values."""

    reads: int
    outcomes: Mapping[str, int]
    floors: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the reads of one string. ``floors``: how many each rule without memory answers correctly."""

    reads: int
    outcomes: Mapping[str, int]
    floors: Mapping[str, int]

    def to_json(self) -> CountsRecord:
        """Return plain values, as a harness logs them."""
        return {"reads": self.reads, "outcomes": dict(self.outcomes), "floors": dict(self.floors)}

    @classmethod
    def from_json(cls, values: CountsRecord) -> Counts:
        """Return what plain values say."""
        return cls(values["reads"], values["outcomes"], values["floors"])


class HarnessCondition:
    """One condition with all its trials.

    Args:
        harness: The name that runs of this harness have as their backend: ``lm-eval`` or ``inspect``.
        settings: Settings by name, as in a suite. Those that are missing have the defaults of harness tasks.

    Raises:
        ConfigError: A setting is unknown or out of range, or the settings make more than one condition.
    """

    def __init__(self, harness: str, settings: Mapping[str, Any]) -> None:
        given = {name: value for name, value in settings.items() if value is not None}
        if unknown := [name for name in given if name not in SETTINGS]:
            raise ConfigError(f"{unknown[0]}: no setting of a harness task{did_you_mean(unknown[0], SETTINGS)}")
        left_out = {"length", "p_ignore"} if "data" in given else {"p_ignore"} if "p_write" in given else set()
        defaults = dict(_DEFAULTS)
        if given.get("task", registry.DEFAULT) != registry.DEFAULT:
            task = registry.get(str(given["task"]), given.get("task_arg", ()))
            left_out |= {"p_ignore"}
            defaults |= {"length": task.lengths[-1], **({"template": task.templates[0]} if task.templates else {})}
        defaults = {name: value for name, value in defaults.items() if name not in left_out}
        self.plan = plan_of(harness, {"elicitation": "forced", **defaults, **given})
        if len(self.plan.conditions) != 1:
            raise ConfigError(
                f"{len(self.plan.conditions)} conditions: a harness task is one; give one value a setting"
            )
        self.condition = self.plan.conditions[0]
        self._batch: Batch | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of the plan as plain values, from which ``plan_of`` makes the same plan."""
        return {name: value for name, value in self.plan.config.plain().items() if name in SETTINGS}

    def documents(self) -> list[Document]:
        """Return one document for each trial, of values that JSON can hold."""
        found: list[Document] = []
        for trial in range(self.plan.trials):
            batch, row = self._row(trial)
            question = self.question(trial)
            found.append(
                {
                    "trial": trial,
                    "key": question.key,
                    "string": batch.digests[row],
                    "truth": [question.surfaces[symbol] for symbol in question.truth],
                    "settings": self.settings,
                }
            )
        return found

    def question(self, trial: int) -> Question:
        """Return what is asked in a trial."""
        batch, row = self._row(trial)
        if batch is not self._asked_of:
            self._questions, self._asked_of = self.plan.questions(batch), batch
        return self._questions[row]

    _asked_of: Batch | None = None

    def judge(self, trial: int, response: Reply | Scores | ResponseRecord) -> Judged:
        """Return the outcomes of a trial."""
        batch, row = self._row(trial)
        made = record(response) if isinstance(response, (Reply, Scores)) else response
        return judge_response(self.plan, batch, row, made)

    def counts(self, trial: int, judged: Judged) -> Counts:
        """Return how many reads of a trial have which outcome, and what rules without memory score on them."""
        batch, row = self._row(trial)
        outcomes = dict.fromkeys(map(str, Outcome), 0)
        for outcome in judged.outcomes:
            outcomes[str(outcome)] += 1
        return Counts(len(judged.outcomes), outcomes, batch.floor_counts[row])

    def _row(self, trial: int) -> tuple[Batch, int]:
        start = trial - trial % _CHUNK
        if self._batch is None or self._batch.start != start:
            self._batch = self.plan.batch(self.condition, start, min(start + _CHUNK, self.plan.trials))
        return self._batch, trial - start


def refuse_other_version(harness: str, installed: str, least: str, below: str) -> None:
    """Raise ConfigError for a release of a harness whose interfaces were not tried.

    >>> refuse_other_version("lm-eval", "0.4.13", "0.4.13", "0.5")
    """
    numbers = [tuple(map(int, re.findall(r"\d+", text)[:3])) for text in (least, installed, below)]
    if not numbers[0] <= numbers[1] < numbers[2]:
        raise ConfigError(f"{harness} {installed}: expected a release from {least} on, and below {below}")


def refuse(error: FFPromptError, *programs: str) -> Never:
    """End the command of a harness with one line and exit code 2. In another program, raise the error as it is."""
    if Path(sys.argv[0]).name in programs:
        sys.stderr.write(f"\nffprompt: {error}\n")  # a progress bar may be on the line
        raise SystemExit(2) from None
    raise error


def plan_of(harness: str, settings: Mapping[str, Any], model: str = _UNNAMED) -> Plan:
    """Return the plan that the settings of a document describe. Raises ConfigError, SpecError, TemplateError."""
    config = make({**settings, "backend": harness, "model": model})
    strings = None
    if config.data:
        strings = read_strings(config.data, config.trials, config.symbols, registry.get(config.task))
        config = config.model_copy(update={"trials": len(strings)})
    return Plan(config, CAPABILITIES, strings)


def summary(counts: Iterable[Counts]) -> dict[str, float]:
    """Return the numbers of a condition, as a row of ffprompt's own table has them.

    Reads are pooled and strings are the clusters of the interval. Failed calls count nowhere. What there is no data for
    is missing.
    """
    every = list(counts)
    reads = np.array([one.reads - one.outcomes["error"] for one in every], np.int64)
    right = np.array([one.outcomes["correct"] for one in every], np.int64)
    total, correct = int(reads.sum()), int(right.sum())
    answered = reads > 0
    found: dict[str, float] = {"strings": int(answered.sum()), "reads": total}
    if not total:
        return found
    wrong = sum(one.outcomes["wrong"] for one in every)
    found["accuracy"] = correct / total
    if correct + wrong:
        found["glitch_rate"] = wrong / (correct + wrong)
    misses = rate_interval(Clusters((reads - right)[answered], reads[answered]))
    if misses:
        interval = misses.complement()
        found |= {"interval_low": interval.low, "interval_high": interval.high}
    floors: dict[str, int] = {}
    for one in every:
        if one.reads > one.outcomes["error"]:
            for name, hits in one.floors.items():
                floors[name] = floors.get(name, 0) + hits
    if floors:
        found["floor"] = max(floors.values()) / total
    for outcome in ("invalid", "refused", "truncated", "error"):
        found[outcome] = sum(one.outcomes[outcome] for one in every)
    return found


METRICS = (
    "accuracy", "glitch_rate", "interval_low", "interval_high", "floor", "strings", "reads", "invalid", "refused",
    "truncated", "error",
)  # fmt: skip
