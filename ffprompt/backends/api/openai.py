"""OpenAI's APIs and every server that speaks them: vLLM, SGLang, llama.cpp, Ollama, routers and others.

``chat`` and ``responses`` answer messages. ``completions`` goes on with a text and, where the server echoes the
prompt with log-probabilities, scores the answers in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

from ffprompt._util.secrets import NO_KEY, read_key, shown_body, shown_headers, shown_url, split_base_url
from ffprompt.backends.api.base import ApiBackend
from ffprompt.backends.api.call_errors import CallError
from ffprompt.backends.api.common_settings import common_settings
from ffprompt.backends.api.error_hints import api_named
from ffprompt.backends.api.extra_fields import check_extra_body, parse_headers
from ffprompt.backends.api.ignored_settings import IgnoredSettings
from ffprompt.backends.api.openai_payloads import (
    MOST_SHOWN,
    PayloadSettings,
    chat_payload,
    completions_payload,
    reasons,
    responses_payload,
)
from ffprompt.backends.api.openai_probe import CHATS, OpenAIProbe
from ffprompt.backends.api.openai_replies import read_chat, read_completion, read_response
from ffprompt.backends.api.parameter_fallback import LearnedRecord
from ffprompt.backends.api.payloads import JsonObject, Payload, merged
from ffprompt.backends.api.providers import Provider, Thinking, address_of, provider_of
from ffprompt.backends.api.retry import Call, Policy, PolicyOf, Sleep
from ffprompt.backends.api.servers import ServerFacts, Servers, look_at, look_now, refuse_differences
from ffprompt.backends.api.transport import ConnectionPool, patience
from ffprompt.backends.api.usage_fields import openai_usage
from ffprompt.backends.base import OWN, Capabilities, Failure, Message, Reply, Request, Scores
from ffprompt.backends.identity import OPTIONAL, Identity
from ffprompt.backends.spec import BackendSpec, not_installed
from ffprompt.cost.usage import Usage
from ffprompt.errors import ModelError, did_you_mean

if TYPE_CHECKING:
    from ffprompt.backends.api.openai_batch import OpenAIBatches
    from ffprompt.config.run_config import RunConfig

Api = Literal["chat", "responses", "completions"]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Reasoning counts against the limit of a reply. This much is allowed on top of the reply; only what is used costs.
_ROOM = {"none": 0, "minimal": 2048, "low": 8192, None: 32768, "medium": 32768}
_MOST_ROOM = 65536
_PATHS = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
_PAYLOADS = {"chat": chat_payload, "responses": responses_payload, "completions": completions_payload}


@dataclasses.dataclass(frozen=True, slots=True)
class ReplySettings:
    """What a user wants of the model's replies, under the names of the flags."""

    model: str
    temperature: float | None
    effort: str | None
    room: int | None
    top_logprobs: int | None
    thinking: Thinking | None
    extra_body: JsonObject

    def payload_settings(self, api: str, provider: Provider) -> PayloadSettings:
        """The settings of every payload.

        Raises:
            ModelError: for those that contradict each other or the API.
        """
        if self.top_logprobs is not None and api != "completions":
            raise ModelError(f"--top-logprobs {self.top_logprobs}: only --api completions scores; leave it out")
        if api == "completions":
            flags = {"reasoning-effort": self.effort, "reasoning-room": self.room, "thinking": self.thinking}
            for flag, value in flags.items():
                if value is not None:
                    raise ModelError(f"--{flag} {value}: the completions API has no such setting; use --api chat")
            return self._extended(PayloadSettings(self.model, top_logprobs=self.top_logprobs or MOST_SHOWN), api)
        if self.thinking is not None and self.effort is not None:
            raise ModelError(
                f"--thinking {self.thinking} and --reasoning-effort {self.effort}: give one of them, not both"
            )
        known = reasons(self.model)
        if known and not self.off and self.temperature not in (0, 1, None):
            raise ModelError(
                f"--temperature {self.temperature}: {self.model} reasons, and samples as it does; leave it out"
            )
        extra = {} if self.thinking is None else provider.switch(self.thinking)
        if api == "responses" and (moved := extra.get("reasoning_effort")):  # the same switch, where this API has it
            extra = {"reasoning": {"effort": moved}}
        asked = self.effort is not None or self.thinking not in (None, "off") or self.room is not None
        reasoning = known or asked
        settings = PayloadSettings(
            self.model, reasoning, self.off or not known, self.effort, self._room(reasoning), MOST_SHOWN, extra
        )
        return self._extended(settings, api)

    @property
    def off(self) -> bool:
        """Whether the model is to reply without reasoning."""
        return self.thinking == "off" or self.effort == "none"

    def _room(self, reasoning: bool) -> int:
        """Tokens for reasoning on top of a reply."""
        if self.room is not None:
            return self.room
        if isinstance(self.thinking, int):
            return self.thinking
        return _ROOM.get(self.effort, _MOST_ROOM) if reasoning and not self.off else 0

    def _extended(self, settings: PayloadSettings, api: str) -> PayloadSettings:
        """With what a user adds. Raises ModelError where that would override a setting of the run."""
        chat = api != "completions"
        sample = Request("sample", "" if chat else "w", (Message("user", "w"),) if chat else (), temperature=None)
        check_extra_body(self.extra_body, _PAYLOADS[api](settings, sample))
        return dataclasses.replace(settings, extra=merged(settings.extra, self.extra_body))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIIdentity(Identity):
    """A model behind OpenAI's APIs in the record of a run."""

    provider: str | None
    api: str
    base_url: str
    reasoning_effort: str | None
    reasoning_room: int
    thinking: str | int
    temperature: str | float
    extra_body: JsonObject | None
    extra_headers: Sequence[str]
    top_logprobs: int | None
    sdk: str
    learned: LearnedRecord | None = dataclasses.field(default=None, metadata=OPTIONAL)


