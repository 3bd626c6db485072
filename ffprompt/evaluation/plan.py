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
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ffprompt.backends.base import Capabilities
from ffprompt.config.run_config import RunConfig
from ffprompt.config.shard import Shard
from ffprompt.elicitation.base import find_elicitation
from ffprompt.elicitation.condition import Condition
from ffprompt.elicitation.question import Prompt, PromptParts, Question
from ffprompt.errors import ConfigError, SpecError
from ffprompt.evaluation.trial_batch import Batch
from ffprompt.scoring.score import Reading
from ffprompt.tasks import registry
from ffprompt.tasks.base import PROBABILITIES, Spec
from ffprompt.tasks.events import Ints
from ffprompt.tasks.shots import sample_shots
from ffprompt.tasks.strings import Strings
from ffprompt.templates import loading as templates
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Template


class Plan:
    """What a run asks.

    ``strings`` are those of a file. ``kept`` are templates as an earlier run has recorded them, by the names or paths
    in its settings, used in place of what the files hold today. ``trials`` are those of each condition: each of its
    ``string_count`` strings is asked ``repeats`` times.

    Raises:
        ConfigError, SpecError, TemplateError: where the settings cannot be carried out.
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
        self.shard = None if config.shard is None else Shard.parse(config.shard)
        self.task = config.made_task()
        specs: Sequence[Spec | None] = config.specs() if strings is None else [None]
        self.shot_spec = self._shot_spec(specs)
        self.conditions: list[Condition] = []
        self.templates = {given: kept[given] if kept else templates.load(given) for given in config.template}
        for given, template in self.templates.items():
            if not registry.is_worded_by(self.task, template.task):
                raise ConfigError(f"template {given}: words task {template.task}, not {self.task.name} (--task)")
        words = (Renderer(template, config.symbols, self.task) for template in self.templates.values())
        self._words = {made.template.name: made for made in words}
        self._readings: dict[int, Reading] = {}  # by the number of the condition
        for given, template in self.templates.items():
            known = template.name in templates.names() and templates.load(template.name)
            if not kept and known and known.digest != template.digest:
                raise ConfigError(f"template {given}: {template.name!r} is a bundled template; give yours another name")
            for elicitation in map(find_elicitation, config.elicitation):
                form = elicitation.form(config, can)
                elicitation.check_wording(self._words[template.name], form, any(config.shots))
                turns = config.turn_instructions if elicitation.has_turns else None
                answers = config.answers if elicitation.takes_schema else None
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
        """Every (condition, its first trial, last + 1) of the run in order. Always the same for one ``size``."""
        for condition in self.conditions:
            for start in range(0, self.trials, size):
                yield condition, start, min(start + size, self.trials)

    def own_batches(self, size: int) -> Iterator[tuple[Condition, int, int]]:
        """Those of all batches that are asked here: all, or those of the run's shard."""
        every = self.batches(size)
        return every if self.shard is None else self.shard.own(every)

    def is_own(self, size: int) -> NDArray[np.bool_]:
        """(trials,) whether a trial is asked here, where ``size`` of them are asked together."""
        own = np.full(len(self), self.shard is None)
        for condition, start, stop in self.own_batches(size) if self.shard is not None else ():
            first = condition.number * self.trials
            own[first + start : first + stop] = True
        return own

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

    def _asked(self, condition: Condition, strings: Strings, row: int, digest: str) -> Ints:
        count = int(strings.is_read[row].sum())
        return np.array(condition.elicitation.asked(count, self.config.next_read, digest))

    def prompt(self, batch: Batch, row: int) -> Prompt:
        """Return what the model will see in one trial."""
        string = batch.strings.string(row)
        shots = [shot.string(row) for shot in batch.shots]
        condition = batch.condition
        asked = tuple(batch.asked[row].tolist())
        words, turns = self.words(condition), condition.turn_instructions
        parts = PromptParts(words, condition.form, string, shots, asked, turns, batch.string(row))
        return condition.elicitation.prompt(parts)

    def surfaces(self, batch: Batch, row: int) -> tuple[str, ...]:
        """Return how each answer is written in a reply to one trial."""
        words, elicitation = self.words(batch.condition), batch.condition.elicitation
        if elicitation.answers_reads:
            return words.surfaces
        return elicitation.surfaces(words, batch.strings.string(row), batch.asked[row].tolist(), batch.string(row))

    def reading(self, batch: Batch, row: int) -> Reading:
        """Return how the reply to one trial is read. Only traces and ``verify`` differ from trial to trial."""
        condition = batch.condition
        if (known := self._readings.get(condition.number)) is not None:
            return known
        words, elicitation = self.words(condition), condition.elicitation
        made = Reading(
            self.surfaces(batch, row),
            completes=condition.form == "completion",
            one=elicitation.asks_one_read,
            ignore_case=words.template.reply.ignore_case,
            structured=condition.structured,
            tags=self.config.reasoning_tags or (),
            steps=elicitation.steps(words, batch.strings.string(row), batch.asked[row].tolist()),
        )
        if made.steps is None and elicitation.answers_reads:
            self._readings[condition.number] = made
        return made

    def questions(self, batch: Batch) -> list[Question]:
        """Return the questions of a batch, in order."""
        words = self.words(batch.condition)
        hints = self._hints(batch) if self.wants_hints else [{}] * len(batch)
        questions = []
        for row in range(len(batch)):
            prompt = self.prompt(batch, row)
            counts = batch.condition.elicitation.counts(prompt)
            questions.append(
                Question(
                    condition=batch.condition,
                    key=batch.trial_id(row, self.seed),
                    prompt=prompt,
                    truth=tuple(batch.truth(row)),
                    surfaces=self.surfaces(batch, row),
                    counts=counts,
                    limits=tuple(self.max_tokens(batch.condition, count) for count in counts),
                    temperature=None if self.config.temperature == "default" else self.config.temperature,
                    silence=words.template.chat.silence,
                    hints=hints[row],
                )
            )
        return questions

    def _hints(self, batch: Batch) -> list[dict[str, tuple[int, ...]]]:
        elicitation = batch.condition.elicitation
        rules = self.task.floors(batch.strings, elicitation.sees_answers)
        rules["oracle"] = batch.strings.answers
        everywhere = elicitation.writes_every_answer
        if everywhere and (states := self.task.answers_everywhere(batch.strings)) is not None:
            rules["oracle"] = states
        if everywhere:
            return [
                {name: tuple(answers[row].tolist()) for name, answers in rules.items()} for row in range(len(batch))
            ]
        # All rows at once: with scripted models this is a good part of a trial's time.
        places = [batch.positions(row) for row in range(len(batch))]
        rows, columns = np.repeat(np.arange(len(batch)), [len(place) for place in places]), np.concatenate(places)
        ends = np.cumsum([0, *(len(place) for place in places)]).tolist()
        flat = {name: answers[rows, columns].tolist() for name, answers in rules.items()}
        return [
            {name: tuple(values[start:end]) for name, values in flat.items()} for start, end in itertools.pairwise(ends)
        ]

    def max_tokens(self, condition: Condition, count: int) -> int:
        """Return the longest reply with ``count`` answers. In a dialogue that of one turn."""
        if self.config.max_tokens is not None:
            return self.config.max_tokens
        elicitation, spec = condition.elicitation, condition.spec
        events = spec.instructions if spec else self.file.instructions if self.file is not None else 0
        most = elicitation.max_tokens(condition.form, condition.structured, count)
        return most + elicitation.trace_tokens(self.words(condition), events)

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
                    "elicitation": c.elicitation.name,
                    "form": c.form,
                    "length": c.length,
                    **{f"p_{name}": c.spec.probabilities.get(name) if c.spec else None for name in PROBABILITIES},
                    "symbols": self.config.symbols,
                    "turn_instructions": c.turn_instructions,
                    **({"answers": c.answers} if c.structured else {}),
                }
                for c in self.conditions
            ],
            "templates": {
                given: {"name": made.name, "version": made.version, "digest": made.digest, "content": made.content()}
                for given, made in self.templates.items()
            },
            "data_digest": self.data_digest(),
        }
