"""Modes of what a server refuses: parameters, addresses, keys; of servers that are not ready; of planted secrets."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.support.odd_modes.mode import (
    ANTHROPIC,
    FORCED,
    LIST,
    ONE_BY_ONE,
    SCHEMA,
    SECRET,
    Mode,
    answers,
    fails,
    made,
    replies,
)
from tests.support.odd_server import MODELS, Body, Raw, Sent

SAMPLED = (*LIST, "--temperature", "1")


def bad(text: str, status: int = 400, **more: object) -> tuple[int, dict[str, object]]:
    return status, {"error": {"message": text} | more}


def refuses(name: str, text: str = "Unsupported parameter: '{}' is not supported with this model.", **more: Any) -> Any:
    """A server that does not take one parameter."""
    told = bad(text.format(name), param=name, code="unsupported_parameter") if not more else bad(text, **more)
    return answers(lambda path, body: told if name in body else made(path, body))


def later(name: str, after: int) -> Any:
    """A server that takes a parameter only for a while."""

    def new() -> Any:
        calls = itertools.count()
        told = bad(f"'{name}' is not supported", param=name)
        return lambda path, body: told if next(calls) >= after and name in body else made(path, body)

    return new


def old_version(path: str, body: Body) -> Any:
    """Anthropic's: no temperature since the version of 2026-10-21."""
    version = body.headers.get("anthropic-version", "") if isinstance(body, Sent) else ""
    if "temperature" in body and version >= "2026-10-21":
        return bad("temperature: Extra inputs are not permitted", type="invalid_request_error")
    return made(path, body)


def system_role(path: str, body: Body) -> Any:
    if any(turn["role"] == "system" for turn in body["messages"]):
        return bad("System role not supported")
    return made(path, body, "1")


PARAMETERS = (
    Mode("max_tokens", "takes `max_completion_tokens` only, under a name that says nothing",
         refuses("max_tokens", "'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
                 param="max_tokens"),
         "correct", "the model takes max_completion_tokens in place of max_tokens"),
    Mode("temperature", "takes no temperature", refuses("temperature"), "correct",
         "replies are sampled by the model's own settings"),
    Mode("seed", "takes no seed", refuses("seed", "property 'seed' is unsupported", type="invalid_request_error"),
         "correct", "sampled replies cannot be repeated", flags=SAMPLED),
    Mode("stream", "does not know `stream`", refuses("stream", 'Unknown name "stream": Cannot find field.', code=400),
         "correct", "the model refuses stream"),
    Mode("a list of details", "refuses the temperature in FastAPI's words",
         answers(lambda path, body: (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "temperature"],
                 "msg": "Extra inputs are not permitted", "input": 0.0}]}) if "temperature" in body
                 else made(path, body)), "correct", "the model refuses temperature"),
    Mode("two of them", "takes neither temperature nor `max_tokens`", answers(
        lambda path, body: bad("'temperature' is not supported") if "temperature" in body
        else bad("'max_tokens' is not supported") if "max_tokens" in body else made(path, body)), "correct",
        "the model takes max_completion_tokens"),
    Mode("temperature must be 1", "takes the default temperature only", refuses(
        "temperature", "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) "
        "value is supported.", param="temperature", code="unsupported_value"), "correct",
         "replies are sampled by the model's own settings"),
    Mode("refused later", "takes a temperature twice and then no more", later("temperature", 2), "correct",
         "answers came with temperature, and now it is refused", 3, flags=ONE_BY_ONE),
    Mode("the version", "takes a temperature under Anthropic's older version only", answers(old_version), "correct",
         flags=ANTHROPIC),
    Mode("effort none", "answers wrongly where no temperature comes",
         answers(lambda path, body: made(path, body, "RIGHT" if body.get("temperature") == 0 else "WRONG")), "correct",
         flags=(*LIST, "--reasoning-effort", "none")),
    Mode("thinking switch", "refuses the switch that a user asked for",
         refuses("chat_template_kwargs"), "error", "chat_template_kwargs", 3,
         flags=(*LIST, "--extra-body", '{"chat_template_kwargs": {"enable_thinking": false}}')),
    Mode("a limit that is too large", "takes at most 100 tokens of reply",
         answers(lambda path, body: bad("max_tokens is too large: 280. This model supports at most 100 tokens.")
                 if body.get("max_tokens", 0) > 100 else made(path, body)), "error",
         "supports at most 100 tokens", 3),
    Mode("no schema", "takes no schema", refuses("response_format"), "error", "response_format", 3, flags=SCHEMA),
)  # fmt: skip


