"""What a run's files hold: ``RunInfo`` is run.json, ``TrialRecord`` a line of trials.jsonl.

Both are checked when they are read, so what follows can rely on them. What is damaged is a StoreError in one line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any

from pydantic import BaseModel

from ffprompt._util.records import Int, JsonObject, Number, Reader, Text
from ffprompt.cost.prices import Price
from ffprompt.scoring.condition_result import ConditionResult
from ffprompt.scoring.response_records import DialogueRecord, ResponseRecord, read_response


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial, or the latest turn of a dialogue that is not over.

    ``answers``, ``outcomes`` and ``reason`` are what the response was judged to be when it came. Scoring a run again
    computes them anew from ``response``.
    """

    trial: Int
    trial_id: Text | None = None
    spec: Text | None = None
    seed: Int | None = None
    index: Int | None = None  # of the string
    repeat: Int | None = None  # None in a run that asks every prompt once
    string: Text | None = None  # the string's digest
    prompt: Text | None = None  # the digest of what the model was shown
    response: ResponseRecord
    answers: Sequence[Int | None] = ()
    outcomes: Sequence[Text]
    reason: Text | None = None
    started: Text | None = None
    seconds: Number | None = None  # None in a provider's batch

    @property
    def name(self) -> str:
        """The trial's id, or its number in logs that have none."""
        return self.trial_id if self.trial_id is not None else str(self.trial)

    @property
    def error(self) -> str | None:
        """Why there is no complete answer. None where there is one."""
        return self.response.error

    @property
    def first_turn(self) -> int | None:
        """The first of the turns that this line holds, where the dialogue is not over."""
        return self.response.first_turn if isinstance(self.response, DialogueRecord) else None

    def to_json(self) -> JsonObject:
        """Return the line as the log keeps it."""
        return {
            "trial": self.trial,
            "trial_id": self.trial_id,
            "spec": self.spec,
            "seed": self.seed,
            "index": self.index,
            **({"repeat": self.repeat} if self.repeat is not None else {}),
            "string": self.string,
            "prompt": self.prompt,
            **self.response.to_json(),
            "answers": list(self.answers),
            "outcomes": list(self.outcomes),
            "reason": self.reason,
            "started": self.started,
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any], where: str = "") -> TrialRecord:
        """Return the trial that a line holds. Raises StoreError, which names ``where``, key, value and expectation."""
        return _TRIAL.read({**line, "response": read_response(line, where)}, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionRecord:
    """A condition as the plan of a run records it. The probabilities are None for strings from a file."""

    number: Int
    name: Text
    template: Text
    shots: Int
    elicitation: Text
    form: Text
    length: Int
    p_write: Number | None = None
    p_read: Number | None = None
    p_ignore: Number | None = None
    symbols: Int = 2
    turn_instructions: Int | None = None
    answers: Text | None = None  # schema, or None for text


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """A template as a run has used it. ``content`` is all of it."""

    name: Text
    version: Int
    digest: Text
    content: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecord:
    """What a run asks. ``templates`` go by the names or paths in its settings."""

    trials_per_condition: Int | None = None
    conditions: Sequence[ConditionRecord]
    templates: Mapping[Text, TemplateRecord]
    data_digest: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentRecord:
    """What all calls of a run were counted at, failed ones at the most that they can have used."""

    calls: Int
    answers: Int
    tokens: Int
    usd: Number | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """A part of a run that was handed to a provider as a batch. ``trials`` are (first, last), both included."""

    part: Int
    id: Text | None
    trials: Sequence[tuple[Int, Int]]
    state: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """``run.json``: what was asked of which model, how far the run is, and its table.

    ``config``, ``capabilities`` and the model's identity ``model`` are plain values of other packages. ``content`` is
    the whole JSON object, with keys that are of no further interest here and in the order in which they came.
    """

    schema: Int
    run_id: Text
    status: Text  # running, waiting (for batches), done, incomplete, interrupted, failed
    plan_digest: Text
    started: Text | None = None
    ended: Text | None = None
    config: JsonObject
    capabilities: JsonObject = field(default_factory=dict)
    model: JsonObject
    plan: PlanRecord
    audit: Sequence[JsonObject] = ()
    samples: Sequence[JsonObject] = ()
    chunk: Int | None = None
    shard: Text | None = None  # I/N, where a run is one part of N
    price: Price | None = None
    results: Sequence[ConditionResult] | None = None
    spent: SpentRecord | None = None
    batches: Sequence[PartRecord] = ()
    seconds: Number | None = None
    content: JsonObject = field(default_factory=dict, repr=False, compare=False)

    @property
    def model_name(self) -> str:
        """The model as the user named it."""
        return str(self.config["model"])

    @property
    def backend_name(self) -> str:
        """The name of the backend."""
        return str(self.config["backend"])

    def to_json(self) -> JsonObject:
        """Return the whole content of ``run.json``."""
        return dict(self.content)

    @classmethod
    def from_json(cls, content: JsonObject, where: str = "run.json") -> RunInfo:
        """Return what the content of a ``run.json`` says.

        Raises:
            StoreError: it is damaged.
        """
        known = {each.name: content[each.name] for each in fields(cls) if each.name in content}
        info = _RUN.read(known, where)
        _MODEL.read(info.config, f"{where}: config")
        return replace(info, content=dict(content))

    def updated(self, **changes: object) -> RunInfo:
        """Return the record with other values, which may be records too. Keys that are new come last."""
        unknown = changes.keys() - {each.name for each in fields(self)}
        assert not unknown, unknown
        return RunInfo.from_json(self.content | {key: plain(value) for key, value in changes.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What the settings of every run say."""

    backend: Text
    model: Text


_TRIAL, _RUN, _MODEL = Reader(TrialRecord), Reader(RunInfo), Reader(_Model)


def plain(value: object) -> Any:
    """A record, or a list of records, as JSON has it."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value
