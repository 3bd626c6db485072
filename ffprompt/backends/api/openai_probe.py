"""What an OpenAI-compatible server is and can do, asked before a run begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from time import sleep
from typing import TYPE_CHECKING, Any

from ffprompt._util.secrets import shown_url, split_base_url
from ffprompt.backends.api.call_errors import CallError, as_call_error, hopeless, read_reply
from ffprompt.backends.api.echo import Token, echoed
from ffprompt.backends.api.echo_checks import PLAIN_PROBE, PROBE, doubt
from ffprompt.backends.api.model_retirement import announced
from ffprompt.backends.api.openai_payloads import MOST_SHOWN, PayloadSettings, completions_payload
from ffprompt.backends.api.payloads import JsonObject
from ffprompt.backends.api.probe import other_url, refusal, speaks, wait_until_ready, web_page
from ffprompt.backends.api.servers import NOT_HERE
from ffprompt.backends.api.transport import http_library
from ffprompt.backends.base import Message, Request
from ffprompt.errors import ModelError

if TYPE_CHECKING:
    from ffprompt.backends.api.openai import OpenAIBackend

CHATS = "chat APIs give none for a prompt; --api completions may, where the server has it"
_QUESTION = "1 0 1 1 0 1"


class OpenAIProbe:
    """Looks at a server of a backend through one blocking client of its SDK. Waits are spent in ``pause``.

    ``address`` is where the client asks, if that is not the backend's own base URL.
    """

    def __init__(
        self,
        backend: OpenAIBackend,
        client: Any,
        pause: Callable[[float], None] | None = None,
        address: str | None = None,
    ) -> None:
        self.backend, self.client, self.sdk = backend, client, backend.sdk
        self.name = (
            backend.name if address is None else f"openai model {backend.settings.model} at {shown_url(address)}"
        )
        address = address or backend.base_url
        self.url = split_base_url(address)[0] if address else ""
        self.pause = pause or sleep

    def look(self) -> str:
        """Why the server does not score prompts. Empty where it does.

        Raises:
            ModelError: the server cannot be asked.
        """
        backend, found = self.backend, self.reach()
        backend.ends = None if found is None else announced(found, backend.settings.model)
        return self.unscored() if backend.api == "completions" else CHATS

    def reach(self) -> Any | None:
        """The server's list of models. None where it has none.

        Raises:
            ModelError: the server cannot be asked.
        """
        try:
            found = self._models(self.client.with_options(max_retries=0))
        except self.sdk.APIError:
            if self.url:
                wait_until_ready(self.name, self._loading, self.pause)
            found = self._patiently()
        if self.url and found is not None and not (speaks(found) and not refusal(found)):
            self._doubt(found)
        return found

    def must_answer(self) -> None:
        """Ask a server without a list of models a question. Raises ModelError where no API is there to answer it."""
        try:
            self._post(self.backend.payload(self._question()), self.client.with_options(max_retries=0))
        except self.sdk.APIStatusError as error:
            if error.status_code in NOT_HERE:
                raise hopeless(self.name, self.backend.call_error(error)) from None
        except CallError as error:
            raise hopeless(self.name, error) from None
        except self.sdk.APIError:
            return  # it is left out as soon as it is asked

    def _models(self, client: Any) -> Any:
        """The HTTP response to the question for models."""
        models = client.models.with_raw_response
        return (models.list() if self.backend.base_url else models.retrieve(self.backend.settings.model)).http_response

    def _patiently(self) -> Any | None:
        """The same, tried again where that may help. None where the server has no such list."""
        try:
            return self._models(self.client)
        except self.sdk.APIError as error:
            self._judge(error)
            return None

    def _loading(self) -> str:
        """What a server says that is still loading its model, which answers everything with 503. Empty for others."""
        client = self.client.with_options(max_retries=0)
        try:
            self._models(client)
        except self.sdk.APIStatusError as error:
            if error.status_code != 503:
                return ""
        except self.sdk.APIError:
            return ""
        else:
            return ""
        try:
            self._post(self.backend.payload(self._question()), client)
        except self.sdk.APIStatusError as error:
            return str(self.backend.call_error(error)) if error.status_code == 503 else ""
        except (self.sdk.APIError, CallError):
            return ""
        return ""

    def _doubt(self, found: Any) -> None:
        """Raise ModelError for a list of models that is none, unless questions are answered there all the same."""
        told = refusal(found) if speaks(found) else ""
        hint = other_url(self.sdk, self.client, self.url)
        if told and (hint or not self._replies()):
            raise ModelError(f"{self.name}: no API is at this base URL (HTTP 200 with an error: {told}){hint}")
        if not told and not self._replies():
            raise web_page(self.name, found, hint)

    def _judge(self, error: Any) -> None:
        """What it means that there is no list of models. Raises ModelError where nothing will be answered."""
        backend, found = self.backend, as_call_error(self.sdk, error)
        if self.url and found.status == 404 and (hint := other_url(self.sdk, self.client, self.url)):
            raise ModelError(f"{self.name}: no API is at this base URL ({found}){hint}") from None
        backend.give_up_if_hopeless(error, bool(self.url), self.name)

    def _question(self) -> Request:
        """A question of a few words."""
        turns = () if self.backend.api == "completions" else (Message("user", _QUESTION),)
        return Request("probe", "" if turns else _QUESTION, turns, max_tokens=1)

    def _replies(self) -> bool:
        """Whether a question brings an answer. Asked only where the list of models looks wrong."""
        try:
            self._post(self.backend.payload(self._question()), self.client)
        except (self.sdk.APIError, CallError):
            return False
        return True

    def unscored(self) -> str:
        """Why an echo of a prompt does not spell it with log-probabilities. OpenAI's own limit of five is tried too."""
        backend, given, why = self.backend, self.backend.reply_settings.top_logprobs, ""
        for most in [given] if given else [MOST_SHOWN, 5]:
            settings = dataclasses.replace(backend.settings, top_logprobs=most)
            try:
                tokens = self._echo(settings)
            except self.sdk.APIStatusError as error:
                found = self.backend.call_error(error)
                if error.status_code in (401, 402, 403, 404):
                    raise hopeless(self.name, found) from None
                insisted = f" and --top-logprobs {most}" if given else ""
                why = f"the server refuses echo with logprobs{insisted}: {found}"
                continue
            except (self.sdk.APIConnectionError, CallError, ValueError) as error:
                return str(self.backend.call_error(error) if isinstance(error, self.sdk.APIError) else error)
            except (LookupError, TypeError, AttributeError) as error:
                return f"the echo has an unknown shape ({type(error).__name__})"
            backend.settings = settings
            return doubt(tokens, most, given)
        return why

    def echo(self) -> list[Token]:
        """Return the echo of a sentence or of digits, as the backend asks for it. Empty where there is none."""
        try:
            return self._echo(self.backend.settings) if self.backend.api == "completions" else []
        except (self.sdk.APIError, CallError, ValueError, LookupError, TypeError, AttributeError):
            return []

    def _echo(self, settings: PayloadSettings) -> list[Token]:
        """The echo of a sentence or, where a model has no tokens for one, of digits. Raises ValueError for neither."""
        try:
            return self._echo_of(settings, PROBE)
        except ValueError as error:
            try:
                return self._echo_of(settings, PLAIN_PROBE)
            except ValueError:
                raise error from None

    def _echo_of(self, settings: PayloadSettings, text: str) -> list[Token]:
        payload = completions_payload(settings, Request("probe", text, reads=((0, 1),)))
        return echoed(self._post(payload, self.client), text)

    def _post(self, payload: JsonObject, client: Any) -> JsonObject:
        kind = http_library(self.sdk).Response
        return read_reply(client.post(self.backend.path, cast_to=kind, body=payload)).body
