"""Backends: what stands between a request and a model. Imported only when one is opened."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ffprompt._util.secrets import shown_setting
from ffprompt.errors import ModelError

if TYPE_CHECKING:
    from ffprompt.backends.api.retry import Policy
    from ffprompt.backends.base import Backend, Batcher
    from ffprompt.backends.local.chat_template import Thinking
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


def open_backend(config: RunConfig, weights: bool = True) -> Backend:
    """Open the model of a run. Raises ModelError; a setting that the backend cannot honour is an error, never dropped.

    Without ``weights`` only what a dry run needs is loaded: prompts can be checked and counted, nothing can be asked.
    """
    reaching = {name: getattr(config, name) for name in _REACHING}
    engine = {name: getattr(config, name) for name in _ENGINE}
    loading = reaching | engine | {name: getattr(config, name) for name in _LOADING}
    loading["trust_remote_code"] = config.trust_remote_code or None
    if config.temperature == "default" and config.backend not in ("openai", "anthropic"):
        raise ModelError(f"--temperature default: the {config.backend} backend samples at a number; give one")
    replying = {name: getattr(config, name) for name in _REPLYING}
    loading |= replying
    match config.backend:
        case "scripted":
            _only(config, loading, {"reasoning_tags"})
            from ffprompt.backends.scripted import ScriptedBackend

            return ScriptedBackend(config.model)
        case "reference":
            _only(config, loading, {"device", "batch_size"})
            from ffprompt.backends.local.reference import ReferenceBackend

            return ReferenceBackend(config.model, config.device, config.batch_size)
        case "vllm":
            own = engine.keys() | {*_LOCAL, "dtype", "revision", "trust_remote_code", "lora", "engine_arg"}
            _only(config, loading, own)
            return _vllm(config, engine, weights)
        case "openai":
            _only(config, loading, reaching.keys() | replying.keys())
            return _openai(config, weights)
        case "anthropic":
            _only(config, loading, (reaching.keys() | replying.keys()) - {"provider", "top_logprobs"})
            return _anthropic(config, weights)
        case "transformers":
            own = {*_LOCAL, "device", "dtype", "revision", "batch_size", "trust_remote_code"}
            _only(config, loading, own)
            from ffprompt.backends.local.transformers import TransformersBackend

            return TransformersBackend(
                config.model,
                config.device,
                config.dtype,
                config.batch_size,
                config.revision,
                config.trust_remote_code,
                weights,
                _thinking(config),
            )


def _vllm(config: RunConfig, engine: Mapping[str, Any], weights: bool) -> Backend:
    from ffprompt.backends.local.vllm import VllmBackend, parse_engine_arguments

    settings = {key: value for key, value in engine.items() if value is not None and key != "data_parallel_size"}
    settings |= {"dtype": config.dtype} if config.dtype is not None else {}
    for name, value in parse_engine_arguments(config.engine_arg or ()).items():
        if name in settings:
            raise ModelError(f"--engine-arg {name}: --{name.replace('_', '-')} is given too")
        settings[name] = value
    asked = config.elicitation or ("forced",)
    opening: dict[str, Any] = {
        "model": config.model,
        "settings": settings,
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "lora": config.lora,
        "seed": config.seed,
        "scores": "forced" in asked,
        "weights": weights,
        "chats": config.form == "chat" or "dialogue" in asked,
        "thinking": _thinking(config),
    }
    copies = config.data_parallel_size or 1
    if copies == 1 or not weights:
        return VllmBackend(**opening)
    from ffprompt.backends.local.vllm_replicas import ReplicatedVllm

    each = (config.tensor_parallel_size or 1) * (config.pipeline_parallel_size or 1)
    return ReplicatedVllm(opening, copies, each)


def _thinking(config: RunConfig) -> Thinking:
    from ffprompt.backends.local.chat_template import Thinking

    if isinstance(config.thinking, int):
        raise ModelError(
            f"--thinking {config.thinking}: a number of tokens is for models behind an API; the {config.backend} "
            "backend takes on or off, and --reasoning-room for how long a reply may be"
        )
    return Thinking(config.thinking, config.reasoning_effort, config.reasoning_tags or (), config.reasoning_room)


def needs_batches(config: RunConfig) -> None:
    """Raises ModelError for a backend that can hand nothing over in batches; before anything is opened."""
    if config.backend not in ("openai", "anthropic"):
        raise ModelError(f"--batch: the {config.backend} backend has no batches; openai and anthropic have")


def open_batcher(backend: Backend) -> Batcher:
    """The batches of the provider behind an open backend. Raises ModelError where there are none."""
    match backend.identity["backend"]:
        case "openai":
            from ffprompt.backends.api.openai import OpenAIBackend
            from ffprompt.backends.api.openai_batch import OpenAIBatches

            assert isinstance(backend, OpenAIBackend)
            return OpenAIBatches(backend)
        case "anthropic":
            from ffprompt.backends.api.anthropic import AnthropicBackend
            from ffprompt.backends.api.anthropic_batch import AnthropicBatches

            assert isinstance(backend, AnthropicBackend)
            return AnthropicBatches(backend)
        case other:
            raise ModelError(f"the {other} backend has no batches; openai and anthropic have")


def _openai(config: RunConfig, live: bool) -> Backend:
    from ffprompt.backends.api.openai import OpenAIBackend

    return OpenAIBackend(
        config.model,
        config.api,
        config.base_url,
        config.key_file,
        None if config.temperature == "default" else config.temperature,
        config.reasoning_effort,
        config.reasoning_room,
        config.top_logprobs,
        policy=partial(_policy, config),
        live=live,
        thinking=config.thinking,
        provider=config.provider,
        extra_body=config.extra_body,
        extra_headers=config.extra_header or (),
        reasoning_tags=config.reasoning_tags or (),
    )


def _anthropic(config: RunConfig, live: bool) -> Backend:
    from ffprompt.backends.api.anthropic import AnthropicBackend

    return AnthropicBackend(
        config.model,
        config.base_url,
        config.key_file,
        None if config.temperature == "default" else config.temperature,
        config.thinking,
        config.reasoning_effort,
        # Where prompts have a long beginning in common; writing what is not read again would only cost.
        cache=config.shared_shots or "dialogue" in (config.elicitation or ()),
        policy=partial(_policy, config),
        live=live,
        api=config.api or "messages",
        room=config.reasoning_room,
        extra_body=config.extra_body,
        extra_headers=config.extra_header or (),
        reasoning_tags=config.reasoning_tags or (),
    )


def _policy(config: RunConfig, thinks: bool) -> Policy:
    from ffprompt.backends.api.retry import Policy
    from ffprompt.backends.api.transport import patience

    return Policy(
        **patience(thinks, config.timeout, config.connect_timeout, config.first_byte_timeout),
        max_concurrency=config.max_concurrency or 64,
        requests_per_minute=config.requests_per_minute,
        tokens_per_minute=config.tokens_per_minute,
    )


def _only(config: RunConfig, given: Mapping[str, object], honoured: Collection[str]) -> None:
    for key, value in given.items():
        if value is not None and key not in honoured:
            flag = "--" + key.replace("_", "-")
            raise ModelError(f"{flag} {shown_setting(key, value)}: the {config.backend} backend has no such setting")
