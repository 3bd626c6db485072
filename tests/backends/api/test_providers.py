"""Providers by name: where they are, which key they take, and what is sent to each for the same settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ffprompt.backends.api.anthropic import AnthropicBackend
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.providers import provider_of, providers
from ffprompt.backends.base import Message, Reply, Request
from ffprompt.errors import ModelError
from tests.support.odd_server import OddServer

ASKED = Request("k", "", (Message("user", "w1 r?"),), max_tokens=24, temperature=0.7, seed=5)
PLAIN = {"model": "m", "messages": [{"role": "user", "content": "w1 r?"}], "stream": False}
SAMPLED = {"temperature": 0.7, "seed": 5}
VLLM_OFF = {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}
VLLM_ON = {"chat_template_kwargs": {"enable_thinking": True, "thinking": True}}

# What each provider is sent beside the prompt, with thinking off, on, and within 2,000 tokens where it can be told so.
RECORDED: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = {
    "openai": ({"reasoning_effort": "none"}, {}, None),
    "gemini": (
        {"reasoning_effort": "none"},
        {},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 2000}}}},
    ),
    "openrouter": (
        {"reasoning": {"enabled": False}},
        {"reasoning": {"enabled": True}},
        {"reasoning": {"max_tokens": 2000}},
    ),
    "groq": ({"reasoning_effort": "none"}, {"reasoning_effort": "default"}, None),
    "together": ({"reasoning": {"enabled": False}}, {"reasoning": {"enabled": True}}, None),
    "mistral": ({"reasoning_effort": "none"}, {"reasoning_effort": "high"}, None),
    "deepseek": ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "enabled"}}, None),
    "xai": ({"reasoning_effort": "none"}, {}, None),
    "fireworks": ({"reasoning_effort": "none"}, {}, {"thinking": {"type": "enabled", "budget_tokens": 2000}}),
    "cerebras": ({"reasoning_effort": "none"}, {}, None),
    "ollama": ({"reasoning_effort": "none"}, {"reasoning_effort": "medium"}, None),
    "lmstudio": ({"reasoning_effort": "none"}, {"reasoning_effort": "medium"}, None),
    "vllm": (VLLM_OFF, VLLM_ON, None),
    "sglang": (VLLM_OFF, VLLM_ON, None),
    "llamacpp": (VLLM_OFF, VLLM_ON, None),
}


def test_every_provider_is_recorded() -> None:
    assert set(RECORDED) | {"azure"} == set(providers())


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_provider_is_sent(name: str) -> None:
    off, on, budget = RECORDED[name]
    sampled = {"temperature": 0.7, "random_seed" if name == "mistral" else "seed": 5}

    def body(thinking: Any) -> dict[str, Any]:
        return OpenAIBackend("m", provider=name, thinking=thinking, live=False).payload(ASKED)

    assert body(None) == PLAIN | {"max_tokens": 24} | sampled
    assert body("off") == PLAIN | {"max_tokens": 24} | sampled | off
    assert body("on") == PLAIN | {"max_completion_tokens": 24 + 32768} | sampled | on
    if budget is None:
        with pytest.raises(ModelError, match=f"--thinking 2000: {name} takes no number of tokens"):
            body(2000)
    else:
        assert body(2000) == PLAIN | {"max_completion_tokens": 2024} | sampled | budget


@pytest.mark.parametrize("name", sorted(set(RECORDED) - {"openai"}))
def test_a_provider_by_name_has_its_address_and_its_own_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = providers()[name]
    backend = OpenAIBackend("m", provider=name, live=False)
    assert str(backend.identity.base_url).rstrip("/") == row.base_url
    if row.key is not None:  # another provider's key is not sent there
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai-0123456789")
        monkeypatch.delenv(row.key, raising=False)
        with pytest.raises(ModelError, match=row.key):
            OpenAIBackend("m", provider=name)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (None, "openai"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://r.openai.azure.com/openai/v1", "azure"),
        ("http://127.0.0.1:8000/v1", "the server"),
    ],
)
def test_a_provider_is_known_by_its_host(url: str | None, name: str) -> None:
    assert provider_of(None, url).name == name


def ask(backend: Any) -> Any:
    async def run() -> Any:
        try:
            return await backend.ask(ASKED)
        finally:
            await backend.aclose()

    return asyncio.run(run())


def chat(_path: str, _body: Any) -> Any:
    return {"choices": [{"message": {"content": "1"}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("", "/openai/v1/chat/completions"),
        ("?api-version=2026-01-01", "/openai/deployments/my%20dep/chat/completions?api-version=2026-01-01"),
    ],
)
def test_azure_is_asked_at_its_deployment_with_the_version_in_the_query(
    monkeypatch: pytest.MonkeyPatch, query: str, path: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "azure-key-0123456789")
    with OddServer(chat, models=lambda path: (404, {"error": {"message": f"no {path}"}})) as server:
        backend = OpenAIBackend("my dep", provider="azure", base_url=f"{server.url}{query}")
        assert isinstance(ask(backend), Reply)
        ((sent, _),) = server.posted
    assert sent == path
    assert backend.headers["api-key"] == "azure-key-0123456789"
    assert "azure-key" not in str(backend.identity.to_json())


def message(_path: str, _body: Any) -> Any:
    return {"type": "message", "content": [{"type": "text", "text": "1"}], "stop_reason": "end_turn"}


@pytest.mark.parametrize(
    ("model", "version"),
    [("anthropic.claude-haiku-4-5", "bedrock-2023-05-31"), ("anthropic.claude-opus-5", None)],
)
def test_bedrock_is_asked_through_the_sdks_own_client(
    monkeypatch: pytest.MonkeyPatch, model: str, version: str | None
) -> None:
    from anthropic._constants import ANTHROPIC_API_VERSION

    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "bedrock-token-0123456789")
    with OddServer(message) as server:
        backend = AnthropicBackend(model, api="bedrock", base_url=server.url)
        assert isinstance(ask(backend), Reply)
        ((path, body),) = server.posted
    assert path == f"/model/{model}/invoke"
    assert body["anthropic_version"] == (version or ANTHROPIC_API_VERSION)
    assert ("temperature" in body) == (version is not None)
    assert "model" not in body
    assert "bedrock-token" not in str(backend.identity.to_json())


@pytest.mark.parametrize(("api", "says"), [("bedrock", "region"), ("vertex", "region")])
def test_a_cloud_without_its_settings_is_one_line(monkeypatch: pytest.MonkeyPatch, api: str, says: str) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "CLOUD_ML_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match=says):
        AnthropicBackend("claude-opus-5", api=api)
