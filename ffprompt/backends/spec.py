"""What a backend's module says about itself, for the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ffprompt._util.extras import needs
from ffprompt.errors import ModelError

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend, Batcher
    from ffprompt.config.run_config import RunConfig


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """A backend as the registry knows it.

    ``open`` makes the backend of a run. Its second argument is whether to load the weights, or to reach the server:
    without them a dry run can still check and count prompts. ``batches`` opens the provider's batch interface for an
    open backend, where there is one. ``own_temperature``: the model can be left to sample at its own temperature.
    ``extra`` is what installs the libraries: ``pip install "ffprompt[extra]"``. ``docs`` is the backend's page.
    ``settings`` are the settings that a backend of another package honours. Those of this package stand in the table
    of settings.
    """

    name: str
    open: Callable[[RunConfig, bool], Backend]
    batches: Callable[[Any], Batcher] | None = None
    own_temperature: bool = False
    extra: str = ""
    docs: str = ""
    settings: frozenset[str] = frozenset()


def not_installed(backend: str, error: ImportError) -> ModelError:
    """Return the error for a backend whose libraries are missing. Extras are named like their backend."""
    return needs(f"the {backend} backend", backend, error)