def only_responses(path: str, body: Body) -> Any:
    text = "This model is only supported in v1/responses and not in v1/chat/completions."
    return made(path, body) if path.endswith("/responses") else bad(text, 404)


def under(prefix: str, wrong: Any) -> tuple[Any, Callable[[str], Any]]:
    """(answer, models) of a server whose API is below a prefix; another path gets what ``wrong`` says."""

    def answer(path: str, body: Body) -> Any:
        return made(path, body) if path.startswith(prefix) else wrong(path)

    return answers(answer), lambda path: MODELS if path.startswith(prefix) else wrong(path)


UNEXPECTED = under("/v1/", lambda path: {"error": f"Unexpected endpoint or method. (POST {path})"})
NOT_FOUND = under("/v1/", lambda path: (404, {"detail": "Not Found"}))
PAGE = under("/v1/", lambda _: Raw(b"<!doctype html><title>Open WebUI</title>", {"content-type": "text/html"}))
CHAT = "This is a chat model and not supported in the v1/completions endpoint. Did you mean to use v1/chat/completions?"

ADDRESSES = (
    Mode("unexpected endpoint", "answers a wrong path with status 200 and an error, as LM Studio does", UNEXPECTED[0],
         says="did you mean", code=2, models=UNEXPECTED[1], url="{root}"),
    Mode("404 below", "has its API under `/v1` only", NOT_FOUND[0], says="did you mean", code=2, models=NOT_FOUND[1],
         url="{root}"),
    Mode("a web page below", "answers other paths with its web page", PAGE[0], says="did you mean", code=2,
         models=PAGE[1], url="{root}"),
    Mode("/v1 twice", "is given with `/v1` to the Anthropic backend", NOT_FOUND[0], says="leave /v1 out", code=2,
         models=lambda path: (404, {"detail": "Not Found"}), flags=ANTHROPIC, url="{v1}"),
    Mode("no list of models", "has no `/v1/models`", replies(), "correct", models=lambda _: (404, {"detail": "no"})),
    Mode("a list of models that is no list", "answers `/v1/models` with an error and chats all the same", replies(),
         "correct", models=lambda _: {"error": "not implemented"}),
    Mode("responses only", "serves its model by the responses API alone", answers(only_responses), "correct",
         "the model is served by the responses API"),
    Mode("responses only, chat asked", "does so, and `--api chat` is given", answers(only_responses), "",
         "use --api responses", 2, flags=(*LIST, "--api", "chat")),
    Mode("chat only", "serves its model by chat alone", answers(lambda path, body: bad(CHAT, 404)), "",
         "use --api chat", 2, flags=FORCED),
    Mode("no chat template", "has a model without a chat template",
         answers(lambda *_: bad("default chat template is no longer allowed, so you must provide a chat template")),
         "error", "use --api completions", 3),
    Mode("no such model", "does not know the model", answers(
        lambda *_: bad("The model `m` does not exist", 404, code="model_not_found")), "",
         "are the model's name and the base URL right?", 2),
    Mode("moved", "sends calls elsewhere and back for ever",
         answers(lambda path, _: Raw(b"", {"location": path}, 307)), "error", "", 3),
    Mode("a pinned model", "serves another model and says so with status 400",
         answers(lambda *_: bad("Server is pinned to 'a'; requested 'm'")), "error",
         "Server is pinned to 'a'; requested 'm'", 3),
)  # fmt: skip


def every_second() -> Any:
    calls = itertools.count()
    return lambda path, body: bad("the prompt is too long") if next(calls) % 2 else made(path, body)


KEYS = (
    Mode("no key, no database", "wants a key, and says something else", answers(
        lambda *_: bad("No connected db.")), "error", "no key is set, so that 'no-key' was sent", 3, key=None),
    Mode("no key, 401", "wants a key", answers(lambda *_: bad("Unauthorized", 401)), "",
         "no key is set, so that 'no-key' was sent", 2, models=lambda _: bad("Unauthorized", 401), key=None),
    Mode("wrong key", "does not know the key, for calls only", answers(lambda *_: bad("Invalid token", 401)), "",
         "is the API key right?", 2),
    Mode("wrong key, 403", "answers 403 in HTML", answers(
        lambda *_: Raw(b"<h1>403 Forbidden</h1>", {"content-type": "text/html"}, 403)), "", "403 Forbidden", 2),
    Mode("no key of Anthropic's", "wants no key, through the Anthropic backend", replies(), "correct", flags=ANTHROPIC,
         key=None),
    Mode("some prompts are too long", "refuses every second prompt", every_second, "correct error",
         "2 trials ended in error: 2 × HTTP 400: the prompt is too long", 3, flags=ONE_BY_ONE),
)  # fmt: skip


