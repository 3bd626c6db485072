"""Providers that speak OpenAI's API: where they are, which variable holds the key, and how they switch thinking."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, Field

from ffprompt.backends.api.payloads import JsonObject, Payload
from ffprompt.errors import ModelError, did_you_mean

Thinking = Literal["on", "off"] | int


class _Switches(BaseModel):
    """What is added to a payload to switch thinking. None where the provider has no such switch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: Payload | None = None
    off: Payload | None = None
    budget: Payload | None = None


class Provider(BaseModel):
    """One row of ``providers.toml``, which says what the fields mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    base_url: str | None = None
    key: str | None = None
    thinking: _Switches = _Switches()
    rename: dict[str, str] = Field(default_factory=dict)

    def switch(self, thinking: Thinking) -> Payload:
        """What is added to a payload.

        Raises:
            ModelError: where the provider has no such switch.
        """
        flag = f"--thinking {thinking}"
        if isinstance(thinking, int):
            if self.thinking.budget is None:
                raise ModelError(
                    f"{flag}: {self.name} takes no number of tokens; give on or off, or --reasoning-effort"
                )
            return _filled(self.thinking.budget, thinking)
        found = self.thinking.on if thinking == "on" else self.thinking.off
        if found is None:
            raise ModelError(f"{flag}: {self.name} has no such switch; give the server's own with --extra-body")
        return found


@cache
def providers() -> Mapping[str, Provider]:
    """Every provider by its name."""
    content = tomllib.loads(Path(__file__).with_name("providers.toml").read_text(encoding="utf-8"))
    return {name: Provider.model_validate({"name": name, **row}) for name, row in content.items()}


def provider_of(name: str | None, base_url: str | None) -> Provider:
    """The provider of a run: by its name, by the host of its base URL, or a server like vLLM's.

    Raises:
        ModelError: for a name that is not known.
    """
    known = providers()
    if name is not None:
        if name not in known:
            raise ModelError(f"--provider {name}: not a known provider{did_you_mean(name, known)}")
        return known[name]
    if base_url is None:
        return known["openai"]
    host = urlsplit(base_url).hostname or ""
    if host.endswith(".azure.com"):
        return known["azure"].model_copy(update={"base_url": None})
    by_host = {urlsplit(row.base_url).hostname: row for row in known.values() if row.base_url and row.key}
    # Which server answers at an address of one's own nobody knows; most read vLLM's switches.
    return by_host.get(host) or Provider(name="the server", thinking=known["vllm"].thinking)


def _filled(fragment: JsonObject, tokens: int) -> Payload:
    """A fragment with the number of tokens in the place of N."""
    return {
        key: _filled(value, tokens) if isinstance(value, Mapping) else tokens if value == "N" else value
        for key, value in fragment.items()
    }


def address_of(provider: Provider, named: bool, base_url: str | None, model: str) -> str | None:
    """The base URL. None for the SDK's own.

    Raises:
        ModelError: where a provider has none and none is given.
    """
    if base_url is None and named and provider.base_url is None:
        raise ModelError(
            f"--provider {provider.name}: every customer has an address of their own; give it with --base-url"
        )
    if base_url is None:
        return provider.base_url if named else None
    return azure_url(base_url, model) if provider.name == "azure" else base_url


def azure_url(base_url: str, model: str) -> str:
    """The address of an Azure resource with the path that its API has: of a deployment where a version is given.

    >>> azure_url("https://r.openai.azure.com", "dep"), azure_url("https://r.openai.azure.com/?api-version=1", "dep")
    ('https://r.openai.azure.com/openai/v1', 'https://r.openai.azure.com/openai/deployments/dep?api-version=1')
    """
    parts = urlsplit(base_url)
    if parts.path.strip("/") not in ("", "openai"):
        return base_url
    path = f"/openai/deployments/{quote(model, safe='')}" if "api-version" in parts.query else "/openai/v1"
    return urlunsplit(parts._replace(path=path))
