"""What nobody foresaw ends with an exit code of its own, in one line that says where the traceback is."""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ffprompt._util.crash import leaf
from ffprompt._util.secrets import HIDDEN
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.base import Failure, Message, Request
from ffprompt.backends.registry import open_backend
from ffprompt.cli import batch, compare, gate, prompts, report, run, sample, train, trend
from ffprompt.cli.main import main
from ffprompt.comparison import gate_report
from ffprompt.config.run_config import make
from ffprompt.errors import ConfigError, ModelError, RunFailedError
from ffprompt.evaluation import worker as asking
from ffprompt.evaluation.batch_runner import Batching
from ffprompt.reference.networks.architectures import configure
from ffprompt.reference.training import run as session
from ffprompt.reference.training.config import Training
from ffprompt.reference.training.data import Mixture
from ffprompt.reference.training.plan import Plan
from ffprompt.reference.training.sweep import Job, work
from ffprompt.runs.folder import RunFolder
from tests.conftest import only_run
from tests.support.faulty_server import KEY, FaultyServer


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))


class Panic(BaseException):
    """What some libraries raise."""


def breaking(error: BaseException) -> Callable[..., Any]:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    return broken


def api(server: FaultyServer, out: Path, *more: str) -> list[str]:
    return [
        "run", "--backend", "openai", "--model", "a-model", "--base-url", server.v1, "--template", "game", "--out",
        str(out), "--elicitation", "list", "--length", "12", "--trials", "8", "--no-report", *more,
    ]  # fmt: skip


SCRIPTED = ["run", "--backend", "scripted", "--model", "oracle", "--trials", "2", "--length", "12"]


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The one line on standard error, and the traceback that it names."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    found = re.search(r"the traceback is in (\S+?\.txt)", line)
    assert found, line
    return line, Path(found[1]).read_text(encoding="utf-8")


