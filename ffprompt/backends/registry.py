"""Opens the backend of a run by its name. A backend's module is imported only when it is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from ffprompt._util.secrets import shown_setting
from ffprompt.backends.entry_points import BACKENDS, backend_names, find_backend
from ffprompt.backends.spec import BackendSpec
from ffprompt.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.base import Backend, Batcher
    from ffprompt.config.run_config import RunConfig


# Settings by what they are for; a backend honours some of them and refuses the others.
_REACHING = (
    "base_url", "provider", "api", "key_file", "reasoning_effort", "extra_body", "extra_header",
    "max_concurrency", "requests_per_minute",
    "tokens_per_minute", "timeout", "connect_timeout", "first_byte_timeout", "reasoning_room", "top_logprobs", "prices",
    "max_usd", "max_tokens_total",
)  # fmt: skip
_ENGINE = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization", "max_model_len",
    "gpu_memory_utilization", "enforce_eager", "block_size",
)  # fmt: skip
# How a model replies: thinking first or not, within which marks.
_REPLYING = ("thinking", "reasoning_tags")
# Of these, a model on this machine has its own: room for reasoning, and what its chat template is told.
_LOCAL = (*_REPLYING, "reasoning_effort", "reasoning_room")
_LOADING = ("device", "dtype", "revision", "batch_size", "trust_remote_code", "lora", "engine_arg")
_HONOURED: Mapping[str, Collection[str]] = {
    "scripted": {"reasoning_tags"},
    "reference": {"device", "batch_size"},
    "vllm": {*_ENGINE, *_LOCAL, "dtype", "revision", "trust_remote_code", "lora", "engine_arg"},
    "transformers": {*_LOCAL, "device", "dtype", "revision", "batch_size", "trust_remote_code"},
    "openai": {*_REACHING, *_REPLYING},
    "anthropic": {*_REACHING, *_REPLYING} - {"provider", "top_logprobs"},
}


def backend_spec(name: str) -> BackendSpec:
    """Return what a backend's module says about it.

    Raises:
        ModelError: for an unknown name, or where another package's backend cannot be loaded.
    """
    entry_point = find_backend(name)
    if entry_point is None:
        raise ModelError(f"backend {name!r} is unknown{did_you_mean(name, backend_names())}")
    if name in BACKENDS:
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
    loading = {name: getattr(config, name) for name in (*_REACHING, *_ENGINE, *_LOADING, *_REPLYING)}
    loading["trust_remote_code"] = config.trust_remote_code or None
    if config.temperature == "default" and not spec.own_temperature:
        raise ModelError(f"--temperature default: the {config.backend} backend samples at a number; give one")
    _only(config, loading, _HONOURED.get(spec.name, spec.settings))
    return spec.open(config, weights)


def needs_batches(config: RunConfig) -> None:
    """Raise ModelError for a backend without batches, before anything is opened."""
    if backend_spec(config.backend).batches is None:
        raise ModelError(f"--batch: the {config.backend} backend has no batches; {_with_batches()}")


def open_batcher(backend: Backend) -> Batcher:
    """Return the batches of the provider behind an open backend. Raises ModelError where there are none."""
    name = str(backend.identity["backend"])
    batches = backend_spec(name).batches
    if batches is None:
        raise ModelError(f"the {name} backend has no batches; {_with_batches()}")
    return batches(backend)


def _with_batches() -> str:
    return f"{' and '.join(name for name in BACKENDS if backend_spec(name).batches is not None)} have"


def _only(config: RunConfig, given: Mapping[str, object], honoured: Collection[str]) -> None:
    for key, value in given.items():
        if value is not None and key not in honoured:
            flag = "--" + key.replace("_", "-")
            raise ModelError(f"{flag} {shown_setting(key, value)}: the {config.backend} backend has no such setting")
