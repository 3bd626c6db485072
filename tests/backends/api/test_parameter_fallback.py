"""What a model does not take is learnt from its first refusal, and kept for the run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from ffprompt.backends.api.call_errors import CallError
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.api.parameter_fallback import SYSTEM, LearnedParameters
from ffprompt.backends.base import Failure, Message, Reply, Request
from ffprompt.cli.main import main
from ffprompt.errors import RunFailedError
from tests.conftest import only_run
from tests.support.faulty_server import FaultyServer

SENT = {"model": "m", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]}
SENT |= {"max_tokens": 9, "temperature": 0.0, "seed": 1, "stop": ["\n"], "stream": False}


def refusal(text: str, parameter: str = "", status: int = 400, code: str = "") -> CallError:
    return CallError(f"HTTP {status}: {text}", status, False, code=code, parameter=parameter)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("gpt-6-sol doesn't support temperature=0.0 while reasoning is active", "temperature"),
        ("Unsupported value: 'temperature' does not support 0 with this model.", "temperature"),
        ("Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("anthropic does not support parameters: ['seed']", "seed"),
        ("property 'seed' is unsupported", "seed"),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', "seed"),
        ('[{"type": "extra_forbidden", "loc": ["body", "stop"], "msg": "Extra inputs are not permitted"}]', "stop"),
        ("System role not supported", SYSTEM),
        ("Developer instruction is not enabled for models/gemma-3", SYSTEM),
        ("max_tokens=33056 cannot be greater than max_model_len=2048", None),
        ("This model's maximum context length is 4097 tokens", None),
        ("the model 'm' does not exist", None),
        ("unknown model", None),
    ],
)
def test_what_a_refusal_is_about(text: str, name: str | None) -> None:
    assert LearnedParameters().learn(refusal(text), SENT, frozenset()) == name


def test_a_named_parameter_counts_without_a_word_of_refusal() -> None:
    learned = LearnedParameters()
    assert learned.learn(refusal("no", "seed", code="unsupported_parameter"), SENT, frozenset()) == "seed"
    assert "seed" not in learned.apply(SENT)


def test_other_statuses_and_what_a_user_insists_on_teach_nothing() -> None:
    text = "temperature is not supported"
    assert LearnedParameters().learn(refusal(text, status=404), SENT, frozenset()) is None
    assert LearnedParameters().learn(refusal(text), SENT, frozenset({"temperature"})) is None


def test_lessons_change_payloads_and_survive_a_record() -> None:
    learned = LearnedParameters()
    for text in ("'max_tokens' is unsupported", "temperature is not supported"):
        learned.learn(refusal(text), learned.apply(SENT), frozenset())
    expected = {"model": "m", "messages": SENT["messages"], "max_completion_tokens": 9}
    expected |= {"seed": 1, "stop": ["\n"], "stream": False}
    assert learned.apply(SENT) == expected
    assert LearnedParameters.from_json(json.loads(json.dumps(learned.to_json()))).apply(SENT) == expected
    assert learned.sampled
    assert len(learned.describe()) == 2


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_system_message_goes_into_the_first_user_turn_where_the_role_is_refused(api: str) -> None:
    backend = OpenAIBackend("m", api=api, live=False)
    request = Request("k", "", (Message("system", "a"), Message("user", "b")))
    before = backend.payload(request)
    assert backend.learned.learn(refusal("System role not supported"), before, frozenset()) == SYSTEM
    (turn,) = backend.payload(request)["messages" if api == "chat" else "input"]
    assert (turn["role"], turn["content"]) == ("user", "a\n\nb")


class PickyServer(FaultyServer):
    """Refuses what its model does not take, as OpenAI's reasoning models do."""

    def __init__(self, refuses: tuple[str, ...], **settings: Any) -> None:
        super().__init__(**settings)
        self.refuses = refuses

    def _good(self, path: str, body: Any, fault: str) -> dict[str, Any] | None:
        for name in self.refuses:
            if name in body:
                self.refused = name
                return None
        return super()._good(path, body, fault)

    async def _error(self, writer: Any, status: str, headers: Any, detail: str = "") -> bool:
        if status != "400":
            return await super()._error(writer, status, headers, detail)
        message = f"Unsupported parameter: '{self.refused}' is not supported with this model."
        error = {"message": message, "param": self.refused, "code": "unsupported_parameter"}
        return await self._send(writer, 400, json.dumps({"error": error}))


def asked(backend: OpenAIBackend, count: int) -> list[Reply | Failure]:
    turns = (Message("user", "w1 r?"),)

    async def run() -> list[Reply | Failure]:
        try:
            return list(await backend.complete([Request(f"k{n}", "", turns, max_tokens=9) for n in range(count)]))
        finally:
            await backend.aclose()

    return asyncio.run(run())


def test_every_call_gets_its_answer_though_the_first_are_refused() -> None:
    with PickyServer(("temperature", "max_tokens")) as server:
        backend = OpenAIBackend("my-deployment", base_url=server.v1)
        answers = asked(backend, 40)
        sent = server.posted[-1]
    assert all(isinstance(answer, Reply) for answer in answers)
    assert "temperature" not in sent
    assert sent["max_completion_tokens"] > 1000  # a model that refuses max_tokens reasons, and needs room for it
    assert backend.identity.temperature == "the model's own"
    assert set(backend.identity.learned["dropped"]) == {"temperature"}


def test_a_run_that_goes_on_asks_as_its_first_part_did() -> None:
    with PickyServer(("temperature", "max_tokens")) as server:
        first = OpenAIBackend("my-deployment", base_url=server.v1)
        assert isinstance(asked(first, 1)[0], Reply)
        second = OpenAIBackend("my-deployment", base_url=server.v1)
        second.restore_learned(json.loads(json.dumps(first.identity.learned)))
    request = Request("k", "", (Message("user", "w1 r?"),), max_tokens=9)
    assert second.payload(request) == first.payload(request)  # its room for reasoning, too
    assert second.identity == first.identity


def test_a_parameter_that_is_refused_only_later_ends_the_run() -> None:
    with PickyServer(()) as server:
        backend = OpenAIBackend("m", base_url=server.v1)
        assert isinstance(asked(backend, 3)[0], Reply)
        server.refuses = ("temperature",)
        with pytest.raises(RunFailedError, match="3 answers came with temperature, and now it is refused"):
            asked(backend, 1)


def test_a_run_says_what_it_has_learnt_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    words = ["run", "--backend", "openai", "--model", "m", "--template", "game", "--elicitation", "list"]
    words += ["--length", "12", "--trials", "6", "--no-report", "--out", str(tmp_path)]
    with PickyServer(("temperature",)) as server:
        assert main([*words, "--base-url", server.v1]) == 0
    shown = capsys.readouterr().out
    assert "sampled by the model's own settings" in shown
    info = json.loads((only_run(tmp_path) / "run.json").read_text())
    assert info["model"]["temperature"] == "the model's own"
    assert "temperature" in info["model"]["learned"]["dropped"]
    import pandas as pd

    assert pd.read_parquet(only_run(tmp_path) / "reads.parquet").temperature.isna().all()
