"""The diagnosis of a run: attention at its reads, right against wrong, dilution, and what ablation does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ffprompt._util.files import json_bytes
from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis import examples, layers, patching, probe
from ffprompt.analysis.diagnosis.ablation import Ablation, ablate
from ffprompt.analysis.diagnosis.collect import Collected, collect, conditions
from ffprompt.analysis.diagnosis.conclusions import conclusions
from ffprompt.analysis.diagnosis.dilution import Dilution, dilutions
from ffprompt.analysis.diagnosis.error_kinds import ErrorKinds, error_kinds
from ffprompt.analysis.diagnosis.estimates import LEVEL, Estimate, share
from ffprompt.analysis.diagnosis.heads import HeadSummary, best_heads, summarise
from ffprompt.analysis.diagnosis.layers import Layers
from ffprompt.analysis.diagnosis.lens import Lens, lens
from ffprompt.analysis.diagnosis.parquet import write_table
from ffprompt.analysis.diagnosis.patching import Patching
from ffprompt.analysis.diagnosis.probe import Probed
from ffprompt.analysis.diagnosis.table import AttentionTable, joined, save
from ffprompt.analysis.verdict import verdicts
from ffprompt.backends.base import Backend
from ffprompt.backends.local.attention import AttentionModel, Mode, StatesModel, attention_of, states_of
from ffprompt.errors import ModelError, StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.folder import RunFolder, replace_file
from ffprompt.runs.reads import ReadTable

SCHEMA = 1
MOST_STRINGS = 100
"""Strings of a condition that are looked at where nothing else is said."""


@dataclass(frozen=True)
class ConditionDiagnosis(Plain):
    """One condition.

    Attributes:
        error: The error rate over the reads that were looked at.
        against_floor: What the whole run says of this condition against its floor: above, unclear, below …
        difference: The largest difference between log-probabilities here and in the run.
        heads: None for a model whose attention cannot be looked at. ``errors`` likewise.
        lens: None where it was not asked for. ``ablation`` to ``probe`` likewise.
    """

    condition: str
    length: int
    reads: int
    strings: int
    error: Estimate | None
    against_floor: str
    difference: float | None
    heads: HeadSummary | None
    errors: ErrorKinds | None
    lens: Lens | None
    ablation: Ablation | None
    patching: Patching | None
    layers: Layers | None
    probe: Probed | None
    warnings: list[str]


@dataclass(frozen=True)
class DilutionGroup(Plain):
    """Conditions that differ in their strings alone, whose reads are looked at together."""

    conditions: list[str]
    heads: list[Dilution]


@dataclass(frozen=True)
class Diagnosis(Plain):
    """The diagnosis of a run.

    Attributes:
        layers: The layers that have attention.
        heads: Query heads of each.
        groups: Query heads that share keys and values.
        conclusions: What may be said of causes, in sentences.
        folder: The run.
    """

    schema: int
    run_id: str
    folder: str
    model: str
    level: float
    layers: list[int]
    heads: int
    groups: int
    conditions: list[ConditionDiagnosis]
    dilution: list[DilutionGroup]
    conclusions: list[str]
    seconds: float = field(default=0.0)


@dataclass(frozen=True)
class Scope:
    """What is looked at in a diagnosis.

    Attributes:
        strings: The strings of each condition, the first ones. None: at most 100.
        remove: How many heads are taken away to see whether they matter. Nothing is taken away without it.
        mode: What takes the place of their output.
        frozen: Whether attention stays meanwhile as in the whole model.
        lens: Whether the answers are read off after every block, which costs another pass.
        patch: Whether the write's value is patched, in one read of each string.
        layers: Whether states are compared, and whole attention layers taken away.
        probe: Whether the stored bit is probed in the states.
    """

    strings: int | None = None
    remove: Sequence[int] = ()
    mode: Mode = "zero"
    frozen: bool = False
    lens: bool = False
    patch: bool = False
    layers: bool = False
    probe: bool = False


@dataclass(frozen=True)
class Opened:
    """An open model, with its attention where that can be looked at."""

    states: StatesModel
    attention: AttentionModel | None

    @classmethod
    def of(cls, backend: Backend, scope: Scope) -> Opened:
        """Open a model for a scope.

        Raises:
            ModelError: Its attention cannot be looked at, and something else is not asked for or needs it.
        """
        try:
            attention = attention_of(backend)
        except ModelError:
            if not (scope.lens or scope.layers or scope.probe) or scope.remove or scope.patch:
                raise
            return cls(states_of(backend), None)
        return cls(attention, attention)


def diagnose_run(folder: RunFolder, plan: Plan, model: Opened, scope: Scope) -> Diagnosis:
    """Diagnose a run with its model open, and write the tables and ``diagnosis.json`` beside it.

    Raises:
        ConfigError: The run has no reads that can be looked at.
        StoreError: The run has no table of reads, or the files cannot be written.
    """
    started = time.monotonic()
    most = MOST_STRINGS if scope.strings is None else scope.strings
    found: list[Collected] = []
    with ReadTable.open(folder) as stored:
        for condition in conditions(plan):
            one = collect(plan, condition, model.states, stored, most)
            if one is not None:
                found.append(one)
    if not found:
        raise StoreError(f"run {folder.path}: none of its reads has an outcome; go on with --resume")
    against, tables = _against_floor(folder), Tables()
    made = [_condition(one, plan, model, against, scope, tables) for one in found]
    diagnosis = Diagnosis(
        SCHEMA,
        folder.info.run_id,
        str(folder.path),
        plan.config.model,
        LEVEL,
        list(model.states.layers),
        model.states.heads,
        model.states.groups,
        made,
        _dilution(found) if model.attention is not None else [],
        conclusions(made),
        round(time.monotonic() - started, 3),
    )
    if model.attention is not None:
        save(folder.path / "attention.parquet", [one.table for one in found], model.attention.groups)
    for name, parts in tables.parts.items():
        write_table(folder.path / f"{name}.parquet", parts)
    replace_file(folder.path / "diagnosis.json", json_bytes(diagnosis.to_json(), indent=2) + b"\n")
    if model.attention is not None:
        single = examples.examples(plan, found, model.attention)
        replace_file(folder.path / examples.FILE, json_bytes(single.to_json()) + b"\n")
    return diagnosis


@dataclass(frozen=True)
class Tables:
    """Columns of tables beside ``attention.parquet``, a part for each condition, by the file's name."""

    parts: dict[str, list[dict[str, object]]] = field(default_factory=dict)

    def add(self, name: str, columns: dict[str, object]) -> None:
        """Add the columns of one condition."""
        self.parts.setdefault(name, []).append(columns)