def expect_a_traceback(words: list[str], error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 4
    line, text = told(capsys)
    assert line.startswith(f"ffprompt: internal error: {type(leaf(error)).__name__}")
    assert "Traceback" in text and "broken" in text and f"command: {words}" in text


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        RecursionError(),
        MemoryError(),
        AssertionError(),
        UnicodeEncodeError("ascii", "\ud83d", 0, 1, "no"),
        ExceptionGroup("many", [ConfigError("on purpose"), ExceptionGroup("inner", [ZeroDivisionError("by 0")])]),
        OSError("without a number"),
        SystemExit(1),
        SystemExit("words of a library"),
        Panic("no Exception, as those of Rust"),
        asyncio.CancelledError(),
        BaseExceptionGroup("many", [Panic("in a group")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_is_raised_ends_with_4_and_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException
) -> None:
    monkeypatch.setattr(run, "make_plan", breaking(error))
    expect_a_traceback(SCRIPTED, error, capsys)


@pytest.mark.parametrize(
    ("where", "name", "words"),
    [
        (run, "load_suite", ["run", "--suite", "quick"]),
        (prompts, "execute", ["prompts", "list"]),
        (sample.datasets, "write", ["sample", "--out", "x.jsonl"]),
        (compare, "compared", ["compare", "a", "b"]),
        (gate, "_cells", ["gate", "--candidate", "a", "--baseline", "b/", "--margin", "0.1"]),
        (trend, "over_time", ["trend", "results"]),
        (report, "execute", ["report", "x"]),
        (batch, "opened", ["batch", "status", "x"]),
        (train, "configure", ["train", "lstm"]),
        (argparse.ArgumentParser, "parse_known_args", ["run"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wherever_it_is_raised(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: Any, name: str, words: list[str]
) -> None:
    error = KeyError("x")
    monkeypatch.setattr(where, name, breaking(error))
    expect_a_traceback(words, error, capsys)


def test_a_group_of_errors_that_were_raised_on_purpose_is_the_first_of_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "make_plan", breaking(ExceptionGroup("many", [RunFailedError("stopped")])))
    assert main(SCRIPTED) == 3
    assert capsys.readouterr().err.splitlines()[-1] == "ffprompt: error: stopped"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_full_or_closed_disk_is_no_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    monkeypatch.setattr(run, "make_plan", breaking(OSError(number, os.strerror(number), "/some/file")))
    assert main(SCRIPTED) == 2
    assert "/some/file" in capsys.readouterr().err


def test_without_a_place_for_a_file_the_traceback_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "make_plan", breaking(KeyError("x")))
    monkeypatch.setattr(tempfile, "mkstemp", breaking(OSError(errno.EROFS, "read-only")))
    assert main(SCRIPTED) == 4
    assert "Traceback" in capsys.readouterr().err


def test_a_defect_in_a_run_keeps_every_answer_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    genuine = asking.log_line

    def broken(plan: Any, batch: Any, row: int, *rest: Any) -> dict[str, Any]:
        if row == 5:
            raise KeyError(f"with the key {KEY}")
        return genuine(plan, batch, row, *rest)

    with FaultyServer() as server:
        with monkeypatch.context() as patch:
            patch.setattr(asking, "log_line", broken)
            assert main(api(server, tmp_path, "--max-concurrency", "1")) == 4
        line, text = told(capsys)
        assert "go on with --resume" in line
        assert KEY not in line + text and HIDDEN in text
        folder = only_run(tmp_path)
        assert RunFolder.open(folder).info.status == "failed"
        assert len((folder / "trials.jsonl").read_text().splitlines()) == 5
        assert main(api(server, tmp_path, "--resume")) == 0
        assert len(server.posted) == 6 + 3


def test_a_defect_in_a_batch_is_told_and_the_run_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Batching, "submit", breaking(KeyError("x")))
    with FaultyServer() as server:
        assert main([*api(server, tmp_path), "--batch"]) == 4
    told(capsys)
    assert RunFolder.open(only_run(tmp_path)).info.status == "failed"


@pytest.mark.parametrize("writer", ["to_json", "to_junit", "to_markdown"])
def test_a_gate_whose_files_cannot_be_made_is_no_regression(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], writer: str
) -> None:
    run = [*SCRIPTED, "--trials", "40", "--out", str(tmp_path), "--no-report"]
    assert main(run) == 0
    folder = str(only_run(tmp_path))
    monkeypatch.setattr(gate_report, writer, breaking(TypeError("x")))
    flag = f"--{writer.removeprefix('to_')}"
    gate = ["gate", "--candidate", folder, "--baseline", folder, "--margin", "0.5", flag, str(tmp_path / "file")]
    assert main(gate) == 4
    told(capsys)


def test_a_defect_in_a_training_of_a_sweep_names_its_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "run", breaking(KeyError("x")))
    config = configure("lstm", {"layers": 1, "width": 8})
    training = Training(data=Mixture.parse("FFL(0.8)", 16, 2), model_seed=0, data_seed=0, steps=1)
    job = Job(tmp_path / "cell", config, training, Plan())
    (why,) = work([job], 1, lambda *_: None).values()
    assert why is not None and why.startswith("internal error: KeyError")
    assert "Traceback" in Path(why.rpartition(" ")[2]).read_text()


class Clock:
    """Nobody waits."""

    async def __call__(self, _: float) -> None:
        return


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks://127.0.0.1:7890/"),
        ("HTTPS_PROXY", "socks4://127.0.0.1:1"),
        ("https_proxy", "http://host:port"),
        ("HTTP_PROXY", "http://[::1"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", __file__),
        ("{}_CUSTOM_HEADERS", "X-A: é"),
    ],
)
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_an_environment_that_no_client_can_be_made_in_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, backend: str
) -> None:
    variable = variable.format(backend.upper())
    monkeypatch.setenv(variable, value)
    with pytest.raises(ModelError) as found:
        open_backend(make({"backend": backend, "model": "m", "base_url": "http://127.0.0.1:9"}))
    assert variable in str(found.value) and "unset it" in str(found.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1", "ftp://host/v1", "localhost:8000", "http://ho st/v1", "http://host:99999/v1", "http:///v1",
        "host.example/v1", "http://host:abc/v1", "http://a..b/v1", "//host/v1", "http://host/v1\n", "http://host:0/v1",
        "http://host/v1?a=1&a=2", "nonsense", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", ["openai", "anthropic"])
def test_a_base_url_that_is_no_address_is_one_line(url: str, backend: str) -> None:
    with pytest.raises((ModelError, ConfigError), match=r"base.(URL|url)"):
        open_backend(make({"backend": backend, "model": "m", "base_url": url}))


def asked(server: FaultyServer, **replaced: Any) -> Any:
    """What one call comes to, with methods of the backend replaced."""
    backend = open_backend(make({"backend": "openai", "model": "m", "base_url": server.v1}))
    assert isinstance(backend, OpenAIBackend)
    backend.caller.sleep = Clock()
    for name, method in replaced.items():
        setattr(backend, name, method)

    async def ask() -> Any:
        try:
            return await backend.ask(Request("key", "", (Message("user", "r?"),)))
        finally:
            await backend.aclose()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "answer",
    ["[" * 100_000, '{"choices": ' + "9" * 5000 + "}", '{"choices": [{"message": 1e999}]}'],
    ids=["deep", "long number", "no message"],
)
def test_an_answer_that_no_library_can_read_is_an_error_of_its_call(answer: str) -> None:
    class Odd(FaultyServer):
        async def _answer(self, writer: asyncio.StreamWriter, *_: Any) -> bool:
            return await self._send(writer, 200, answer)

    with Odd() as server:
        assert isinstance(asked(server), Failure)


def test_a_payload_that_cannot_be_sent_is_an_error_of_its_call() -> None:
    odd = {"model": "m", "messages": [{"role": "user", "content": "\ud83d"}], "max_tokens": 5}
    with FaultyServer() as server:
        found = asked(server, payload=lambda _: odd)
    assert isinstance(found, Failure) and "UnicodeEncodeError" in found.error


def test_the_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "4 a defect of ffprompt" in " ".join(capsys.readouterr().out.split())
