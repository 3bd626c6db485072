"""Anthropic's messages API: its own, on Bedrock or Vertex, or a server that speaks it.

It answers messages only, and shows no log-probabilities.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ffprompt._util.secrets import NO_KEY, read_key, shown_body, shown_headers, shown_url, split_base_url
from ffprompt.backends.api.anthropic_payloads import PayloadSettings, Thinking, message_payload, payload_settings
from ffprompt.backends.api.base import ApiBackend
from ffprompt.backends.api.call_errors import as_call_error
from ffprompt.backends.api.common_settings import common_settings
from ffprompt.backends.api.extra_fields import check_extra_body, parse_headers
from ffprompt.backends.api.finish_reasons import stop_of, why_not
from ffprompt.backends.api.ignored_settings import IgnoredSettings
from ffprompt.backends.api.model_retirement import announced
from ffprompt.backends.api.parameter_fallback import LearnedRecord
from ffprompt.backends.api.payloads import JsonObject, Payload, merged
from ffprompt.backends.api.reply_text import trimmed
from ffprompt.backends.api.retry import Call, Policy, PolicyOf, Sleep
from ffprompt.backends.api.transport import patience
from ffprompt.backends.api.usage_fields import anthropic_usage
from ffprompt.backends.base import OWN, Capabilities, Failure, Message, Reply, Request
from ffprompt.backends.identity import OPTIONAL, Identity
from ffprompt.backends.spec import BackendSpec, not_installed
from ffprompt.cost.usage import Usage
from ffprompt.elicitation.base import find_elicitation
from ffprompt.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.api.anthropic_batch import AnthropicBatches
    from ffprompt.config.run_config import RunConfig

APIS = ("messages", "bedrock", "vertex")
_CLIENTS = {"messages": "Anthropic", "bedrock": "AnthropicBedrock", "vertex": "AnthropicVertex"}


def read_message(request: Request, body: JsonObject, call: Call) -> Reply | Failure:
    """What a message says."""
    why = body.get("stop_reason")
    stop = stop_of(why)
    if stop is None:
        return Failure(why_not(why))
    blocks = body.get("content") or []
    text = "".join(block["text"] for block in blocks if block.get("type") == "text")
    thoughts = "".join(block.get("thinking") or "" for block in blocks if block.get("type") == "thinking")
    text, stop = trimmed(text, stop, request)
    used = call.note(anthropic_usage(body))
    return Reply(text, stop, body.get("model"), used.prompt, used.reply, str(why), thoughts or None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AnthropicIdentity(Identity):
    """A Claude model in the record of a run."""

    api: str
    base_url: str | None
    api_version: str
    room: int
    cache: bool
    sdk: str
    temperature: str | float | None
    effort: str | None
    thinking: str | int
    extra_body: JsonObject | None
    extra_headers: Sequence[str]
    learned: LearnedRecord | None = dataclasses.field(default=None, metadata=OPTIONAL)


def _sdk() -> Any:
    """The SDK. Raises ModelError where it or the library of retries is not installed."""
    try:
        import anthropic
        import tenacity  # noqa: F401
    except ImportError as error:
        raise not_installed("anthropic", error) from error
    return anthropic


class AnthropicBackend(ApiBackend):
    """A Claude model.

    ``thinking`` is on, off or a number of tokens, and ``effort`` another way to let a model think. Without either
    nothing is said about thinking. ``cache`` pays where prompts share a long beginning (shared shots). ``key_file``
    holds the key in place of ANTHROPIC_API_KEY. ``api`` bedrock and vertex take the credentials of their clouds.
    Without ``live`` nothing is sent and no key is read.

    Raises:
        ModelError: the model cannot be reached, or cannot do what is asked.
    """

    path = "/v1/messages"

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        key_file: str | None = None,
        temperature: float | None = 0.0,
        thinking: Thinking | None = None,
        effort: str | None = None,
        cache: bool = False,
        policy: Policy | PolicyOf | None = None,
        live: bool = True,
        sleep: Sleep = asyncio.sleep,
        *,
        api: str = "messages",
        room: int | None = None,
        extra_body: JsonObject | None = None,
        extra_headers: Sequence[str] = (),
        reasoning_tags: Sequence[str] = (),
    ) -> None:
        anthropic = _sdk()
        if api not in APIS:
            raise ModelError(f"--api {api!r} is unknown{did_you_mean(api, APIS)}")
        self.api, self.live = api, live
        self.settings = _with_extra(model, temperature, thinking, effort, room, cache, api, extra_body or {})
        self.headers = parse_headers(extra_headers)
        if self.settings.version and api == "messages":
            self.headers = {"anthropic-version": self.settings.version, **self.headers}
        self.required = frozenset({*self.settings.extra, "output_config"})
        self.thinks = self.settings.room > 0
        self.base_url = base_url or (os.environ.get("ANTHROPIC_BASE_URL") if api == "messages" else None) or None
        where = f" at {shown_url(self.base_url)}" if self.base_url else ""
        name = f"anthropic model {model}{f' on {api}' if api != 'messages' else where}"
        limits = policy(self.thinks) if callable(policy) else policy
        super().__init__(anthropic, name, limits or Policy(**patience(self.thinks)), sleep)
        self.ignored_settings = IgnoredSettings(thinking == "off", tuple(reasoning_tags))
        self.key = self._read_key(key_file)
        self.missing_key = "ANTHROPIC_API_KEY" if self.key == NO_KEY else ""
        if live:
            self._probe()
        self.capabilities = Capabilities(scores=False, completes=False, chats=True, schemas=True)
        known = live or api == "messages"  # a cloud's address is that of its region
        self.identity = AnthropicIdentity(
            backend="anthropic",
            model=model,
            api=api,
            base_url=self.address(self._blocking(), self.base_url) if known else None,
            api_version=self.settings.version or self.sdk._constants.ANTHROPIC_API_VERSION,
            room=self.settings.room,
            cache=cache,
            sdk=f"anthropic {self.sdk.__version__}",
            temperature=temperature if self.settings.sampled else OWN,
            effort=effort,
            thinking=OWN if thinking is None else thinking,
            extra_body=shown_body(extra_body),
            extra_headers=shown_headers(f"{name}={value}" for name, value in parse_headers(extra_headers).items()),
        )

    def _read_key(self, key_file: str | None) -> str:
        if self.api != "messages":
            if key_file is not None:
                raise ModelError(f"--key-file: {self.api} takes the credentials of its cloud; leave it out")
            return ""
        if not self.live:
            return NO_KEY
        return read_key("ANTHROPIC_API_KEY", key_file, NO_KEY if self.base_url else None)

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self._client("Async", 0, connections)

    def _blocking(self) -> Any:
        return self._client("", 2)

    def _client(self, kind: str, retries: int, connections: Any = None) -> Any:
        """A client of the SDK. Raises ModelError where a cloud's library or its settings are missing."""
        try:
            return self.make(getattr(self.sdk, kind + _CLIENTS[self.api]), retries, connections)
        except ModelError as error:
            if isinstance(error.__cause__, ImportError):
                raise ModelError(f'--api {self.api}: run: pip install "anthropic[{self.api}]" ({error})') from error
            raise

    def client_settings(self) -> dict[str, Any]:
        """What every client is told. Those of a cloud find their credentials by themselves."""
        settings = super().client_settings()
        return settings if self.api == "messages" else {key: settings[key] for key in settings if key != "api_key"}

    def body(self, request: Request) -> Payload:
        """What would be sent to a model that takes everything."""
        return message_payload(self.settings, request)

    def read(self, request: Request, body: JsonObject, call: Call) -> Reply | Failure:
        """What came back."""
        return read_message(request, body, call)

    def usage(self, body: JsonObject) -> Usage | None:
        """What it used."""
        return anthropic_usage(body).usage

    def _probe(self) -> None:
        """Whether the provider is there, takes the key and knows the model. Raises ModelError."""
        if self.api != "messages":  # these list no models
            self._blocking().close()
            return
        with self._blocking() as client:
            try:
                found = client.models.with_raw_response.retrieve(self.settings.model)
                self.ends = announced(found.http_response, self.settings.model)
            except self.sdk.APIError as error:
                self._judge(error)

    def _judge(self, error: Any) -> None:
        """What it means that the model is not there. Raises ModelError where nothing will be answered."""
        found = as_call_error(self.sdk, error)
        address = split_base_url(self.base_url)[0] if self.base_url else ""
        if found.status == 404 and address.rstrip("/").endswith("/v1"):
            raise ModelError(
                f"{self.name}: no API is at this base URL ({found}); leave /v1 out, the SDK adds it"
            ) from None
        self.give_up_if_hopeless(error, own_server=bool(address))