class OpenAIBackend(ApiBackend):
    """A model behind one of OpenAI's APIs.

    ``provider`` is a name from ``providers.toml``. ``base_url`` names another server, which may take no key.
    ``key_file`` holds the key in place of the provider's environment variable. ``temperature`` None leaves it to the
    model. ``reasoning_room`` is how many tokens may be spent on reasoning before a reply, ``top_logprobs`` how many of
    the most probable tokens a server must show where it scores. None takes what it shows. Without ``live`` nothing is
    sent and no key is read: prompts can be checked and counted.

    Raises:
        ModelError: the model cannot be reached, or cannot do what is asked.
    """

    def __init__(
        self,
        model: str,
        api: str | None = None,
        base_url: str | None = None,
        key_file: str | None = None,
        temperature: float | None = 0.0,
        reasoning_effort: str | None = None,
        reasoning_room: int | None = None,
        top_logprobs: int | None = None,
        policy: Policy | PolicyOf | None = None,
        live: bool = True,
        sleep: Sleep = asyncio.sleep,
        *,
        thinking: Thinking | None = None,
        provider: str | None = None,
        extra_body: JsonObject | None = None,
        extra_headers: Sequence[str] = (),
        reasoning_tags: Sequence[str] = (),
        more_urls: Sequence[str] = (),
    ) -> None:
        try:
            import openai
            import tenacity  # noqa: F401
        except ImportError as error:
            raise not_installed("openai", error) from error
        self.fixed = api is not None
        api = self.api = _known("--api", api or "chat", get_args(Api))
        if reasoning_effort is not None:
            _known("--reasoning-effort", reasoning_effort, EFFORTS)
        self.more_urls = tuple(more_urls)
        self.servers: dict[str, ServerFacts] = {}  # those that agree, where the model is served at several addresses
        base_url = base_url or (os.environ.get("OPENAI_BASE_URL") if provider is None else None) or None
        for address in (*more_urls, *([base_url] if base_url else ())):
            split_base_url(address)  # which refuses what is no address
        self.provider = provider_of(provider, base_url)
        self.base_url = address_of(self.provider, provider is not None, base_url, model)
        self.reply_settings = ReplySettings(
            model, temperature, reasoning_effort, reasoning_room, top_logprobs, thinking, extra_body or {}
        )
        self.settings = self.reply_settings.payload_settings(api, self.provider)
        self.headers = parse_headers(extra_headers)
        self.required = frozenset({*self.settings.extra, "reasoning_effort", "reasoning", "response_format", "text"})
        self.thinks = self.settings.reasoning and not self.reply_settings.off
        limits = policy(self.settings.reasoning) if callable(policy) else policy
        limits = limits or Policy(**patience(self.settings.reasoning))
        where = f" at {shown_url(self.base_url)}" if self.base_url else ""
        super().__init__(openai, f"openai model {model}{where}", limits, sleep)
        self.path = _PATHS[api]
        self._servers: Servers | None = None
        self.ignored_settings = IgnoredSettings(self.reply_settings.off, tuple(reasoning_tags))
        variable, file, absent = _key_of(self.provider, provider is not None, key_file, base_url)
        self.key = read_key(variable, file, absent) if live else NO_KEY
        self.missing_key = variable if self.key == NO_KEY else ""
        if self.provider.name == "azure":  # where its deployments read the key
            self.headers = {"api-key": self.key, **self.headers}
        self.capabilities = self._capabilities(live)
        headers = shown_headers(f"{name}={value}" for name, value in parse_headers(extra_headers).items())
        self.identity = self._identity(named=provider, headers=headers, scores=self.capabilities.scores)

    def _capabilities(self, live: bool) -> Capabilities:
        """What the server can do. One that completes texts is asked whether it gives their log-probabilities."""
        chats = self.api != "completions"
        why = self._probe() if live else CHATS if chats else ""
        return Capabilities(not why, completes=not chats, chats=chats, unscored=why, schemas=chats)

    def _identity(self, named: str | None, headers: Sequence[str], scores: bool) -> OpenAIIdentity:
        """What the record of a run says of the model."""
        wanted = self.reply_settings
        return OpenAIIdentity(
            backend="openai",
            model=wanted.model,
            provider=named,
            api=self.api,
            base_url=self.address(self._blocking(), self.base_url),
            reasoning_effort=wanted.effort,
            reasoning_room=self.settings.room,
            thinking=OWN if wanted.thinking is None else wanted.thinking,
            temperature=OWN if not self.settings.sampled or wanted.temperature is None else wanted.temperature,
            extra_body=shown_body(wanted.extra_body) or None,
            extra_headers=headers,
            top_logprobs=self.settings.top_logprobs if scores else None,
            sdk=f"openai {self.sdk.__version__}",
        )

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self.make(self.sdk.AsyncOpenAI, 0, connections)

    def _blocking(self) -> Any:
        return self.make(self.sdk.OpenAI, 2)

    def body(self, request: Request) -> Payload:
        """What would be sent to a model that takes everything."""
        payload = _PAYLOADS[self.api](self.settings, request)
        return {self.provider.rename.get(name, name): value for name, value in payload.items()}

    def switch_api(self, error: CallError) -> bool:
        """Whether a model that was not found at one API is asked at another, unless a user has chosen one."""
        if self.fixed or self.api != "chat" or api_named(str(error)) != "responses":
            return False
        self._move("responses")
        return True

    def _move(self, api: str) -> None:
        self.api, self.path, self.settings = api, _PATHS[api], self.reply_settings.payload_settings(api, self.provider)
        self.learned.api = api
        self.identity = self.identity.changed(api=api)

    def restore_learned(self, record: LearnedRecord | None) -> None:
        """Begin with the lessons that an earlier part of the run has learnt."""
        super().restore_learned(record)
        if self.learned.api:
            self._move(self.learned.api)
        for name in self.learned.renamed:
            self.on_refused(name)

    def on_refused(self, name: str) -> None:
        """A chat model that refuses ``max_tokens`` reasons, and needs room for it."""
        if name == "max_tokens" and not self.settings.reasoning:
            room = self.settings.room or _ROOM[None]
            self.settings = dataclasses.replace(self.settings, reasoning=True, room=room)
            self.identity = self.identity.changed(reasoning_room=room)

    def read(self, request: Request, body: JsonObject, call: Call) -> Reply | Scores | Failure:
        """What came back."""
        if request.reads:
            return self.consistency.scores(request, body, self.settings.top_logprobs)
        return {"chat": read_chat, "responses": read_response, "completions": read_completion}[self.api](
            request, body, call
        )

    def usage(self, body: JsonObject) -> Usage | None:
        """What it used."""
        return openai_usage(body).usage

    def connections(self) -> ConnectionPool | Servers:
        """Return new connections for the running loop, to every server of the model."""
        if not self.more_urls:
            return super().connections()
        addresses = (self.base_url or "", *self.more_urls)
        made = {address: partial(self._client_of, address) for address in addresses}
        self._servers = Servers(
            self.sdk,
            self.name,
            made,
            self.servers,
            partial(look_at, self.sdk, model=self.settings.model),
            self._timeout(),
            self.in_flight,
            self.caller.sleep,
        )
        return self._servers

    def _client_of(self, address: str, connections: Any) -> Any:
        return at_address(self.client(connections), address)

    @property
    def remarks(self) -> Sequence[str]:
        """Return remarks on what the server said, and which of several servers have answered."""
        servers = self._servers.remarks if self._servers is not None else []
        return [*super().remarks, *servers]

    def _probe(self) -> str:
        with self._blocking() as client:
            if not self.more_urls:
                return OpenAIProbe(self, client).look()
            return self._probe_all(client)

    def _probe_all(self, client: Any) -> str:
        """Probe every server that can be reached. Raises ModelError where none can, or where two differ."""
        found: list[str] = []
        for address in (self.base_url or "", *self.more_urls):
            own = at_address(client, address)
            try:
                facts = look_now(self.sdk, own.with_options(max_retries=0), address, self.settings.model)
            except self.sdk.APIError as error:
                sys.stderr.write(f"{self.name}: {shown_url(address)} is left out for now: {self.call_error(error)}\n")
                continue
            probe = OpenAIProbe(self, own, address=address)
            why = probe.look() if not self.servers else self._unscored_too(probe)
            if facts.model is None:
                probe.must_answer()
            found.append(f"{shown_url(address)}: {why}" if why and self.api == "completions" else why)
            self.servers[address] = dataclasses.replace(facts, echo=() if why else probe.echo())
        if not self.servers:
            return OpenAIProbe(self, client).look()
        refuse_differences(self.name, self.servers)
        return next(filter(None, found), "")

    def _unscored_too(self, probe: OpenAIProbe) -> str:
        """Why another server does not score, in the way in which the first one is asked.

        Raises:
            ModelError: no API is there.
        """
        probe.reach()
        return probe.unscored() if self.api == "completions" else CHATS


