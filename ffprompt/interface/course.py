"""How the heads of a reference model come to look at the write: a diagnosis of every model that a training has kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ffprompt._util.files import json_bytes
from ffprompt._util.plain import Plain
from ffprompt.analysis.diagnosis.diagnose import ConditionDiagnosis, Diagnosis
from ffprompt.analysis.diagnosis.estimates import Estimate
from ffprompt.errors import ConfigError
from ffprompt.interface.diagnose import diagnose
from ffprompt.reference.checkpoints.checkpoint import WEIGHTS
from ffprompt.reference.checkpoints.folder import RECORD, STEPS, read_record
from ffprompt.runs.folder import replace_file

FILE, SCHEMA = "course.json", 1
_RUNS = "course"  # the folder of the runs, in that of the training


@dataclass(frozen=True)
class CourseHead(Plain):
    """A head at one step: its attention on the write, its margin, and how often the write is on top."""

    name: str
    write: Estimate | None
    margin: Estimate | None
    top1: Estimate | None


@dataclass(frozen=True)
class CourseCondition(Plain):
    """One condition at one step.

    Attributes:
        error: The error rate.
        best: The head with the most attention on the write at this step.
        followed: The head that has it at the last step: its name, attention, margin and share of reads on top.
    """

    condition: str
    error: Estimate | None
    best: CourseHead
    followed_name: str
    followed_write: float
    followed_margin: float | None
    followed_top1: float


@dataclass(frozen=True)
class CourseStep(Plain):
    """The model after some steps."""

    step: int
    conditions: list[CourseCondition]


@dataclass(frozen=True)
class Course(Plain):
    """The course of one training, first step first."""

    schema: int
    training: str
    steps: list[CourseStep]


def course(
    training: str | os.PathLike[str],
    *,
    strings: int | None = None,
    watch: Callable[[int, Diagnosis], None] | None = None,
    **settings: Any,
) -> Course:
    """Diagnose every model that a training has kept (``ffprompt train --keep-every N``), and the last one.

    The runs are in ``course/`` and what is returned is in ``course.json``, both in the training's folder.

    Args:
        training: The folder of the training.
        strings: Strings of each condition that every model is asked.
        watch: Called with each step and its diagnosis.
        **settings: As for :func:`ffprompt.diagnose`.

    Raises:
        ConfigError: The folder holds no training, or the training has kept no models.
    """
    folder = Path(training)
    if not (folder / RECORD).is_file():
        raise ConfigError(f"--course {folder}: no {RECORD} in it; expected the folder of a training")
    kept = {int(path.stem): path for path in (folder / STEPS).glob("*.safetensors") if path.stem.isdigit()}
    if not kept:
        raise ConfigError(f"--course {folder}: it has kept no models on the way; train with --keep-every N")
    if (folder / WEIGHTS).is_file():
        kept[int(read_record(folder)["step"])] = folder / WEIGHTS
    found: list[tuple[int, Diagnosis]] = []
    for step, path in sorted(kept.items()):
        one = diagnose(path, strings=strings, out=folder / _RUNS, progress=False, **settings)
        found.append((step, one))
        if watch is not None:
            watch(step, one)
    made = Course(SCHEMA, folder.name, [_step(step, one, found[-1][1]) for step, one in found])
    replace_file(folder / FILE, json_bytes(made.to_json(), indent=2) + b"\n")
    return made


def _step(step: int, found: Diagnosis, last: Diagnosis) -> CourseStep:
    return CourseStep(step, [_condition(*pair) for pair in zip(found.conditions, last.conditions, strict=True)])


def _condition(one: ConditionDiagnosis, last: ConditionDiagnosis) -> CourseCondition:
    assert one.heads is not None
    assert last.heads is not None
    best, name = one.heads.best[0], last.heads.best[0].name
    followed = next(head for head in one.heads.heads if head.name == name)
    return CourseCondition(
        one.condition,
        one.error,
        CourseHead(best.name, best.write, best.margin, best.top1),
        name,
        followed.write,
        followed.margin,
        followed.top1,
    )
