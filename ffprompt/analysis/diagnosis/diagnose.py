"""The diagnosis of a run: attention at its reads, right against wrong, dilution, and what ablation does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ffprompt._util.files import json_bytes
from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis import examples
from ffprompt.analysis.diagnosis.ablation import Ablation, Cut, Removed, ablate
from ffprompt.analysis.diagnosis.collect import Collected, collect, conditions
from ffprompt.analysis.diagnosis.dilution import Dilution, dilutions
from ffprompt.analysis.diagnosis.error_kinds import ErrorKinds, error_kinds
from ffprompt.analysis.diagnosis.estimates import LEVEL, Estimate, share
from ffprompt.analysis.diagnosis.heads import HeadSummary, best_heads, summarise
from ffprompt.analysis.diagnosis.lens import Lens, lens
from ffprompt.analysis.diagnosis.table import joined, save
from ffprompt.analysis.verdict import verdicts
from ffprompt.backends.base import Backend
from ffprompt.backends.local.attention import AttentionModel, Mode, attention_of
from ffprompt.errors import StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.runs.folder import RunFolder, replace_file
from ffprompt.runs.reads import ReadTable

SCHEMA = 1
MOST_STRINGS = 100
"""Strings of a condition that are looked at where nothing else is said."""

_SMALL = 0.05  # share of sets that do as much harm, up to which the chosen heads stand out


@dataclass(frozen=True)
class ConditionDiagnosis(Plain):
    """One condition.

    Attributes:
        error: The error rate over the reads that were looked at.
        against_floor: What the whole run says of this condition against its floor: above, unclear, below …
        difference: The largest difference between log-probabilities here and in the run.
    """

    condition: str
    length: int
    reads: int
    strings: int
    error: Estimate | None
    against_floor: str
    difference: float | None
    heads: HeadSummary
    errors: ErrorKinds
    lens: Lens | None
    ablation: Ablation | None
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


def diagnose_run(
    folder: RunFolder,
    plan: Plan,
    backend: Backend,
    strings: int | None = None,
    remove: Sequence[int] = (),
    mode: Mode = "zero",
    frozen: bool = False,
    with_lens: bool = False,
) -> Diagnosis:
    """Diagnose a run with its model open, and write ``attention.parquet`` and ``diagnosis.json`` beside it.

    Args:
        folder: The run.
        plan: Its plan.
        backend: Its model.
        strings: The strings of each condition that are looked at, the first ones.
        remove: How many heads are taken away to see whether they matter; nothing is taken away without it.
        mode: What takes the place of their output.
        frozen: Whether attention stays meanwhile as in the whole model.
        with_lens: Whether the answers are read off after every block, which costs another pass.

    Raises:
        ModelError: The model's attention cannot be looked at.
        ConfigError: The run has no reads that can be looked at.
        StoreError: The run has no table of reads, or the files cannot be written.
    """
    started = time.monotonic()
    model = attention_of(backend)
    most = MOST_STRINGS if strings is None else strings
    against = _against_floor(folder)
    found: list[Collected] = []
    with ReadTable.open(folder) as stored:
        for condition in conditions(plan):
            one = collect(plan, condition, model, stored, most)
            if one is not None:
                found.append(one)
    if not found:
        raise StoreError(f"run {folder.path}: none of its reads has an outcome; go on with --resume")
    made = [_condition(one, model, against, remove, mode, frozen, with_lens) for one in found]
    diagnosis = Diagnosis(
        SCHEMA,
        folder.info.run_id,
        str(folder.path),
        plan.config.model,
        LEVEL,
        list(model.layers),
        model.heads,
        model.groups,
        made,
        _dilution(found),
        conclusions(made),
        round(time.monotonic() - started, 3),
    )
    save(folder.path / "attention.parquet", [one.table for one in found], model.groups)
    replace_file(folder.path / "diagnosis.json", json_bytes(diagnosis.to_json(), indent=2) + b"\n")
    replace_file(folder.path / examples.FILE, json_bytes(examples.examples(plan, found, model).to_json()) + b"\n")
    return diagnosis


def _against_floor(folder: RunFolder) -> dict[str, str]:
    results = [(folder.info.model_name, row) for row in folder.info.results or ()]
    return {one.condition: one.word for verdict in verdicts(results) for one in verdict.conditions}


def _condition(
    one: Collected,
    model: AttentionModel,
    against: dict[str, str],
    remove: Sequence[int],
    mode: Mode,
    frozen: bool,
    with_lens: bool,
) -> ConditionDiagnosis:
    table, name = one.table, one.asked.condition.name
    error = share(table.wrong, table.string)
    word = against.get(name, "no floor")
    logits = model.lens(one.asked.looks) if with_lens else None
    warnings = []
    if word != "above":
        warnings.append(
            f"not above its floor ({word}): a rule without memory does as well, so what its heads do here need not be "
            "how it remembers; use a better model, more strings or shorter ones"
        )
    if not table.reachable.all():
        hidden = sorted(
            {table.layers[head // table.heads] for head in np.flatnonzero(~table.reachable.all(0)).tolist()}
        )
        warnings.append(f"windows hide the write of some reads in layers {', '.join(map(str, hidden))}")
    return ConditionDiagnosis(
        name,
        one.asked.condition.length,
        len(table),
        len(set(table.string.tolist())),
        error,
        word,
        one.difference,
        summarise(table, model.groups),
        error_kinds(table, best_heads(table)),
        lens(logits, one.asked.truths, one.asked.strings) if logits is not None else None,
        ablate(model, one.asked, table, remove, mode, frozen) if remove else None,
        warnings,
    )


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


def conclusions(found: Sequence[ConditionDiagnosis]) -> list[str]:
    """Return what may be said of causes, in sentences. Attention alone is never called one."""
    tested = [one for one in found if one.ablation is not None]
    if not tested:
        return [
            "Attention says where heads look, not what they do: this is no evidence of a cause. "
            "To test it: --ablate 1 5 10"
        ]
    said = []
    for one in tested:
        assert one.ablation is not None
        for removed in one.ablation.removed:
            said.append(f"{_short(one)}: {_sentence(removed)}")
        if cuts := [_cut(cut) for cut in one.ablation.cuts if _told(cut.difference)]:
            said.append(f"{_short(one)}: errors change when reads do not see {', '.join(cuts)}")
        if one.against_floor != "above":
            said.append(f"{_short(one)}: nothing follows for its memory, since it is not above its floor")
    return said


def _short(one: ConditionDiagnosis) -> str:
    return one.condition.rsplit("/", 1)[-1]


def _told(difference: Estimate | None) -> bool:
    """Whether a difference is told apart from none."""
    if difference is None or difference.low is None or difference.high is None:
        return False
    return difference.low > 0 or difference.high < 0


def _cut(cut: Cut) -> str:
    assert cut.difference is not None
    words = {"write": "the write", "stale": "earlier writes", "ignored": "ignored values", "first": "the first token"}
    return (
        f"{words[cut.role]} ({cut.difference.estimate:+.3f}, {cut.difference.low:+.3f} to {cut.difference.high:+.3f})"
    )


def _sentence(removed: Removed) -> str:
    one = removed.count == 1
    heads = "the head that attends" if one else f"the {removed.count} heads that attend"
    difference, sets = removed.difference, len(removed.random)
    if difference is None or difference.low is None or difference.high is None:
        return f"too few strings to say what {heads} most to the write does"
    harm = round(removed.p * (1 + sets)) - 1
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    numbers = f"{difference.estimate:+.3f} ({interval}); {harm} of {sets} random sets do as much harm"
    if difference.low > 0 and removed.p <= _SMALL:
        return f"without {heads} most to the write, errors rise more than without random ones: {numbers}"
    if difference.low > 0:
        return f"without {heads} most to the write, errors rise more than on average without random ones: {numbers}"
    if difference.high < 0:
        return f"without {heads} most to the write, errors rise less than without random ones: {numbers}"
    return f"taking away {heads} most to the write is not told apart from random ones: {numbers}"
