"""Evaluate a model from Python: :func:`evaluate`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, Unpack

from ffprompt.backends.base import Backend
from ffprompt.backends.entry_points import OBJECT
from ffprompt.backends.from_name import backend_for
from ffprompt.backends.registry import check_settings
from ffprompt.config.run_config import RunConfig, make
from ffprompt.errors import AuditError, ConfigError, ModelError, UsageError
from ffprompt.evaluation.fleet import open_model
from ffprompt.evaluation.plan import Plan
from ffprompt.evaluation.runner import carry_out, make_plan, start
from ffprompt.evaluation.worker import Progress, Watch
from ffprompt.interface.keywords import Keywords
from ffprompt.interface.progress import watching
from ffprompt.interface.run import Run
from ffprompt.interface.signature import in_python, show_settings
from ffprompt.runs.folder import RunFolder

T = TypeVar("T")
_PARTS = ("capabilities", "chunk", "identity", "check", "score", "complete", "close")


def evaluate(
    model: str | os.PathLike[str] | Backend,
    *,
    out: str | os.PathLike[str] = "results",
    resume: bool = False,
    progress: bool | Watch | None = None,
    **settings: Unpack[Keywords],
) -> Run:
    """Evaluate a model and return the run.

    Every setting of ``ffprompt run`` is a keyword under its own name, with an underscore for a hyphen. One that takes
    several values takes one value or a list, and the run is the product over them. What is left out has the default
    of the command line. The run is the same as one of the command line: a folder under ``out`` that every command can
    go on with.

    >>> run = evaluate("oracle", length=[20, 50], trials=10, elicitation="forced")  # doctest: +SKIP
    >>> run.table[["condition", "accuracy", "floor"]]  # doctest: +SKIP

    Args:
        model: What ``--model`` takes: a short name, a folder, a GGUF file, a hub id, the model name of an API. Or an
            open model, an object with the methods of :class:`ffprompt.backends.base.Backend`, which stays open.
        out: The results folder.
        resume: Continue the newest run of the same plan that is unfinished, or return it where it is finished.
        progress: None shows progress in a notebook and in a terminal, True anywhere, False nowhere. A function is
            called with each :class:`~ffprompt.evaluation.worker.Progress`.
        **settings: Settings of the run. Without ``backend`` it follows from the model's name.

    Returns:
        The finished run. Trials without an answer are errors in its table, and ``complete`` is False.

    Raises:
        UsageError: A setting is unknown or out of range, or the model cannot be opened. One line says which and why.
        AuditError: The model's tokenizer does not let a prompt be scored exactly.
        RunFailedError: The run stopped. What was answered is kept, and ``resume=True`` goes on.
    """
    given = {name: _plain(value) for name, value in settings.items() if value is not None}
    with _words_of_python():
        folder, resume = _results(out), _checked_resume(resume)
        if not isinstance(model, (str, os.PathLike)):
            return _run(_config_of_object(model, given), model, folder, resume, progress)
        name = os.fspath(model)
        config = make({"backend": _backend(name, given), "model": name, **given})
        backend = open_model(config)
        try:
            return _run(config, backend, folder, resume, progress)
        finally:
            backend.close()


show_settings(evaluate)


def _backend(model: str, given: Mapping[str, Any]) -> Any:
    """The backend that is given, or else what follows from the other settings and from the model's name."""
    if "backend" in given:
        return given["backend"]
    return "openai" if {"base_url", "provider"} & given.keys() else backend_for(model)


@contextlib.contextmanager
def _words_of_python() -> Iterator[None]:
    """Let errors about settings name them as keywords and not as flags."""
    try:
        yield
    except (UsageError, AuditError) as error:
        raise type(error)(in_python(str(error))) from error


def _results(out: Any) -> Path:
    if not isinstance(out, (str, os.PathLike)):
        raise ConfigError(f"out {out!r:.80}: expected the path of a results folder")
    return Path(out)


def _checked_resume(resume: Any) -> bool:
    if not isinstance(resume, bool):
        raise ConfigError(f"resume {resume!r:.80}: expected True or False")
    return resume


def _config_of_object(model: Any, given: dict[str, Any]) -> RunConfig:
    """The configuration of a run of a model that is an object. Raises ModelError where it is no open model."""
    if missing := [name for name in _PARTS if not hasattr(model, name)]:
        raise ModelError(
            f"model {model!r:.80}: expected a name, a path, or an object with the methods of "
            f"ffprompt.backends.base.Backend; this one lacks {', '.join(missing)}"
        )
    if "backend" in given:
        raise ConfigError(f"backend {given['backend']}: leave it out where the model is an object")
    config = make({**given, "backend": OBJECT, "model": model.identity.model})
    check_settings(config)
    return config


def _run(config: RunConfig, backend: Backend, out: Path, resume: bool, progress: bool | Watch | None) -> Run:
    plan = make_plan(config, backend)
    folder, found = start(config, backend, plan, out, resume, reuse=True)
    if not (found and folder.info.status == "done"):
        with watching(len(plan), progress) as watch:
            _carry_out(folder, plan, backend, watch)
    return Run(folder)


def _carry_out(folder: RunFolder, plan: Plan, backend: Backend, watch: Watch) -> None:
    """Ask everything; in a thread where this one has an event loop already, as the one of a notebook has."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        carry_out(folder, plan, backend, watch)
        return
    stopped = threading.Event()

    def watch_or_stop(state: Progress) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        watch(state)

    _in_thread(lambda: carry_out(folder, plan, backend, watch_or_stop), stopped)


def _in_thread(work: Callable[[], T], stopped: threading.Event) -> T:
    """Do some work in a thread and wait for it. An interruption sets ``stopped`` and waits for the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        try:
            return future.result()
        except KeyboardInterrupt:
            stopped.set()
            raise


def _plain(value: Any) -> Any:
    """A value as settings have it: numpy's numbers and arrays, ranges and paths in plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (range, set, frozenset)):
        return sorted(value)
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