def _with_extra(
    model: str,
    temperature: float | None,
    thinking: Thinking | None,
    effort: str | None,
    room: int | None,
    cache: bool,
    api: str,
    extra_body: JsonObject,
) -> PayloadSettings:
    """The settings of a payload with what a user adds. Raises ModelError where that would override one of them."""
    settings = payload_settings(model, temperature, thinking, effort, room, cache, api)
    sample = message_payload(settings, Request("sample", "", (Message("user", "w"),)))
    check_extra_body(extra_body, sample)
    return dataclasses.replace(settings, extra=merged(settings.extra, extra_body))


def _open(config: RunConfig, live: bool) -> AnthropicBackend:
    if config.more_urls:
        raise ModelError(f"--base-url {shown_url(config.more_urls[0])}: the anthropic backend asks one address only")
    return AnthropicBackend(
        effort=config.reasoning_effort,
        # Where prompts have a long beginning in common; writing what is not read again would only cost.
        cache=config.shared_shots or any(find_elicitation(name).has_turns for name in config.elicitation or ()),
        api=config.api or "messages",
        room=config.reasoning_room,
        **common_settings(config, live),
    )


def _batches(backend: AnthropicBackend) -> AnthropicBatches:
    from ffprompt.backends.api.anthropic_batch import AnthropicBatches

    return AnthropicBatches(backend)


SPEC = BackendSpec("anthropic", _open, _batches, own_temperature=True, extra="anthropic", docs="anthropic.md")
