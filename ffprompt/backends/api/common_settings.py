"""The settings of a run that the backend of every provider takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypedDict

from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.retry import PolicyOf, policy_of

if TYPE_CHECKING:
    from ffprompt.config.run_config import RunConfig


class CommonSettings(TypedDict):
    """The settings of a run that every provider's backend takes under the same name."""

    model: str
    base_url: str | None
    key_file: str | None
    temperature: float | None
    thinking: Literal["on", "off"] | int | None
    policy: PolicyOf
    live: bool
    extra_body: JsonObject | None
    extra_headers: Sequence[str]
    reasoning_tags: Sequence[str]


def common_settings(config: RunConfig, live: bool) -> CommonSettings:
    """Return the settings of a run that every provider's backend takes. A temperature of None is the model's own."""
    return {
        "model": config.model,
        "base_url": config.first_url,
        "key_file": config.key_file,
        "temperature": None if config.temperature == "default" else config.temperature,
        "thinking": config.thinking,
        "policy": partial(policy_of, config),
        "live": live,
        "extra_body": config.extra_body,
        "extra_headers": config.extra_header or (),
        "reasoning_tags": config.reasoning_tags or (),
    }
