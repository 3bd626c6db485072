"""OpenAI's APIs and every server that speaks them: vLLM, SGLang, llama.cpp, Ollama and others.

``chat`` and ``responses`` answer messages; ``completions`` goes on with a text and, where the server echoes the
prompt with log-probabilities, scores the answers in it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from ffprompt.backends import counts
from ffprompt.backends.api import ApiBackend, cut
from ffprompt.backends.calls import (
    Call,
    CallError,
    Policy,
    Sleep,
    hopeless,
    read_answer,
)
from ffprompt.backends.keys import NO_KEY, read_key, shown_url, split_base_url
from ffprompt.backends.payloads import (
    MOST_SHOWN,
    Asking,
    chat_payload,
    completions_payload,
    responses_payload,
    thinks,
)
from ffprompt.backends.probe import doubt, other_url, speaks, web_page
from ffprompt.backends.wire import library, patience
from ffprompt.errors import ModelError, did_you_mean
from ffprompt.requests import Capabilities, Failure, Message, Reply, Request, Scores, Stop
from ffprompt.usage import Usage

Api = Literal["chat", "responses", "completions"]
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Reasoning counts against the limit of a reply. This much is allowed on top of the reply; only what is used costs.
_ROOM = {"none": 0, "minimal": 2048, "low": 8192, None: 32768, "medium": 32768}
_MOST_ROOM = 65536
_CHATS = "chat APIs give none for a prompt; --api completions may, where the server has it"
_PATHS = {"chat": "/chat/completions", "responses": "/responses", "completions": "/completions"}
_PAYLOADS = {"chat": chat_payload, "responses": responses_payload, "completions": completions_payload}
_PROBE = "1 0 1 1 0 1 0 0 1 0"


def read_chat(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a chat completion says."""
    choices = body.get("choices")
    if not choices:
        return Failure("the answer has no choices")
    choice = choices[0]
    message, why = choice.get("message") or {}, choice.get("finish_reason")
    content = message.get("content")
    if isinstance(content, list):  # some servers send parts
        content = "".join(part.get("text", "") for part in content if part.get("type") == "text")
    if message.get("refusal") or why == "content_filter":
        return _reply(request, body, call, content or message.get("refusal") or "", "refusal")
    if content is None and why != "length":  # reasoning that used up the limit leaves no content, which is a cut-off
        return Failure(f"the answer has no content (finish_reason {why!r})")
    return _reply(request, body, call, content or "", "length" if why == "length" else "stop")


