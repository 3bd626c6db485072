"""Failed calls: exceptions of the SDKs, error statuses, and errors that come with HTTP 200."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ffprompt._util.secrets import redact
from ffprompt.backends.api.finish_reasons import ending, why_not
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.rate_limit import retry_after
from ffprompt.errors import ModelError

# Statuses of a key, a model or an address that no later call will find right either.
HOPELESS = (401, 402, 403, 404, 405)
# Errors that are a refusal: the provider's filter did not let the prompt through to the model.
FILTERED = (
    "content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation", "data_inspection_failed",
    "sensitive_content", "moderation",
)  # fmt: skip
# A 429 with one of these is an empty account, which waiting does not fill.
_SPENT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
# Exceptions of a connection that was never made, so that nothing was sent over it.
_UNSENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
# The status that the providers send with a code. Inside an answer with status 200 the code is all there is.
_STATUS_OF = {
    "server_error": 500, "internal_server_error": 500, "internal_error": 500, "api_error": 500, "internal": 500,
    "upstream_error": 502, "bad_gateway": 502, "provider_error": 502, "service_unavailable": 503, "unavailable": 503,
    "overloaded": 529, "overloaded_error": 529, "timeout": 408, "timeout_error": 408, "deadline_exceeded": 408,
    "rate_limit_exceeded": 429, "rate_limit_error": 429, "too_many_requests": 429, "resource_exhausted": 429,
    "insufficient_quota": 429, "invalid_request_error": 400, "invalid_prompt": 400, "authentication_error": 401,
    "permission_error": 403, "not_found_error": 404, "model_not_found": 404,
}  # fmt: skip


# The parts of which a body of any API has one where it is an answer.
_ANSWERS = ("choices", "output", "content")


class CallError(Exception):
    """An attempt that brought no answer. ``status`` is HTTP's, or the name of what happened.

    ``free``: it costs nothing, because nothing was sent or the server answered with an error status. ``parameter`` is
    the part of the request that the server objects to, where it names one. ``body`` is what came with a good status,
    which may say what it has used.
    """

    body: JsonObject | None = None

    def __init__(
        self,
        text: str,
        status: int | str,
        retry: bool,
        wait: float | None = None,
        request_id: str | None = None,
        code: str = "",
        free: bool = False,
        parameter: str = "",
    ) -> None:
        super().__init__(redact(text))
        self.status, self.retry, self.wait, self.request_id, self.code = status, retry, wait, request_id, code
        self.free, self.parameter = free, parameter

    def advise(self, cure: str) -> None:
        """Append what to try to the text."""
        self.args = (f"{self}{cure}",)


@dataclass(frozen=True, slots=True)
class Answered:
    """The JSON object that a server answered with."""

    body: JsonObject
    request_id: str | None


@dataclass(frozen=True, slots=True)
class _Told:
    """An error as a server words it: the message on one line, its code, and the parameter that it names."""

    message: str
    code: str = ""
    parameter: str = ""


def read_answer(raw: Any) -> Answered:
    """The body of an HTTP response with a good status.

    Raises:
        CallError: the body is no answer.
    """
    request_id = _request_id(raw.headers)
    kind = raw.headers.get("content-type", "no content type")
    if "event-stream" in kind:  # the whole answer was made and paid for, and the next one would be too
        raise CallError(
            f"the server streams its answer ({kind}) although it was told not to", "stream", False, None, request_id
        )
    try:
        body = json.loads(raw.content)
    except (ValueError, RecursionError):
        raise CallError(
            f"HTTP 200 without JSON ({kind}): {one_line(raw.text)}", "no JSON", True, None, request_id
        ) from None
    if not isinstance(body, dict):
        raise CallError(f"HTTP 200 without an object: {one_line(raw.text)}", "no object", True, None, request_id)
    if (failure := failure_in(body)) is not None:
        failure.wait, failure.request_id, failure.body = retry_after(raw.headers), request_id, body
        raise failure
    return Answered(body, request_id)


def read_reply(raw: Any) -> Answered:
    """The body of an HTTP response to a question.

    Gateways have objects of their own for what went wrong, with a good status.

    Raises:
        CallError: the body is no answer to the question.
    """
    answered = read_answer(raw)
    if any(part in answered.body for part in _ANSWERS):
        return answered
    told = _told_of(answered.body)
    status = _status_of(told.code)
    text, again = f"HTTP 200 without an answer: {told.message}", status == 200 or transient(status, told.code)
    failure = CallError(text, status, again, retry_after(raw.headers), answered.request_id, told.code)
    failure.body = answered.body
    raise failure


def failure_in(body: JsonObject) -> CallError | None:
    """The failure that an answer with a good status holds, or None.

    It stands at the top (routers, the responses API, Anthropic's error objects), inside a choice, or is no more than
    the reason of the end.
    """
    for error in _errors(body):
        told = _told_of(error)
        status = _status_of(told.code)
        if told.code in FILTERED:
            return CallError(f"HTTP 200 with a refusal: {told.message}", 200, False, code=told.code)
        return CallError(
            f"HTTP 200 with an error: {told.message}", status, transient(status, told.code), code=told.code
        )
    if "choices" in body and not body["choices"]:
        return CallError("HTTP 200 without an answer: it has no choices", "no choices", True)
    if ending(reason := _reason(body)) == "failed":
        return CallError(f"HTTP 200 with an error: {why_not(reason)}", "broken off", True)
    return None


def _errors(body: JsonObject) -> Iterator[object]:
    if body.get("error"):
        yield body["error"]
    for choice in _objects(body.get("choices")):
        if choice.get("error"):
            yield choice["error"]
        if isinstance(message := choice.get("message"), Mapping) and message.get("error"):
            yield message["error"]


def _reason(body: JsonObject) -> object:
    """Why the reply of a body of any API ended."""
    for choice in _objects(body.get("choices")):
        return choice.get("finish_reason")
    if "output" in body:
        return body.get("status")
    return body.get("stop_reason")


def _objects(value: object) -> list[JsonObject]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def as_call_error(sdk: Any, error: Any) -> CallError:
    """Translate an exception of an SDK."""
    free = type(error.__cause__).__name__ in _UNSENT
    if isinstance(error, sdk.APITimeoutError):
        if type(error.__cause__).__name__ == "ConnectTimeout":
            return CallError("the server took no connection in time", "connect", True, free=True)
        return CallError("the server did not answer in time", "timeout", True, free=free)
    if isinstance(error, sdk.APIConnectionError):
        cause = error.__cause__
        status = type(cause).__name__ if cause is not None else "no connection"
        why = f"{status}: {one_line(str(cause))}" if cause is not None else status
        return CallError(f"the connection failed ({why})", status, True, free=free)
    response = error.response
    number: int = response.status_code
    told = _told(response.text)
    return CallError(
        f"HTTP {number}: {told.message}",
        number,
        transient(number, told.code),
        retry_after(response.headers),
        _request_id(response.headers),
        told.code,
        free=True,
        parameter=told.parameter,
    )


def hopeless(name: str, error: CallError) -> ModelError:
    """Return the error for what every later call would meet as well."""
    return ModelError(f"{name}: {error}")


def transient(status: int, code: str) -> bool:
    """Return whether a later call may succeed."""
    return (status in (408, 409, 429) or status >= 500) and code not in _SPENT


def _status_of(code: str) -> int:
    """The HTTP status that belongs to the code of an error. 200 for a code that says nothing."""
    if re.fullmatch(r"[45]\d\d", code, re.ASCII):
        return int(code)
    return _STATUS_OF.get(code.lower(), 200)


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-request-id") or headers.get("request-id")


def _told(text: str) -> _Told:
    """What an error body in any of the usual shapes says."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return _Told(one_line(text) or "empty body")
    if isinstance(body, list) and len(body) == 1:  # Google's gateways send a list of one
        body = body[0]
    return _told_of(body.get("error") or body if isinstance(body, dict) else body)


def _told_of(error: object) -> _Told:
    if not isinstance(error, Mapping):
        return _Told(one_line(str(error)))
    inner = error.get("error")
    if isinstance(inner, Mapping):  # an error object that holds another, as Anthropic's
        return _told_of(inner)
    message = error.get("message") or error.get("detail") or error.get("msg") or json.dumps(error, default=str)
    code = str(error.get("code") or error.get("type") or "")
    deeper = error.get("innererror")
    if isinstance(deeper, Mapping) and deeper.get("code") in FILTERED:
        code = str(deeper["code"])
    data = error.get("metadata")
    if isinstance(data, Mapping) and data.get("reasons") and "flagged_input" in data:  # a router's moderation
        code = "moderation"
    parameter = error.get("param")
    return _Told(one_line(str(message)), code, parameter if isinstance(parameter, str) else "")


def one_line(text: str, most: int = 300) -> str:
    """A text without markup, on one line and not too long."""
    line = redact(" ".join(re.sub(r"<[^>]*>", " ", text).split()))  # before a secret is cut in two
    return line if len(line) <= most else line[:most] + "…"
