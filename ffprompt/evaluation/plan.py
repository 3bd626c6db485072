"""The plan of a run: which strings are asked how. Everything in it follows from the configuration.

A run is conditions × strings × repeats. A condition is one language (or data file) × template × shots × elicitation.
Trials are numbered condition by condition, in each string by string, and the repeats of a string follow one another.

Example, 2 conditions of 3 strings, each asked twice::

    trial      0 1 2 3 4 5   6 7 8 9 10 11
    condition  0 0 0 0 0 0   1 1 1 1  1  1
    string     0 0 1 1 2 2   0 0 1 1  2  2
    repeat     0 1 0 1 0 1   0 1 0 1  0  1
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.base import AnswerSchema, Capabilities, Request, Turn
from ffprompt.config.run_config import RunConfig
from ffprompt.elicitation.prompts import Prompt, prompt
from ffprompt.errors import ConfigError, ModelError, SpecError
from ffprompt.tasks import registry
from ffprompt.tasks.base import PROBABILITIES, Ints, Spec, Strings
from ffprompt.tasks.floors import hits
from ffprompt.tasks.shots import sample_shots
from ffprompt.templates import template as templates
from ffprompt.templates.template import Elicitation, Form, Renderer, Template


@dataclass(frozen=True, slots=True)
class Condition:
    """One row of the result table. ``spec`` is None for strings from a file, whose length is ``length``."""

    number: int
    template: str
    shots: int
    shot_length: int
    elicitation: Elicitation
    form: Form
    length: int
    spec: Spec | None
    turn_instructions: int | None = None  # dialogue: instructions a turn; None is all up to the next read
    answers: Literal["text", "schema"] | None = None  # how a reply is to be written; forced has none

    @property
    def language(self) -> str:
        """The language as a run's table and log name it."""
        return str(self.spec) if self.spec else f"file({self.length})"

    @property
    def name(self) -> str:
        """Unique in its run: template, shots and their length, elicitation, form, schema, language."""
        shots = f"{self.shots}-shot" + (f"-of-{self.shot_length}" if self.shots else "")
        turns = f"-by-{self.turn_instructions}" if self.turn_instructions else ""
        form = self.form + ("-schema" if self.answers == "schema" else "")
        return f"{self.template}/{shots}/{self.elicitation}{turns}/{form}/{self.language}"

    @property
    def see_reads(self) -> bool:
        """Whether the true answers to earlier reads stand before a read, where a rule could copy them."""
        return self.elicitation not in ("list", "dialogue")


@dataclass(frozen=True)
class Batch:
    """Consecutive trials of one condition, from its trial ``start`` on: a row each, and what is asked in it.

    The same string stands in several rows where its prompt is repeated.
    """

    condition: Condition
    start: int
    first_trial: int
    strings: Strings
    shots: Sequence[Strings]
    asked: Sequence[NDArray[np.int64]]  # for each string, the numbers of its reads that are asked, from 0
    digests: Sequence[str]
    repeats: int = 1  # times that each prompt of the run is asked

    def __len__(self) -> int:
        return len(self.strings)

    def string(self, row: int) -> int:
        """The number of a trial's string in its language or file."""
        return (self.start + row) // self.repeats

    def repeat(self, row: int) -> int:
        """Which of the repeats of its prompt a trial is, from 0."""
        return (self.start + row) % self.repeats

    def positions(self, row: int) -> NDArray[np.int64]:
        """(reads,) the instructions, from 0, at which the asked reads of a string stand."""
        return np.flatnonzero(self.strings.is_read[row])[self.asked[row]]

    def truth(self, row: int) -> list[int]:
        """The true answers to the asked reads of a string."""
        answers: list[int] = self.strings.answers[row, self.positions(row)].tolist()
        return answers

    @cached_property
    def floor_hits(self) -> dict[str, NDArray[np.bool_]]:
        """(N, n) where each rule without memory would be right, in the order of the rules."""
        return hits(self.strings, self.condition.see_reads)

    @cached_property
    def covariates(self) -> dict[str, Ints]:
        """What makes a read hard, (N, n) each, by the name of its column."""
        return self.strings.task.covariates(self.strings)

    def trial_id(self, row: int, seed: int) -> str:
        """The name of a trial, unique in its run; runs that differ in other settings may use it again.

        The first repeat is named like the only trial of a run without repeats, and draws the same sampled reply.
        """
        repeat = self.repeat(row)
        name = f"{self.condition.name}/seed-{seed}/{self.string(row)}"
        return f"{name}/repeat-{repeat}" if repeat else name