def read_completion(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a completion says."""
    choices = body.get("choices")
    if not choices:
        return Failure("the answer has no choices")
    text, why = choices[0].get("text"), choices[0].get("finish_reason")
    if text is None:
        return Failure(f"the answer has no text (finish_reason {why!r})")
    stop: Stop = "refusal" if why == "content_filter" else "length" if why == "length" else "stop"
    return _reply(request, body, call, text, stop)


def read_response(request: Request, body: Mapping[str, Any], call: Call) -> Reply | Failure:
    """What a response of the responses API says."""
    parts = [part for item in body.get("output") or () if item.get("type") == "message" for part in item["content"]]
    text = "".join(part["text"] for part in parts if part.get("type") == "output_text")
    refusals = [part.get("refusal") or "" for part in parts if part.get("type") == "refusal"]
    status, why = body.get("status"), (body.get("incomplete_details") or {}).get("reason")
    if refusals or why == "content_filter":
        return _reply(request, body, call, text or "".join(refusals), "refusal")
    if why == "max_output_tokens":
        return _reply(request, body, call, text, "length")
    if status != "completed" or not parts:
        return Failure(f"the answer has no content (status {status!r}{f', {why}' if why else ''})")
    return _reply(request, body, call, text, "stop")


def _reply(request: Request, body: Mapping[str, Any], call: Call, text: str, stop: Stop) -> Reply:
    used = call.note(counts.openai(body))
    if stop != "refusal" and (shorter := cut(text, request.stop)) is not None:
        text, stop = shorter, "stop"
    return Reply(text, stop, body.get("model"), used.prompt, used.reply)


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """A token of an echoed prompt: where it begins, how it is written, and the most probable ones in its place."""

    start: int
    text: str
    logprob: float | None
    top: Mapping[str, float]


def echoed(body: Mapping[str, Any], prompt: str) -> list[Token]:
    """The tokens of an echoed prompt. Raises ValueError unless they spell the prompt, character by character.

    A token for the beginning of the text may stand in front. Offsets are counted here: servers disagree on theirs.
    """
    found = (body.get("choices") or [{}])[0].get("logprobs") or {}
    columns = [found.get(key) or [] for key in ("tokens", "token_logprobs", "top_logprobs")]
    if not columns[0] or len({len(column) for column in columns}) != 1:
        raise ValueError("the server returns no log-probabilities of the prompt")
    tokens: list[Token] = []
    position = 0
    for number, (text, logprob, top) in enumerate(zip(*columns, strict=True)):
        if position == len(prompt):
            break
        if text and prompt.startswith(text, position):
            tokens.append(Token(position, text, logprob, top or {}))
            position += len(text)
        elif number > 0:
            raise ValueError(f"token {number} of the echo, {text!r}, is not what stands at character {position}")
    if position < len(prompt):
        raise ValueError("the server echoes no log-probabilities of the prompt, or not of all of it")
    return tokens


def read_scores(request: Request, body: Mapping[str, Any], top_logprobs: int) -> Scores | Failure:
    """The answers' log-probabilities at every read. Nothing is filled in: what the server left out is a Failure."""
    try:
        tokens = {token.start + len(token.text): token for token in echoed(body, request.text)}
        rows = [_score(request, tokens.get(end), start) for start, end in request.reads]
    except ValueError as error:
        return Failure(f"cannot be scored: {error}")
    answers = np.array([row for row, _, _ in rows], np.float64).reshape(len(rows), len(request.surfaces))
    symbols = np.array([symbol for _, symbol, _ in rows], np.int64)
    bounds = tuple((read, symbol) for read, (_, _, bounded) in enumerate(rows) for symbol in bounded)
    # The server names tokens by their text, so there is no number of the first-ranked token to record.
    unknown = np.full(len(rows), -1, np.int64)
    used = counts.openai(body)
    return Scores(answers, unknown, symbols, used.prompt, bounds, used.reply)


def _score(request: Request, token: Token | None, start: int) -> tuple[list[float], int, list[int]]:
    """(log-probability of each symbol, the symbol ranked first or -1, the symbols of which only a bound is known)."""
    before = request.text[token.start : start] if token is not None else ""
    if token is None or token.start > start or before.strip():
        raise ValueError(
            f"the answer at character {start} is not one token of its own; use another template, or the transformers "
            "backend"
        )
    names = [before + surface for surface in request.surfaces]
    written = token.top.get(token.text, token.logprob)
    if token.logprob is None or written is None or abs(token.logprob - written) > 1e-3:
        raise ValueError(f"two tokens are written {token.text!r} and cannot be told apart in the server's answer")
    shown = {**token.top, token.text: written}
    missing = [symbol for symbol, name in enumerate(names) if name not in shown]
    # What is not shown is at most as probable as the least of the most probable tokens, beside which servers show the
    # token that is written, however improbable.
    bound = min((value for name, value in token.top.items() if name != token.text), default=0.0)
    row = [float(shown.get(name, bound)) for name in names]
    best = max((value for symbol, value in enumerate(row) if symbol not in missing), default=-math.inf)
    if missing and best <= bound:
        raise ValueError(
            f"{names[missing[0]]!r} is not among the {len(token.top)} most probable tokens that the server shows at "
            f"character {start}, and could be the more probable answer; raise --top-logprobs (vLLM: up to its "
            "--max-logprobs)"
        )
    if not all(math.isfinite(value) and -9000 < value <= 1e-3 for value in row):  # vLLM writes -9999 for -inf
        raise ValueError(f"the server gives no log-probability of an answer at character {start}")
    first = max(token.top, key=lambda name: token.top[name])
    return row, names.index(first) if first in names else -1, missing


class OpenAIBackend(ApiBackend):
    """A model behind one of OpenAI's APIs. Raises ModelError when it cannot be reached or cannot do what is asked.

    ``base_url`` names another server, which may want no key. ``key_file`` holds the key in place of OPENAI_API_KEY.
    ``reasoning_room`` is how many tokens may be spent on reasoning before a reply, ``top_logprobs`` how many of the
    most probable tokens a server must show where it scores; None takes what it shows. Without ``live`` nothing is sent
    and no key is read: prompts can be checked and counted.
    """

    def __init__(
        self,
        model: str,
        api: str = "chat",
        base_url: str | None = None,
        key_file: str | None = None,
        temperature: float = 0.0,
        reasoning_effort: str | None = None,
        reasoning_room: int | None = None,
        top_logprobs: int | None = None,
        policy: Policy | None = None,
        live: bool = True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        try:
            import openai
            import tenacity  # noqa: F401
        except ImportError as error:
            raise ModelError(f'the openai backend needs {error.name}; run: pip install "ffprompt[openai]"') from error
        self.api = _known("--api", api, get_args(Api))
        if reasoning_effort is not None:
            _known("--reasoning-effort", reasoning_effort, EFFORTS)
        reasoning = thinks(model, api, reasoning_effort)
        _can_honour(model, api, reasoning, temperature, reasoning_effort)
        _has_use(model, api, reasoning, reasoning_room, top_logprobs)
        room = _ROOM.get(reasoning_effort, _MOST_ROOM) if reasoning_room is None else reasoning_room
        self.asking = Asking(model, reasoning, reasoning_effort, room if reasoning else 0, top_logprobs or MOST_SHOWN)
        self.top_logprobs = top_logprobs
        policy = policy or Policy(**patience(reasoning))
        self.base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        where = f" at {shown_url(self.base_url)}" if self.base_url else ""
        super().__init__(openai, f"openai model {model}{where}", policy, sleep)
        self.path = _PATHS[api]
        self.key = read_key("OPENAI_API_KEY", key_file, NO_KEY if self.base_url else None) if live else NO_KEY
        why = self._probe() if live else "" if api == "completions" else _CHATS
        scores = not why
        self.capabilities = Capabilities(
            scores, completes=api == "completions", chats=api != "completions", unscored=why
        )
        self.identity: Mapping[str, Any] = {
            "backend": "openai",
            "model": model,
            "api": api,
            "base_url": self.address(self._blocking(), self.base_url),
            "reasoning_effort": reasoning_effort,
            "reasoning_room": self.asking.room,
            "temperature": "the model's own" if reasoning else temperature,
            "top_logprobs": self.asking.top_logprobs if scores else None,
            "sdk": f"openai {openai.__version__}",
        }

    def client(self, connections: Any) -> Any:
        """An asynchronous client that leaves retries to the caller."""
        return self.make(self.sdk.AsyncOpenAI, 0, http_client=connections)

    def _blocking(self) -> Any:
        return self.make(self.sdk.OpenAI, 2)

    def payload(self, request: Request) -> dict[str, Any]:
        """The body that is sent for a request."""
        return _PAYLOADS[self.api](self.asking, request)

    def read(self, request: Request, body: Mapping[str, Any], call: Call) -> Reply | Scores | Failure:
        """What came back."""
        if request.reads:
            return read_scores(request, body, self.asking.top_logprobs)
        return {"chat": read_chat, "responses": read_response, "completions": read_completion}[self.api](
            request, body, call
        )

    def usage(self, body: Mapping[str, Any]) -> Usage | None:
        """What it used."""
        return counts.openai(body).usage

    def _probe(self) -> str:
        """Why the server does not score prompts; empty where it does. Raises ModelError where it cannot be asked."""
        with self._blocking() as client:
            try:
                models = client.models.with_raw_response
                found = (models.list() if self.base_url else models.retrieve(self.asking.model)).http_response
                if self.base_url and not speaks(found) and not self._replies(client):
                    raise web_page(self.name, found, other_url(self.sdk, client, split_base_url(self.base_url)[0]))
            except self.sdk.APIError as error:
                self._judge(client, error)
            return self._unscored(client) if self.api == "completions" else _CHATS

    def _judge(self, client: Any, error: Any) -> None:
        """What it means that there is no list of models. Raises ModelError where nothing will be answered."""
        found = self.call_error(error)
        if (
            self.base_url
            and found.status == 404
            and (hint := other_url(self.sdk, client, split_base_url(self.base_url)[0]))
        ):
            raise ModelError(f"{self.name}: no API is at this base URL ({found}){hint}") from None
        unknown = found.status == 404 and not self.base_url
        if found.status == 401 or unknown or not isinstance(error, self.sdk.APIStatusError):
            raise hopeless(self.name, found) from None

    def _replies(self, client: Any) -> bool:
        """Whether a question brings an answer; asked only where the list of models looks wrong."""
        turns = () if self.api == "completions" else (Message("user", _PROBE),)
        request = Request("probe", "" if turns else _PROBE, turns, max_tokens=1)
        try:
            self._post(client, self.payload(request))
        except (self.sdk.APIError, CallError):
            return False
        return True

    def _unscored(self, client: Any) -> str:
        """Why an echo of a prompt does not spell it with log-probabilities; OpenAI's own limit of five is tried too."""
        why = ""
        for most in [self.top_logprobs] if self.top_logprobs else [MOST_SHOWN, 5]:
            asking = dataclasses.replace(self.asking, top_logprobs=most)
            try:
                tokens = echoed(
                    self._post(client, completions_payload(asking, Request("probe", _PROBE, reads=((0, 1),)))), _PROBE
                )
            except self.sdk.APIStatusError as error:
                found = self.call_error(error)
                if error.status_code in (401, 402, 403, 404):
                    raise hopeless(self.name, found) from None
                given = f" and --top-logprobs {most}" if self.top_logprobs else ""
                why = f"the server refuses echo with logprobs{given}: {found}"
                continue
            except (self.sdk.APIConnectionError, CallError, ValueError) as error:
                return str(self.call_error(error) if isinstance(error, self.sdk.APIError) else error)
            except (LookupError, TypeError, AttributeError) as error:
                return f"the echo has an unknown shape ({type(error).__name__})"
            self.asking = asking
            return doubt(tokens, self.top_logprobs)
        return why

    def _post(self, client: Any, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        kind = library(self.sdk).Response
        return read_answer(client.post(self.path, cast_to=kind, body=payload)).body


def _known(flag: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise ModelError(f"{flag} {value!r} is unknown{did_you_mean(value, known)}")
    return value


def _has_use(model: str, api: str, reasoning: bool, room: int | None, top_logprobs: int | None) -> None:
    if room is not None and not reasoning:
        raise ModelError(f"--reasoning-room {room}: {model} does not reason here; give --reasoning-effort as well")
    if top_logprobs is not None and api != "completions":
        raise ModelError(f"--top-logprobs {top_logprobs}: only --api completions scores; leave it out")


def _can_honour(model: str, api: str, reasoning: bool, temperature: float, effort: str | None) -> None:
    if api == "completions" and effort is not None:
        raise ModelError(f"--reasoning-effort {effort}: the completions API has no such setting; use --api chat")
    if reasoning and temperature not in (0, 1):
        raise ModelError(f"--temperature {temperature:g}: {model} reasons, and samples as it does; leave it out")
