"""What an OpenAI-compatible server is and can do, asked before a run begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ffprompt.backends.call_errors import CallError, as_call_error, hopeless, read_answer
from ffprompt.backends.echo import echoed
from ffprompt.backends.keys import split_base_url
from ffprompt.backends.payloads import MOST_SHOWN, completions_payload
from ffprompt.backends.probe import doubt, other_url, speaks, web_page
from ffprompt.backends.wire import library
from ffprompt.errors import ModelError
from ffprompt.requests import Message, Request

if TYPE_CHECKING:
    from ffprompt.backends.openai import OpenAIBackend

CHATS = "chat APIs give none for a prompt; --api completions may, where the server has it"
_PROBE = "1 0 1 1 0 1 0 0 1 0"


class OpenAIProbe:
    """Looks at the server of a backend through one blocking client of its SDK."""

    def __init__(self, backend: OpenAIBackend, client: Any) -> None:
        self.backend, self.client, self.sdk = backend, client, backend.sdk
        self.url = split_base_url(backend.base_url)[0] if backend.base_url else ""

    def look(self) -> str:
        """Why the server does not score prompts; empty where it does. Raises ModelError where it cannot be asked."""
        backend = self.backend
        try:
            models = self.client.models.with_raw_response
            found = (models.list() if backend.base_url else models.retrieve(backend.asking.model)).http_response
            if backend.base_url and not speaks(found) and not self._replies():
                raise web_page(
                    backend.name, found, other_url(self.sdk, self.client, split_base_url(backend.base_url)[0])
                )
        except self.sdk.APIError as error:
            self._judge(error)
        return self._unscored() if backend.api == "completions" else CHATS

    def _judge(self, error: Any) -> None:
        """What it means that there is no list of models. Raises ModelError where nothing will be answered."""
        backend, found = self.backend, as_call_error(self.sdk, error)
        if self.url and found.status == 404 and (hint := other_url(self.sdk, self.client, self.url)):
            raise ModelError(f"{backend.name}: no API is at this base URL ({found}){hint}") from None
        unknown = found.status == 404 and not self.url
        if found.status == 401 or unknown or not isinstance(error, self.sdk.APIStatusError):
            raise hopeless(backend.name, found) from None

    def _replies(self) -> bool:
        """Whether a question brings an answer; asked only where the list of models looks wrong."""
        turns = () if self.backend.api == "completions" else (Message("user", _PROBE),)
        request = Request("probe", "" if turns else _PROBE, turns, max_tokens=1)
        try:
            self._post(self.backend.payload(request))
        except (self.sdk.APIError, CallError):
            return False
        return True

    def _unscored(self) -> str:
        """Why an echo of a prompt does not spell it with log-probabilities; OpenAI's own limit of five is tried too."""
        backend, given, why = self.backend, self.backend.top_logprobs, ""
        for most in [given] if given else [MOST_SHOWN, 5]:
            asking = dataclasses.replace(backend.asking, top_logprobs=most)
            try:
                tokens = echoed(
                    self._post(completions_payload(asking, Request("probe", _PROBE, reads=((0, 1),)))), _PROBE
                )
            except self.sdk.APIStatusError as error:
                found = as_call_error(self.sdk, error)
                if error.status_code in (401, 402, 403, 404):
                    raise hopeless(backend.name, found) from None
                insisted = f" and --top-logprobs {most}" if given else ""
                why = f"the server refuses echo with logprobs{insisted}: {found}"
                continue
            except (self.sdk.APIConnectionError, CallError, ValueError) as error:
                return str(as_call_error(self.sdk, error) if isinstance(error, self.sdk.APIError) else error)
            except (LookupError, TypeError, AttributeError) as error:
                return f"the echo has an unknown shape ({type(error).__name__})"
            backend.asking = asking
            return doubt(tokens, given)
        return why

    def _post(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        kind = library(self.sdk).Response
        return read_answer(self.client.post(self.backend.path, cast_to=kind, body=payload)).body
