"""What every backend owes to whoever asks it, whatever model is behind it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ffprompt.backends.base import Backend, Failure, Message, Reply, Request, Scores
from ffprompt.backends.registry import backend_spec, open_backend
from ffprompt.config.run_config import make
from ffprompt.errors import ModelError
from tests.support import tiny
from tests.support.odd_server import OddServer, echoes, prompt_of, replies

# An engine in this process starts in seconds where one in its own takes twenty.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

REFUSED = "no answer to this one"
STRINGS = ("10110", "00101", "11010", "01101", "10001")


@dataclass(frozen=True)
class Case:
    """A backend to hold to the contract: the settings that open it, and how it is brought to fail.

    ``wide`` are the settings that open a model of more than two symbols.
    """

    settings: dict[str, Any]
    fail: Callable[[Backend], object] = lambda backend: None
    failing: dict[str, Any] = field(default_factory=dict)
    wide: dict[str, Any] = field(default_factory=dict)
    chat: bool = False
    dry: dict[str, Any] = field(default_factory=dict)

    def open(self, weights: bool = True, **more: Any) -> Backend:
        return open_backend(make(self.settings | more), weights)


def scripted(folder: Path) -> Iterator[Case]:
    yield Case({"backend": "scripted", "model": "glitch-0.5"}, failing={"model": "failing"})


def reference(folder: Path) -> Iterator[Case]:
    from ffprompt.reference.checkpoints import checkpoint
    from ffprompt.reference.networks.lstm import LSTMConfig
    from ffprompt.reference.training.config import Training
    from ffprompt.reference.training.data import Mixture
    from ffprompt.reference.training.loop import train
    from ffprompt.tasks.flipflop import Spec

    data = Mixture.of(Spec.ffl(0.8, 8, 3))
    made = train(LSTMConfig(3, 8, 8), Training(data, model_seed=0, data_seed=0, steps=1, batch=1))
    checkpoint.save(folder / "wide.safetensors", made.model, made.training, made.loss)

    def spoil(backend: Any) -> None:
        backend._model.head.weight.data[:] = float("nan")

    yield Case({"backend": "reference", "model": "lstm"}, spoil, wide={"model": str(folder / "wide.safetensors")})


def transformers(folder: Path) -> Iterator[Case]:
    def spoil(backend: Any) -> None:
        backend.model.get_input_embeddings().weight.data[:] = float("nan")

    model = tiny.make(folder / "model", "llama")
    yield Case(
        {"backend": "transformers", "model": str(model), "device": "cpu"}, spoil, dry={"model": without_weights(model)}
    )


def vllm(folder: Path) -> Iterator[Case]:
    from safetensors.torch import load_file, save_file

    model = tiny.make(folder / "model", "llama", heads=2)
    spoilt = folder / "spoilt"
    shutil.copytree(model, spoilt)
    tensors = load_file(spoilt / "model.safetensors")
    save_file({name: tensor * float("nan") for name, tensor in tensors.items()}, spoilt / "model.safetensors")
    settings = {"backend": "vllm", "model": str(model), "max_model_len": 256, "elicitation": ["forced", "next"]}
    yield Case(settings, failing={"model": str(spoilt)}, dry={"model": without_weights(model)})


def without_weights(model: Path) -> str:
    """A copy of a model's folder that has no weights in it."""
    copy = model.with_name("without-weights")
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    return str(copy)


def answered(path: str, body: Any) -> Any:
    """Reply with a number that is made of the prompt and the seed, the later requests sooner than the earlier ones."""
    prompt = prompt_of(body)
    if REFUSED in prompt:
        return 400, {"error": {"message": "the prompt is not to the server's liking", "type": "invalid_request_error"}}
    if body.get("echo"):
        return echoes()(path, body)
    number = zlib.crc32(f"{prompt} {body.get('seed')}".encode()) % 10_000
    time.sleep(number % 4 / 50)
    return replies(f"number {number}")(path, body)


def behind_an_api(backend: str, **settings: Any) -> Callable[[Path], Iterator[Case]]:
    """A case that asks a server on this machine."""

    def case(folder: Path) -> Iterator[Case]:
        with OddServer(answered) as server, socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))  # and does not listen
            at = server.url if backend == "anthropic" else server.v1
            given = {"backend": backend, "model": "m", "base_url": at, **settings}
            chat = settings.get("api") != "completions"
            yield Case(given, chat=chat, dry={"base_url": f"http://127.0.0.1:{closed.getsockname()[1]}/v1"})

    return case


