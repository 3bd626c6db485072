"""Backends: what stands between a request and a model. Imported only when one is opened."""

from __future__ import annotations

from collections.abc import Mapping

from ffprompt.config import RunConfig
from ffprompt.errors import ModelError
from ffprompt.requests import Backend


def open_backend(config: RunConfig, weights: bool = True) -> Backend:
    """Open the model of a run. Raises ModelError; a setting that the backend cannot honour is an error, never dropped.

    Without ``weights`` only what a dry run needs is loaded: prompts can be checked and counted, nothing can be asked.
    """
    loading = {
        "device": config.device,
        "dtype": config.dtype,
        "revision": config.revision,
        "batch_size": config.batch_size,
        "trust_remote_code": config.trust_remote_code or None,
    }
    match config.backend:
        case "scripted":
            _only(config, loading, set())
            from ffprompt.backends.scripted import ScriptedBackend

            return ScriptedBackend(config.model)
        case "reference":
            _only(config, loading, {"device", "batch_size"})
            from ffprompt.backends.reference import ReferenceBackend

            return ReferenceBackend(config.model, config.device, config.batch_size)
        case "transformers":
            from ffprompt.backends.transformers import TransformersBackend

            return TransformersBackend(
                config.model,
                config.device,
                config.dtype,
                config.batch_size,
                config.revision,
                config.trust_remote_code,
                weights,
            )


def _only(config: RunConfig, given: Mapping[str, object], honoured: set[str]) -> None:
    for key, value in given.items():
        if value is not None and key not in honoured:
            flag = "--" + key.replace("_", "-")
            raise ModelError(f"{flag} {value}: the {config.backend} backend has no such setting")