class Plan:
    """What a run asks. Raises ConfigError, SpecError, TemplateError where the settings cannot be carried out.

    ``strings`` are those of a file; ``kept`` are templates as an earlier run has recorded them, by the names or paths
    in its settings, used in place of what the files hold today. ``trials`` are those of each condition: each of its
    ``string_count`` strings is asked ``repeats`` times.
    """

    def __init__(
        self,
        config: RunConfig,
        can: Capabilities,
        strings: Strings | None = None,
        kept: Mapping[str, Template] | None = None,
    ) -> None:
        self.config = config = config.settled(can)
        self.wants_hints = can.wants_hints
        assert config.template and config.shots and config.elicitation and config.trials
        if (tags := config.reasoning_tags) and (tags[0] == tags[1] or not all(tag.strip() for tag in tags)):
            raise ConfigError(f"--reasoning-tags {tags[0]!r} {tags[1]!r}: expected two different texts, neither empty")
        self.string_count: int = config.trials
        self.repeats: int = config.repeats
        self.trials: int = self.string_count * self.repeats
        self.file = strings
        self.seed = config.seed
        self.task = registry.get(config.task)
        specs: Sequence[Spec | None] = config.specs() if strings is None else [None]
        self.shot_spec = self._shot_spec(specs)
        self.conditions: list[Condition] = []
        self.templates = {given: kept[given] if kept else templates.load(given) for given in config.template}
        self._words = {template.name: Renderer(template, config.symbols) for template in self.templates.values()}
        for given, template in self.templates.items():
            known = template.name in templates.names() and templates.load(template.name)
            if template.task != self.task.name:
                raise ConfigError(f"template {given}: words task {template.task}, not {self.task.name} (--task)")
            if not kept and known and known.digest != template.digest:
                raise ConfigError(f"template {given}: {template.name!r} is a bundled template; give yours another name")
            for elicitation in config.elicitation:
                form = _form(config, elicitation, can)
                if elicitation == "dialogue":
                    self._words[template.name].can_talk()
                turns = config.turn_instructions if elicitation == "dialogue" else None
                answers = None if elicitation == "forced" else config.answers
                for spec in specs:
                    for shots in config.shots:
                        length = spec.length if spec else strings.length if strings else 0
                        number = len(self.conditions)
                        self.conditions.append(
                            Condition(
                                number,
                                template.name,
                                shots,
                                config.shot_length,
                                elicitation,
                                form,
                                length,
                                spec,
                                turns,
                                answers,
                            )
                        )
        if len({condition.name for condition in self.conditions}) < len(self.conditions):
            raise ConfigError("two conditions of this run are the same; look for templates of one name")

    def __len__(self) -> int:
        return len(self.conditions) * self.trials

    def _shot_spec(self, specs: Sequence[Spec | None]) -> dict[Spec | None, Spec]:
        """Shots are drawn with the probabilities of the question's language, at the length asked for."""
        config, found = self.config, {}
        if any(config.shots or ()):
            for spec in specs:
                try:
                    found[spec] = (
                        spec.with_length(config.shot_length)
                        if spec
                        else self.task.spec(config.shot_length, config.symbols)
                    )
                except SpecError as error:
                    raise SpecError(f"shot_length: {error}") from error
        return found

    def words(self, condition: Condition) -> Renderer:
        """The template of a condition, for the run's alphabet."""
        return self._words[condition.template]

    def batches(self, size: int) -> Iterator[tuple[Condition, int, int]]:
        """Every (condition, its first trial, last + 1) of the run in order; always the same for one ``size``."""
        for condition in self.conditions:
            for start in range(0, self.trials, size):
                yield condition, start, min(start + size, self.trials)

    def batch(self, condition: Condition, start: int, stop: int, shots: bool = True) -> Batch:
        """Trials ``start`` … ``stop - 1`` of a condition: draw their strings, and with ``shots`` the demonstrations."""
        first, last = start // self.repeats, -(-stop // self.repeats)
        strings = self.strings(condition.spec, first, last)
        shown: list[Strings] = []
        if shots and condition.shots:
            shot_spec = self.shot_spec[condition.spec]
            shown = sample_shots(shot_spec, self.seed, first, strings, condition.shots, self.config.shared_shots)
        digests = strings.digests()
        asked = [self._asked(condition, strings, row, digests[row]) for row in range(len(strings))]
        rows = np.arange(start, stop) // self.repeats - first
        return Batch(
            condition,
            start,
            condition.number * self.trials + start,
            strings[rows],
            [shot[rows] for shot in shown],
            [asked[row] for row in rows],
            [digests[row] for row in rows],
            self.repeats,
        )

    @cached_property
    def once(self) -> Plan:
        """This plan with every prompt asked once, for those who look at the prompts alone."""
        if self.repeats == 1:
            return self
        plan = copy.copy(self)
        plan.repeats, plan.trials = 1, self.string_count
        return plan

    def strings(self, spec: Spec | None, start: int, stop: int) -> Strings:
        """Strings of a language, or of the file."""
        if spec is None:
            assert self.file is not None
            return self.file[start:stop]
        return spec.sample(self.seed, start, stop)

    def _asked(self, condition: Condition, strings: Strings, row: int, digest: str) -> NDArray[np.int64]:
        count = int(strings.is_read[row].sum())
        if condition.elicitation != "next":
            return np.arange(count)
        which = {"first": 0, "last": count - 1}.get(self.config.next_read, int(digest, 16) % count)
        return np.array([which])

    def prompt(self, batch: Batch, row: int) -> Prompt:
        """What the model will see in one trial."""
        string = batch.strings.string(row)
        shots = [shot.string(row) for shot in batch.shots]
        condition = batch.condition
        read = int(batch.asked[row][0])
        words, turns = self.words(condition), condition.turn_instructions
        return prompt(words, condition.elicitation, condition.form, string, shots, read, turns)

    def requests(self, batch: Batch) -> list[Request]:
        """The requests of a batch, in order."""
        words = self.words(batch.condition)
        hints = self._hints(batch) if self.wants_hints else [{}] * len(batch)
        requests = []
        for row in range(len(batch)):
            asked = self.prompt(batch, row)
            key = batch.trial_id(row, self.seed)
            requests.append(
                Request(
                    key=key,
                    text=asked.text,
                    messages=asked.messages,
                    reads=asked.reads,
                    surfaces=words.surfaces,
                    max_tokens=self.max_tokens(batch.condition, len(asked.asked)),
                    temperature=None if self.config.temperature == "default" else self.config.temperature,
                    seed=int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]),
                    stop=asked.stop,
                    hints=hints[row],
                    turns=self._turns(batch.condition, asked),
                    silence=words.template.chat.silence,
                    schema=self._schema(batch.condition, len(asked.asked)),
                )
            )
        return requests

    def _hints(self, batch: Batch) -> list[dict[str, tuple[int, ...]]]:
        rules = self.task.floors(batch.strings, batch.condition.see_reads)
        rules["oracle"] = batch.strings.answers
        return [
            {name: tuple(answers[row, batch.positions(row)].tolist()) for name, answers in rules.items()}
            for row in range(len(batch))
        ]

    def _schema(self, condition: Condition, count: int) -> AnswerSchema | None:
        """What the reply is held to. It names every value in the order of the symbols, whatever the answers are."""
        return AnswerSchema(self.words(condition).surfaces, count) if condition.answers == "schema" else None

    def _turns(self, condition: Condition, asked: Prompt) -> tuple[Turn, ...]:
        return tuple(
            dataclasses.replace(turn, max_tokens=self.max_tokens(condition, turn.reads)) for turn in asked.turns
        )

    def max_tokens(self, condition: Condition, count: int) -> int:
        """The longest reply with ``count`` answers; in a dialogue that of one turn."""
        if self.config.max_tokens is not None:
            return self.config.max_tokens
        each = 16 if condition.answers == "schema" else 8  # JSON may write a name beside each answer
        if condition.elicitation == "dialogue":
            return 64 + each * count  # a sentence
        if condition.form == "chat":
            return 256 + each * count  # room for a sentence around the list, and some to spare a token an answer
        return 8 if condition.elicitation == "next" else 16 + 8 * count

    def data_digest(self) -> str:
        """16 hex digits of all strings of the run."""
        digest = hashlib.sha256()
        for spec in dict.fromkeys(condition.spec for condition in self.conditions):
            for start in range(0, self.string_count, 4096):
                strings = self.strings(spec, start, min(start + 4096, self.string_count))
                digest.update(strings.events.tobytes() + strings.values.tobytes())
        return digest.hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """The plan as ``run.json`` keeps it."""
        return {
            "trials_per_condition": self.trials,
            "conditions": [
                {
                    "number": c.number,
                    "name": c.name,
                    "template": c.template,
                    "shots": c.shots,
                    "elicitation": c.elicitation,
                    "form": c.form,
                    "length": c.length,
                    **{f"p_{name}": c.spec.probabilities.get(name) if c.spec else None for name in PROBABILITIES},
                    "symbols": self.config.symbols,
                    "turn_instructions": c.turn_instructions,
                    **({"answers": c.answers} if c.answers == "schema" else {}),
                }
                for c in self.conditions
            ],
            "templates": {
                given: {"name": made.name, "version": made.version, "digest": made.digest, "content": made.content()}
                for given, made in self.templates.items()
            },
            "data_digest": self.data_digest(),
        }


