"""Look inside a model at the reads of a run: :func:`diagnose`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ffprompt.analysis.diagnosis.diagnose import Diagnosis, Opened, Scope, diagnose_run
from ffprompt.backends.base import Backend
from ffprompt.backends.from_name import backend_for
from ffprompt.backends.local.attention import Mode
from ffprompt.backends.registry import open_backend
from ffprompt.config.run_config import RunConfig, make
from ffprompt.errors import ConfigError, StoreError
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.rescore import plan_of
from ffprompt.evaluation.runner import carry_out, make_plan, start
from ffprompt.evaluation.worker import Watch
from ffprompt.interface.progress import watching
from ffprompt.runs.folder import RunFolder

# What is asked of a model where nothing else is said.
_STRINGS = {"reference": 100}
_OTHER_STRINGS = 20


def diagnose(
    target: str | os.PathLike[str],
    *,
    strings: int | None = None,
    remove: int | Sequence[int] = (),
    mode: Mode = "zero",
    frozen: bool = False,
    lens: bool = False,
    patch: bool = False,
    layers: bool = False,
    probe: bool = False,
    out: str | os.PathLike[str] = "results",
    progress: bool | Watch | None = None,
    **settings: Any,
) -> Diagnosis:
    """Look at the attention of a model's heads at the reads of a run.

    Every head's attention is divided among the value of the write that is asked for, earlier writes, ignored values,
    earlier answers, the first token and the rest, and compared between right and wrong reads. The run's folder gets
    ``attention.parquet`` with every read and head, tables of what else was asked for, and ``diagnosis.json``.

    >>> found = diagnose("smollm2-135m", length=[20, 50], strings=20)  # doctest: +SKIP
    >>> found.conditions[0].heads.best[0].write  # doctest: +SKIP

    Args:
        target: A run, or the path of its folder. Or a model, as for :func:`ffprompt.evaluate`, for which a run of
            ``forced`` reads is made, or taken up where there is one.
        strings: How many strings of each condition, the first ones: 20 for a model (100 for a reference model), and at
            most 100 of a run, where nothing is given.
        remove: How many heads are taken away, such as ``[1, 5, 10]``: each costs 21 passes over half of the strings.
        mode: What takes the place of their output: ``zero``, or the ``mean`` of the head.
        frozen: Whether attention stays meanwhile as in the whole model.
        lens: Whether the answers are also read off after every block (logit lens), which costs another pass.
        patch: Whether the write's value is patched by block and by head, between strings with one write flipped.
        layers: Whether states are compared (rank, cosine), and whole attention layers taken away.
        probe: Whether linear probes look for the stored bit. ``lens``, ``layers`` and it need no softmax attention.
        out: The results folder for the run of a model.
        progress: As for :func:`ffprompt.evaluate`.
        **settings: Settings of the run of a model. For a run, only ``device``, ``dtype`` and ``batch_size``.

    Returns:
        A :class:`~ffprompt.analysis.diagnosis.diagnose.Diagnosis`. Its ``to_json`` gives plain values.

    Raises:
        ModelError: The model has no attention that can be looked at.
        UsageError: A setting is out of range, or the run has no ``forced`` reads.
        StoreError: The run is damaged, or the files cannot be written.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    scope = _scope(strings, remove, mode, Scope(frozen=frozen, lens=lens, patch=patch, layers=layers, probe=probe))
    return _diagnosed(target, scope, given, Path(out), progress)


def _diagnosed(
    target: str | os.PathLike[str], scope: Scope, given: Mapping[str, Any], out: Path, progress: bool | Watch | None
) -> Diagnosis:
    """Open the model, make its run where there is none, and look."""
    if is_run(target):
        folder = RunFolder.open(target)
        plan = plan_of(folder)
        backend = open_backend(_of_run(folder, given))
    else:
        config = config_of(os.fspath(target), scope.strings, given)
        backend = open_backend(config)
    try:
        model = Opened.of(backend, scope)  # says no before a run is made
        if not is_run(target):
            folder, plan = _run(config, backend, out, progress)
        return diagnose_run(folder, plan, model, scope)
    finally:
        backend.close()


def _scope(strings: int | None, remove: int | Sequence[int], mode: Mode, others: Scope) -> Scope:
    """What is looked at. Raises ConfigError for a number or a mode out of range."""
    counts = (remove,) if isinstance(remove, int) else tuple(remove)
    for name, value in (("strings", strings), *(("remove", count) for count in counts)):
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{name} {value!r}: expected a whole number of at least 1")
    if mode not in ("zero", "mean"):
        raise ConfigError(f"mode {mode!r}: expected zero or mean")
    return replace(others, strings=strings, remove=counts, mode=mode)


def is_run(target: str | os.PathLike[str]) -> bool:
    """Return whether a path is the folder of a run."""
    return (Path(target) / "run.json").is_file()


def config_of(model: str, strings: int | None, given: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of the run that is made of a model."""
    backend = given.get("backend") or backend_for(model)
    settings = {
        "trials": strings or _STRINGS.get(backend, _OTHER_STRINGS),
        "template": "raw-compact" if backend == "reference" else "light-switch",
        "shots": 0,
        "elicitation": "forced",
    }
    return make({**settings, **given, "backend": backend, "model": model})


def _of_run(folder: RunFolder, given: Mapping[str, Any]) -> RunConfig:
    """The configuration of a run, on the device of this call."""
    if other := set(given) - {"device", "dtype", "batch_size"}:
        name = sorted(other)[0]
        raise ConfigError(f"{name}: {folder.path} is a run and has its own settings; leave it out, or give a model")
    if folder.info.config.get("backend") is None:
        raise StoreError(f"run {folder.path}: its record names no backend")
    return make({**folder.info.config, **given}, f"run {folder.path}: ")


def _run(config: RunConfig, backend: Backend, out: Path, progress: bool | Watch | None) -> tuple[RunFolder, Plan]:
    """Make the run, or go on with the newest of the same plan."""
    plan = make_plan(config, backend)
    folder, found = start(config, backend, plan, out, resume=True, reuse=True)
    if not (found and folder.info.status == "done"):
        with watching(len(plan), progress) as watch:
            carry_out(folder, plan, backend, watch)
    return folder, plan
