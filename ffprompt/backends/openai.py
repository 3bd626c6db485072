"""OpenAI's APIs and every server that speaks them: vLLM, SGLang, llama.cpp, Ollama, routers and others.

``chat`` and ``responses`` answer messages; ``completions`` goes on with a text and, where the server echoes the
prompt with log-probabilities, scores the answers in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args
from urllib.parse import quote, urlsplit, urlunsplit

from ffprompt.backends import counts
from ffprompt.backends.api import ApiBackend
from ffprompt.backends.call_errors import CallError
from ffprompt.backends.calls import Call, Policy, PolicyOf, Sleep
from ffprompt.backends.extras import check_extra_body, parse_headers
from ffprompt.backends.hints import api_named
from ffprompt.backends.keys import NO_KEY, read_key, shown_body, shown_headers, shown_url, split_base_url
from ffprompt.backends.openai_probe import CHATS, OpenAIProbe
from ffprompt.backends.openai_replies import read_chat, read_completion, read_response
from ffprompt.backends.payloads import (
    MOST_SHOWN,
    Asking,
    chat_payload,
    completions_payload,
    merged,
    reasons,
    responses_payload,
)
from ffprompt.backends.promises import Promises
from ffprompt.backends.providers import Provider, Thinking, provider_of
from ffprompt.backends.wire import patience
from ffprompt.errors import ModelError, did_you_mean
from ffprompt.requests import OWN, Capabilities, Failure, Message, Reply, Request, Scores
from ffprompt.usage import Usage

Api = Literal["chat", "responses", "completions"]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Reasoning counts against the limit of a reply. This much is allowed on top of the reply; only what is used costs.
_ROOM = {"none": 0, "minimal": 2048, "low": 8192, None: 32768, "medium": 32768}
_MOST_ROOM = 65536
_PATHS = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
_PAYLOADS = {"chat": chat_payload, "responses": responses_payload, "completions": completions_payload}


class OpenAIBackend(ApiBackend):
    """A model behind one of OpenAI's APIs. Raises ModelError when it cannot be reached or cannot do what is asked.

    ``provider`` is a name from ``providers.toml``; ``base_url`` names another server, which may take no key.
    ``key_file`` holds the key in place of the provider's environment variable. ``temperature`` None leaves it to the
    model. ``reasoning_room`` is how many tokens may be spent on reasoning before a reply, ``top_logprobs`` how many of
    the most probable tokens a server must show where it scores; None takes what it shows. Without ``live`` nothing is
    sent and no key is read: prompts can be checked and counted.
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
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Sequence[str] = (),
        reasoning_tags: Sequence[str] = (),
    ) -> None:
        try:
            import openai
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ModelError(f'the openai backend needs {error.name}; run: pip install "ffprompt[openai]"') from error
        self.fixed = api is not None
        api = self.api = _known("--api", api or "chat", get_args(Api))
        if reasoning_effort is not None:
            _known("--reasoning-effort", reasoning_effort, EFFORTS)
        base_url = base_url or (os.environ.get("OPENAI_BASE_URL") if provider is None else None) or None
        if base_url:
            split_base_url(base_url)  # which refuses what is no address
        self.provider = provider_of(provider, base_url)
        self.base_url = _address(self.provider, provider is not None, base_url, model)
        self.asked_through = partial(
            _asking,
            provider=self.provider,
            model=model,
            temperature=temperature,
            effort=reasoning_effort,
            room=reasoning_room,
            top_logprobs=top_logprobs,
            thinking=thinking,
            extra_body=extra_body or {},
        )
        self.asking = self.asked_through(api)
        self.headers = parse_headers(extra_headers)
        self.insisted = frozenset({*self.asking.extra, "reasoning_effort", "reasoning", "response_format", "text"})
        self.top_logprobs = top_logprobs
        self.thinks = self.asking.room > 0
        limits = policy(self.asking.reasoning) if callable(policy) else policy
        where = f" at {shown_url(self.base_url)}" if self.base_url else ""
        limits = limits or Policy(**patience(self.asking.reasoning))
        super().__init__(openai, f"openai model {model}{where}", limits, sleep)
        self.path = _PATHS[api]
        self.promises = Promises(thinking == "off" or reasoning_effort == "none", tuple(reasoning_tags))
        variable, file, absent = _key_of(self.provider, provider is not None, key_file, base_url)
        self.key = read_key(variable, file, absent) if live else NO_KEY
        self.keyless = variable if self.key == NO_KEY else ""
        if self.provider.name == "azure":  # where its deployments read the key
            self.headers = {"api-key": self.key, **self.headers}
        why = self._probe() if live else "" if api == "completions" else CHATS
        scores = not why
        chats = api != "completions"
        self.capabilities = Capabilities(scores, completes=not chats, chats=chats, unscored=why, schemas=chats)
        self.identity = {
            "backend": "openai",
            "model": model,
            "provider": provider,
            "api": api,
            "base_url": self.address(self._blocking(), self.base_url),
            "reasoning_effort": reasoning_effort,
            "reasoning_room": self.asking.room,
            "thinking": thinking if thinking is not None else "the model's own",
            "temperature": temperature if self.asking.sampled and temperature is not None else OWN,
            "extra_body": shown_body(extra_body),
            "extra_headers": shown_headers(f"{name}={value}" for name, value in parse_headers(extra_headers).items()),
            "top_logprobs": self.asking.top_logprobs if scores else None,
            "sdk": f"openai {openai.__version__}",
        }

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self.make(self.sdk.AsyncOpenAI, 0, connections)

    def _blocking(self) -> Any:
        return self.make(self.sdk.OpenAI, 2)

    def body(self, request: Request) -> dict[str, Any]:
        """What would be sent to a model that takes everything."""
        payload = _PAYLOADS[self.api](self.asking, request)
        return {self.provider.rename.get(name, name): value for name, value in payload.items()}

    def moves(self, error: CallError) -> bool:
        """Whether a model that was not found at one API is asked at another, unless a user has chosen one."""
        if self.fixed or self.api != "chat" or api_named(str(error)) != "responses":
            return False
        self._move("responses")
        return True

    def _move(self, api: str) -> None:
        self.api, self.path, self.asking = api, _PATHS[api], self.asked_through(api)
        self.lessons.api = api
        self.identity = {**self.identity, "api": api}

    def recall(self, record: Mapping[str, Any] | None) -> None:
        """Begin with the lessons that an earlier part of the run has learnt."""
        super().recall(record)
        if self.lessons.api:
            self._move(self.lessons.api)

    def taught(self, name: str) -> None:
        """A chat model that refuses ``max_tokens`` reasons, and needs room for it."""
        if name == "max_tokens" and not self.asking.reasoning:
            room = self.asking.room or _ROOM[None]
            self.asking = dataclasses.replace(self.asking, reasoning=True, room=room)
            self.identity = {**self.identity, "reasoning_room": room}

    def read(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Scores | Failure:
        """What came back."""
        if request.reads:
            return self.consistency.scores(request, body, self.asking.top_logprobs)
        return {"chat": read_chat, "responses": read_response, "completions": read_completion}[self.api](
            request, body, call
        )

    def usage(self, body: Mapping[str, Any]) -> Usage | None:
        """What it used."""
        return counts.openai(body).usage

    def _probe(self) -> str:
        with self._blocking() as client:
            return OpenAIProbe(self, client).look()


def _address(provider: Provider, named: bool, base_url: str | None, model: str) -> str | None:
    """The base URL; None for the SDK's own. Raises ModelError where a provider has none and none is given."""
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


def _asking(
    api: str,
    *,
    provider: Provider,
    model: str,
    temperature: float | None,
    effort: str | None,
    room: int | None,
    top_logprobs: int | None,
    thinking: Thinking | None,
    extra_body: Mapping[str, Any],
) -> Asking:
    """The settings of every payload. Raises ModelError for those that contradict each other or the API."""
    if top_logprobs is not None and api != "completions":
        raise ModelError(f"--top-logprobs {top_logprobs}: only --api completions scores; leave it out")
    if api == "completions":
        for flag, value in (("reasoning-effort", effort), ("reasoning-room", room), ("thinking", thinking)):
            if value is not None:
                raise ModelError(f"--{flag} {value}: the completions API has no such setting; use --api chat")
        return _with_extra(Asking(model, top_logprobs=top_logprobs or MOST_SHOWN), api, extra_body)
    if thinking is not None and effort is not None:
        raise ModelError(f"--thinking {thinking} and --reasoning-effort {effort}: give one of them, not both")
    off = thinking == "off" or effort == "none"
    known = reasons(model)
    if known and not off and temperature not in (0, 1, None):
        raise ModelError(f"--temperature {temperature}: {model} reasons, and samples as it does; leave it out")
    reasoning = known or effort is not None or thinking not in (None, "off") or room is not None
    if room is None and isinstance(thinking, int):
        room = thinking
    elif room is None:
        room = _ROOM.get(effort, _MOST_ROOM) if reasoning and not off else 0
    extra = provider.switch(thinking) if thinking is not None else {}
    if api == "responses" and (moved := extra.get("reasoning_effort")):  # the same switch, where this API has it
        extra = {"reasoning": {"effort": moved}}
    asking = Asking(model, reasoning, off or not known, effort, room, MOST_SHOWN, extra)
    return _with_extra(asking, api, extra_body)


def _with_extra(asking: Asking, api: str, extra_body: Mapping[str, Any]) -> Asking:
    """With what a user adds. Raises ModelError where that would override a setting of the run."""
    chat = api != "completions"
    sample = Request("sample", "" if chat else "w", (Message("user", "w"),) if chat else (), temperature=None)
    check_extra_body(extra_body, _PAYLOADS[api](asking, sample))
    return dataclasses.replace(asking, extra=merged(asking.extra, extra_body))


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
