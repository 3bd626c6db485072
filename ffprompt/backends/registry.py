"""Opens the backend of a run by its name. A backend's module is imported only when it is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ffprompt._util.secrets import shown_setting
from ffprompt.backends.entry_points import BACKENDS, OBJECT, backend_names, find_backend
from ffprompt.backends.spec import BackendSpec
from ffprompt.config.settings import ROWS
from ffprompt.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend, Batcher
    from ffprompt.config.run_config import RunConfig


def backend_spec(name: str) -> BackendSpec:
    """Return what a backend's module says about it.

    Raises:
        ModelError: for an unknown name, or where another package's backend cannot be loaded.
    """
    entry_point = find_backend(name)
    if entry_point is None:
        raise ModelError(f"backend {name!r} is unknown{did_you_mean(name, backend_names())}")
    if name in BACKENDS or name == OBJECT:
        spec: BackendSpec = entry_point.load()
        return spec
    try:
        loaded = entry_point.load()
    except (ImportError, AttributeError) as error:
        raise ModelError(f"backend {name!r}: {entry_point.value} cannot be loaded ({error})") from error
    if not isinstance(loaded, BackendSpec):
        raise ModelError(f"backend {name!r}: {entry_point.value}: expected a BackendSpec, not {type(loaded).__name__}")
    return loaded


def open_backend(config: RunConfig, weights: bool = True) -> Backend:
    """Open the model of a run.

    Without ``weights`` only what a dry run needs is loaded: prompts can be checked and counted, nothing can be asked.

    Raises:
        ModelError: where the model cannot be opened, or a setting is given that the backend does not honour.
    """
    spec = backend_spec(config.backend)
    check_settings(config)
    backend = spec.open(config, weights)
    if (use_words := getattr(backend, "use_words", None)) is not None:  # a reference model, which reads templates back
        from ffprompt.templates.reader import PromptReader

        names = config.template or config.made_task().templates
        use_words(lambda vocabulary: [PromptReader(name, vocabulary) for name in names])
    return backend


def check_settings(config: RunConfig) -> None:
    """Raise ModelError where a setting is given that the backend does not honour."""
    spec = backend_spec(config.backend)
    if config.temperature == "default" and not spec.own_temperature:
        raise ModelError(f"--temperature default: the {config.backend} backend samples at a number; give one")
    _refuse_others(config, spec)


def needs_batches(config: RunConfig) -> None:
    """Raise ModelError for a backend without batches, before anything is opened."""
    if backend_spec(config.backend).batches is None:
        raise ModelError(f"--batch: the {config.backend} backend has no batches; {_with_batches()}")


def open_batcher(backend: Backend) -> Batcher:
    """Return the batches of the provider behind an open backend.

    Raises:
        ModelError: where there are none.
    """
    name = backend.identity.backend
    batches = backend_spec(name).batches
    if batches is None:
        raise ModelError(f"the {name} backend has no batches; {_with_batches()}")
    return batches(backend)


def _with_batches() -> str:
    return f"{' and '.join(name for name in BACKENDS if backend_spec(name).batches is not None)} have"


def _refuse_others(config: RunConfig, spec: BackendSpec) -> None:
    """Raise ModelError for a setting that is given and that the backend does not honour."""
    for row in ROWS:
        value = getattr(config, row.name)
        if value == row.default or row.backends is None or config.backend in row.backends or row.name in spec.settings:
            continue
        raise ModelError(f"{row.flag} {shown_setting(row.name, value)}: the {spec.name} backend has no such setting")