def _form(config: RunConfig, elicitation: Elicitation, can: Capabilities) -> Form:
    """The prompt form of an elicitation with this model. Raises ModelError where it cannot be had."""
    if elicitation == "forced" and not can.scores:
        raise ModelError(
            f"{config.backend} model {config.model} gives no log-probabilities, which forced needs"
            f"{f' ({can.unscored})' if can.unscored else ''}; use --elicitation list or next"
        )
    if config.answers == "schema":
        _can_be_held(config, elicitation, can)
    if elicitation == "dialogue":
        if not can.chats:
            raise ModelError(
                f"{config.backend} model {config.model} answers no messages (no chat template), which dialogue needs"
            )
        return "chat"
    form: Form
    if config.form != "auto":
        form = config.form
    else:
        chat = elicitation == "list" or config.answers == "schema" or not can.completes
        form = "chat" if can.chats and chat else "completion"
    if form == "chat" and not can.chats:
        raise ModelError(f"{config.backend} model {config.model} has no chat template; use --form completion")
    if form == "completion" and not can.completes:
        raise ModelError(f"{config.backend} model {config.model} answers messages only; use --form chat")
    return form


def _can_be_held(config: RunConfig, elicitation: Elicitation, can: Capabilities) -> None:
    """Raise ConfigError or ModelError where ``--answers schema`` cannot be had."""
    if elicitation == "forced":
        raise ConfigError(
            "--answers schema: forced scores given answers and has no reply; use --elicitation list, next or dialogue"
        )
    if config.form == "completion" or not can.chats:
        why = "--form completion" if config.form == "completion" else f"{config.model} answers no messages, and it"
        raise ConfigError(f"--answers schema: {why} continues a text; use --form chat and a chat model")
    if not can.schemas:
        raise ModelError(
            f"--answers schema: {config.backend} model {config.model} cannot be held to a schema here; "
            "leave --answers out"
        )