def loads(failure: Any, times: int) -> dict[str, Any]:
    """A server that answers everything with a failure until it was asked so often."""
    calls = itertools.count()
    return {
        "answer": lambda: lambda path, body: failure if next(calls) < times else made(path, body),
        "models": lambda _: failure if next(calls) < times else MODELS,
    }


LOADING = (
    Mode("loading", "answers 503 to everything while it loads", reads="correct", says="Loading model; waiting up to",
         **loads((503, {"error": {"message": "Loading model", "code": 503}}), 5)),
    Mode("loading, Hugging Face", "answers 503 with an estimate of the time", reads="correct",
         says="is currently loading", **loads(
        (503, {"error": "Model m is currently loading", "estimated_time": 20.0}), 5)),
    Mode("loading, plain text", "answers 503 in plain text", reads="correct", says="upstream not ready; waiting up to",
         **loads(Raw(b"upstream not ready", {"content-type": "text/plain"}, 503), 5)),
    Mode("loading, calls only", "lists its models, and answers calls with 503 at first",
         fails((503, {"error": {"message": "warming up"}}), 3), "correct"),
    Mode("loading, forced", "answers 503 to the first question about log-probabilities",
         fails((503, {"error": {"message": "warming up"}}), 2, lambda p, b: made(p, b)), "",
         "the server returns no log-probabilities of the prompt", 2, flags=FORCED),
    Mode("502 of a gateway", "stands behind a gateway that answers 502 twice",
         fails(Raw(b"<html><h1>502 Bad Gateway</h1></html>", {"content-type": "text/html"}, 502), 2), "correct"),
)  # fmt: skip


def told(path: str, body: Body) -> Any:
    """The path, the key and the headers, in an error."""
    return bad(f"bad request: {path} with {getattr(body, 'headers', {})}")


QUERY = f"{{v1}}?api-version=2024-10-21&api-key={SECRET}"
SECRETS = (
    Mode("a key in the query", "reads its key in the query of its address", answers(
        lambda path, body: made(path, body) if f"api-key={SECRET}" in path else bad("no key", 401)), "correct",
         url=QUERY, never=SECRET),
    Mode("a query in an error", "repeats the whole address in its errors", answers(told), "error", "bad request", 3,
         url=QUERY, never=SECRET),
    Mode("headers in an error", "repeats the headers in its errors", answers(told), "error", "bad request", 3,
         flags=(*LIST, "--extra-header", f"X-Team-Token={SECRET}"), never=SECRET),
    Mode("the key in an error", "repeats the key in its errors", answers(told), "error", "bad request", 3, key=SECRET,
         never=SECRET),
    Mode("the key in a reply", "repeats the key in its replies", replies(f"{SECRET} RIGHT"), "invalid", key=SECRET,
         never=SECRET),
    Mode("the key as a model", "says that it answers with a model called like the key", replies(model=f"m-{SECRET}"),
         "correct", key=SECRET, never=SECRET),
    Mode("the body in an error", "repeats the body, with a secret of a gateway, in its errors",
         answers(lambda _, body: bad(f"cannot forward {dict(body)}")), "error", "cannot forward", 3,
         flags=(*LIST, "--extra-body", f'{{"gateway": {{"api_key": "{SECRET}"}}}}'), never=SECRET),
    Mode("a short key in the query", "reads a key of four digits in the query", replies(), "correct",
         url="{v1}?api-version=2024-10-21&sig=1234", never="sig=1234"),
    Mode("a short key in a header", "reads a key of four digits in a header", replies(), "correct",
         flags=(*LIST, "--extra-header", "X-Api-Key=1234"), never="X-Api-Key=1234"),
    Mode("a password in the address", "is given with a user and a password in its address", replies(), "correct",
         url=f"http://me:{SECRET}@{{host}}/v1", never=SECRET),
)  # fmt: skip