CASES = {
    "scripted": scripted,
    "reference": reference,
    "transformers": transformers,
    "vllm": vllm,
    "openai-chat": behind_an_api("openai"),
    "openai-responses": behind_an_api("openai", api="responses"),
    "openai-completions": behind_an_api("openai", api="completions"),
    "anthropic": behind_an_api("anthropic"),
}


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.vllm if name == "vllm" else ()) for name in CASES]
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    with pytest.MonkeyPatch.context() as patch:
        for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
            patch.delenv(variable, raising=False)
        yield from CASES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def backend(case: Case) -> Iterator[Backend]:
    opened = case.open()
    yield opened
    opened.close()


def forced(string: str, symbols: int = 2, key: str = "k") -> Request:
    """A string with two reads whose answers are to be scored: w, i, r, i, r with these symbols."""
    text = " ".join(f"{letter} {symbol}" for letter, symbol in zip("wirir", string, strict=True))
    answer = int(string[0])
    return Request(
        key,
        text,
        reads=((10, 11), (18, 19)),
        surfaces=tuple(map(str, range(symbols))),
        hints={"oracle": (answer, answer)},
    )


def asked(case: Case, string: str, text: str = "", **more: Any) -> Request:
    """A string up to its read, which the model is to write."""
    prompt = text or f"w {string[0]} i {string[1]} w {string[2]} i {string[3]} r"
    messages = (Message("user", prompt),) if case.chat else ()
    given: dict[str, Any] = {"max_tokens": 6, "surfaces": ("0", "1"), "hints": {"oracle": (int(string[2]),)}}
    return Request("k", "" if case.chat else prompt, messages, **(given | more))


def texts(responses: Sequence[Reply | Failure]) -> list[str]:
    assert all(isinstance(response, Reply) for response in responses), responses
    return [response.text for response in responses if isinstance(response, Reply)]


def scores(responses: Sequence[Scores | Failure]) -> list[Scores]:
    assert all(isinstance(response, Scores) for response in responses), responses
    return [response for response in responses if isinstance(response, Scores)]


def test_replies_come_in_order_whatever_the_batch(case: Case, backend: Backend) -> None:
    requests = [asked(case, string, seed=number) for number, string in enumerate(STRINGS)]
    together = texts(asyncio.run(backend.complete(requests)))
    alone = [texts(asyncio.run(backend.complete([request])))[0] for request in requests]
    assert together == alone
    assert texts(asyncio.run(backend.complete(requests[::-1]))) == alone[::-1]
    assert len(set(together)) > 1  # else no order would show


def test_a_sampled_reply_belongs_to_its_seed_and_not_to_its_batch(case: Case, backend: Backend) -> None:
    requests = [asked(case, STRINGS[0], seed=seed, temperature=2.0) for seed in range(12)]
    together = texts(asyncio.run(backend.complete(requests)))
    assert texts(asyncio.run(backend.complete(requests[7:4:-1]))) == together[7:4:-1]
    if case.settings["backend"] != "anthropic" and case.settings.get("api") != "responses":  # which take no seed
        assert len(set(together)) > 1


def test_a_reply_says_how_it_ended(case: Case, backend: Backend) -> None:
    (reply,) = asyncio.run(backend.complete([asked(case, STRINGS[0])]))
    assert isinstance(reply, Reply)
    assert reply.stop in ("stop", "length")
    assert all(count is None or count >= 0 for count in (reply.prompt_tokens, reply.reply_tokens))