def at_address(client: Any, address: str) -> Any:
    """The same client of an SDK for another address, over the same connections."""
    url, query = split_base_url(address)
    return client.with_options(base_url=url, default_query=query)


def _key_of(
    provider: Provider, named: bool, key_file: str | None, base_url: str | None
) -> tuple[str, str | None, str | None]:
    """The variable of the key, its file, and what stands in where a server may take none."""
    if provider.key is None:
        return "OPENAI_API_KEY", key_file, NO_KEY
    if named or base_url is None:
        return provider.key, key_file, None
    return provider.key if os.environ.get(provider.key) else "OPENAI_API_KEY", key_file, NO_KEY


def _known(flag: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ModelError(f"{flag} {value!r} is unknown{did_you_mean(value, known)}")
    return value


def _open(config: RunConfig, live: bool) -> OpenAIBackend:
    return OpenAIBackend(
        api=config.api,
        reasoning_effort=config.reasoning_effort,
        reasoning_room=config.reasoning_room,
        top_logprobs=config.top_logprobs,
        provider=config.provider,
        more_urls=config.more_urls,
        **common_settings(config, live),
    )


def _batches(backend: OpenAIBackend) -> OpenAIBatches:
    from ffprompt.backends.api.openai_batch import OpenAIBatches

    return OpenAIBatches(backend)


SPEC = BackendSpec("openai", _open, _batches, own_temperature=True, extra="openai", docs="openai.md")