def _against_floor(folder: RunFolder) -> dict[str, str]:
    results = [(folder.info.model_name, row) for row in folder.info.results or ()]
    return {one.condition: one.word for verdict in verdicts(results) for one in verdict.conditions}


def _condition(
    one: Collected, plan: Plan, model: Opened, against: dict[str, str], scope: Scope, tables: Tables
) -> ConditionDiagnosis:
    table, asked, attention = one.table, one.asked, model.attention
    name = asked.condition.name
    word = against.get(name, "no floor")
    logits = model.states.lens(asked.looks) if scope.lens else None
    patched = layered = probed = None
    if scope.patch and attention is not None:
        patched, patches = patching.patching(plan, asked, attention)
        tables.add("patching", patching.columns(patches))
    if scope.layers:
        layered, shapes = layers.layers(asked, model.states, attention, table)
        tables.add("layers", layers.columns(shapes))
    if scope.probe:
        probed, told = probe.probe(asked, model.states, table)
        tables.add("probe", probe.columns(told))
    return ConditionDiagnosis(
        name,
        asked.condition.length,
        len(table),
        len(set(table.string.tolist())),
        share(table.wrong, table.string),
        word,
        one.difference,
        summarise(table, attention.groups) if attention is not None else None,
        error_kinds(table, best_heads(table)) if attention is not None else None,
        lens(logits, asked.truths, asked.strings) if logits is not None else None,
        ablate(attention, asked, table, scope.remove, scope.mode, scope.frozen) if scope.remove and attention else None,
        patched,
        layered,
        probed,
        [*_warnings(table, word, attention), *(layered.warnings if layered is not None else [])],
    )


def _warnings(table: AttentionTable, word: str, attention: AttentionModel | None) -> list[str]:
    found = []
    if word != "above":
        found.append(
            f"not above its floor ({word}): a rule without memory does as well, so what its heads do here need not be "
            "how it remembers; use a better model, more strings or shorter ones"
        )
    if attention is None:
        found.append("it has no attention that can be looked at: only its states were")
    elif not table.reachable.all():
        hidden = sorted(
            {table.layers[head // table.heads] for head in np.flatnonzero(~table.reachable.all(0)).tolist()}
        )
        found.append(f"windows hide the write of some reads in layers {', '.join(map(str, hidden))}")
    return found


def _dilution(found: Sequence[Collected]) -> list[DilutionGroup]:
    """Lengths and probabilities together: only then do competitors and gap vary apart."""
    groups: dict[tuple[object, ...], list[Collected]] = {}
    for one in found:
        condition = one.asked.condition
        groups.setdefault((condition.template, condition.shots, condition.form), []).append(one)
    made = []
    for members in groups.values():
        whole = joined([one.table for one in members])
        # Strings of different conditions are different clusters, though they may have the same number.
        whole = replace(whole, string=whole.trial)
        names = [one.asked.condition.name for one in members]
        made.append(DilutionGroup(names, dilutions(whole, best_heads(whole))))
    return made