def test_scores_have_a_row_per_read_and_a_column_per_symbol(case: Case, backend: Backend) -> None:
    if not backend.capabilities.scores:
        pytest.skip("it gives no log-probabilities")
    requests = [forced(string, key=string) for string in STRINGS]
    together = scores(asyncio.run(backend.score(requests)))
    for found, request in zip(together, requests, strict=True):
        assert (found.answers.shape, found.answers.dtype) == ((2, 2), np.float64)
        assert (found.argmax.shape, found.argmax.dtype) == ((2,), np.int64)
        assert (found.argmax_symbol.shape, found.argmax_symbol.dtype) == ((2,), np.int64)
        assert set(found.argmax_symbol.tolist()) <= {-1, 0, 1}
        assert (np.exp(found.answers).sum(axis=1) <= 1 + 1e-6).all()
        (alone,) = scores(asyncio.run(backend.score([request])))
        np.testing.assert_allclose(alone.answers, found.answers, atol=1e-4)
    backwards = scores(asyncio.run(backend.score(requests[::-1])))
    for found, other in zip(together, backwards[::-1], strict=True):
        np.testing.assert_allclose(other.answers, found.answers, atol=1e-4)
    assert len({found.answers.round(6).tobytes() for found in together}) > 1  # else no order would show


def test_more_than_two_symbols(case: Case) -> None:
    backend = case.open(**case.wide)
    if not backend.capabilities.scores:
        pytest.skip("it gives no log-probabilities")
    (found,) = scores(asyncio.run(backend.score([forced("20112", symbols=3)])))
    backend.close()
    assert found.answers.shape == (2, 3)
    assert (np.exp(found.answers).sum(axis=1) <= 1 + 1e-6).all()
    assert set(found.argmax_symbol.tolist()) <= {-1, 0, 1, 2}
    assert all(read in (0, 1) and symbol in (0, 1, 2) for read, symbol in found.bounds)


def test_what_it_cannot_do_is_refused_in_one_line(case: Case, backend: Backend) -> None:
    can = backend.capabilities
    text, chat = asked(replace(case, chat=False), STRINGS[0]), asked(replace(case, chat=True), STRINGS[0])
    lacks: list[Callable[[], object]] = []
    if not can.scores:
        lacks.append(lambda: asyncio.run(backend.score([forced(STRINGS[0])])))
    if not can.completes:
        lacks.append(lambda: backend.check([text]))
    if not can.chats:
        lacks.append(lambda: backend.check([chat]))
    for attempt in lacks:
        with pytest.raises(ModelError) as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert re.search("--(elicitation|form|template|api)", str(caught.value))  # it names the cure
    assert lacks or case.settings["backend"] == "scripted"


def test_a_failed_request_is_a_failure_and_no_exception(case: Case) -> None:
    backend = case.open(**case.failing)
    case.fail(backend)
    requests = [asked(case, STRINGS[0]), asked(case, STRINGS[1]), asked(case, STRINGS[2])]
    behind_a_server = "base_url" in case.settings
    if behind_a_server:
        requests[1] = asked(case, STRINGS[1], REFUSED)
    responses = asyncio.run(backend.complete(requests))
    failed = [isinstance(response, Failure) for response in responses]
    assert failed == ([False, True, False] if behind_a_server else [True] * 3)
    assert all(response.error for response in responses if isinstance(response, Failure))
    if backend.capabilities.scores:
        question = forced(STRINGS[0])
        if behind_a_server:
            start = len(REFUSED) + 1
            reads = tuple((low + start, high + start) for low, high in question.reads)
            question = replace(question, text=f"{REFUSED} {question.text}", reads=reads)
        (answer,) = asyncio.run(backend.score([question]))
        assert isinstance(answer, Failure)
    backend.close()


def test_its_identity_is_json_and_names_backend_and_model(case: Case, backend: Backend) -> None:
    identity = backend.identity.to_json()
    assert json.loads(json.dumps(identity, allow_nan=False)) == identity
    assert identity["backend"] == case.settings["backend"] == backend_spec(identity["backend"]).name
    assert identity["model"] and isinstance(identity["model"], str)
    assert backend.chunk >= 1


def test_a_check_is_json(case: Case, backend: Backend) -> None:
    found = dict(backend.check([asked(case, string) for string in STRINGS]))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_dry_run_needs_neither_weights_nor_a_key_nor_a_server(case: Case, backend: Backend) -> None:
    dry = case.open(weights=False, **case.dry)
    requests = [asked(case, string) for string in STRINGS]
    assert dry.check(requests) == backend.check(requests)
    assert dry.identity.to_json().keys() == backend.identity.to_json().keys()
    dry.close()


def test_closing_twice_does_no_harm(case: Case) -> None:
    backend = case.open()
    backend.close()
    backend.close()
