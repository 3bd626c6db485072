"""No secret is in anything that a run leaves, whatever the server does with it."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest

from ffprompt._util.crash import named
from ffprompt._util.secrets import (
    HIDDEN,
    redact,
    redacted,
    register_environment,
    register_secret,
    shown_body,
    shown_command,
    shown_headers,
    shown_url,
    split_base_url,
)
from ffprompt.backends.api import call_errors
from ffprompt.backends.api.batch import told_by
from ffprompt.cli import run
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.errors import ModelError
from ffprompt.evaluation import worker as asking
from tests.support.batch_server import BatchServer
from tests.support.faulty_server import FaultyServer

KEY = "zk.Planted-Key/0123+456="
TOKEN = "hf_PlantedTokenAbc123"
PASSWORD = "p@ss/Word:77é"
QUERY = "Q+Secret&Val=9"
SECRETS = (KEY, TOKEN, PASSWORD, QUERY)
both = pytest.mark.parametrize("backend", ["openai", "anthropic"])


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    for variable in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


class Parrot(BatchServer):
    """A server that repeats every secret that it is sent, in every place where it can, and sends callers elsewhere."""

    def __init__(self, **more: Any) -> None:
        super().__init__(reply=f"1, 0 {' '.join(SECRETS)}", **more)

    async def _error(
        self, writer: asyncio.StreamWriter, status: str, headers: Mapping[str, str], detail: str = ""
    ) -> bool:
        said = f"no, {' '.join(forms(SECRETS))} and {dict(headers)} at {self.queries[-1:]}"
        body = {"error": {"message": said, "type": said, "code": None}}
        return await self._send(writer, int(status), json.dumps(body), request_id=KEY)

    async def _answer(
        self,
        writer: asyncio.StreamWriter,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
        fault: str,
        number: int,
    ) -> bool:
        if fault == "redirect":
            more = {"location": f"{self.url}{path}?sig={quote_plus(QUERY)}"}
            return await self._send(writer, 307, json.dumps({"see": KEY}), more=more)
        return await super()._answer(writer, path, body, headers, fault, number)

    def _chat(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        return super()._chat(body, fault) | {"model": f"model of {KEY}"}

    def _message(self, body: Mapping[str, Any], fault: str) -> dict[str, Any]:
        return super()._message(body, fault) | {"model": f"model of {KEY}"}


def forms(secrets: tuple[str, ...]) -> Iterator[str]:
    """Secrets as they are, in URLs, in JSON and in Basic authentication."""
    for secret in secrets:
        yield from {secret, quote(secret, safe=""), quote_plus(secret), quote(secret), json.dumps(secret)[1:-1]}
        yield base64.b64encode(secret.encode()).decode().rstrip("=")
    yield base64.b64encode(f"someone:{PASSWORD}".encode()).decode()


def flags(server: FaultyServer, backend: str, out: Path) -> list[str]:
    user = f"http://someone:{quote(PASSWORD, safe='')}@"
    url = f"{server.v1 if backend == 'openai' else server.url}?sig={quote_plus(QUERY)}&api-version=2024-10-21"
    return [
        "--backend", backend, "--model", "a-model", "--base-url", url.replace("http://", user), "--template", "game",
        "--elicitation", "list", "--length", "12", "--trials", "10", "--max-concurrency", "1", "--out", str(out),
    ]  # fmt: skip


def clean(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> str:
    """What was said and written, all of it without a secret."""
    left = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    shown = capfd.readouterr()
    left |= {"stdout": shown.out.encode(), "stderr": shown.err.encode()}
    for where, content in left.items():
        for secret in forms(SECRETS):
            assert secret.encode() not in content, f"{secret} is in {where}"
    return shown.out + shown.err


@both
def test_a_run_leaves_no_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str], backend: str) -> None:
    faults = iter(["", "400", "redirect", "", "400"])
    with Parrot(faults=faults) as server:
        assert main(["run", *flags(server, backend, tmp_path)]) == 3
        assert all(parse_qs(query)["sig"] == [QUERY] for query in server.queries)
        assert len(server.posted) >= 11  # and a question about prompt tokens
    folder = only_run_of(tmp_path)
    info = json.loads((folder / "run.json").read_bytes())
    for shown in (info["model"]["base_url"], info["config"]["base_url"], *info["command"]):
        assert "someone" not in shown
    assert f"sig={HIDDEN}&api-version=2024-10-21" in info["model"]["base_url"]
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_bytes().splitlines()]
    assert sum(HIDDEN in line.get("reply", "") for line in lines) == 8
    assert sum(HIDDEN in line.get("error", "") for line in lines) == 2
    capfd.readouterr()
    assert main(["score", str(folder)]) == 3
    said = clean(tmp_path, capfd)
    assert "judged differently" not in said  # what was judged is what is kept


def only_run_of(tmp_path: Path) -> Path:
    runs = [path.parent for path in tmp_path.glob("*/run.json")]
    assert len(runs) == 1
    return runs[0]


@both
@pytest.mark.parametrize("status", ["401", "404", "400"])
def test_a_run_that_is_stopped_leaves_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], backend: str, status: str
) -> None:
    with Parrot(faults=lambda _: status, models=status) as server:
        assert main(["run", *flags(server, backend, tmp_path)]) in (2, 3)
    assert HIDDEN in clean(tmp_path, capfd)


@both
def test_a_crash_leaves_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError(f"with {' and '.join(forms(SECRETS))}", list(SECRETS))

    monkeypatch.setattr(asking, "log_line", broken)
    with Parrot() as server:
        assert main(["run", *flags(server, backend, tmp_path)]) == 4
    assert list((tmp_path / "temporary").iterdir())
    clean(tmp_path, capfd)


@both
def test_a_dry_run_and_an_interruption_leave_no_secret(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    with Parrot() as server:
        assert main(["run", *flags(server, backend, tmp_path), "--dry-run"]) == 0
        monkeypatch.setattr(run, "make_plan", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["run", *flags(server, backend, tmp_path)]) == 130
    assert "--resume" in clean(tmp_path, capfd)


@both
def test_batches_leave_no_secret_and_are_collected_with_the_address_from_the_environment(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    with Parrot(fate=lambda number: "refused" if number == 3 else "answered") as server:
        words = flags(server, backend, tmp_path)
        assert main(["batch", "submit", *words]) == 0
        folder = str(only_run_of(tmp_path))
        assert main(["batch", "collect", folder]) == 2
        variable = f"{backend.upper()}_BASE_URL"
        assert variable in capfd.readouterr().err
        monkeypatch.setenv(variable, words[words.index("--base-url") + 1])
        assert main(["batch", "collect", folder]) == 3
    with Parrot(on_create=("400",)) as server:
        assert main(["batch", "submit", *flags(server, backend, tmp_path / "other")]) == 2
    clean(tmp_path, capfd)


def test_a_secret_is_not_cut_in_two_by_the_end_of_a_line() -> None:
    register_secret(KEY)
    for before in range(270, 310):
        said = f"{'x' * before} {KEY} and more"
        assert KEY[:4] not in call_errors._told(json.dumps({"error": {"message": said}})).message
        assert KEY[:4] not in told_by({"message": said})[0]
        assert KEY[:4] not in named(ValueError(said))


def test_a_setting_of_another_backend_is_refused_without_its_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["run", "--backend", "scripted", "--model", "oracle", "--base-url", "http://u:hunter2@h/?k=v0v0v0"]) == 2
    )
    said = capfd.readouterr().err
    assert "--base-url http://h/?k=[redacted]: the scripted backend" in said


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host/v1", "http://host/v1"),
        ("http://host:80/v1/", "http://host:80/v1/"),
        ("http://host/v1?api-key=S", "http://host/v1?api-key=[redacted]"),
        ("http://host?a=1&b=&c", "http://host?a=[redacted]&b=&[redacted]"),
        ("http://me:pass@host/v1", "http://host/v1"),
        ("http://a-token@[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("http://me:p/a?s#s@host:80/v1?x=1", "http://host:80/v1?x=[redacted]"),
        ("http://host/v1/@cf/meta", "http://host/v1/@cf/meta"),
        ("http://host:8000/v1/@cf/meta", "http://host:8000/v1/@cf/meta"),
        ("http://host/v1#fragment", "http://host/v1#[redacted]"),
        ("me:pass@host:8000", "host:8000"),
        ("https://h/openai?api-version=2024-10-21-preview", "https://h/openai?api-version=2024-10-21-preview"),
        ("https://h/openai?api-version=geheim", "https://h/openai?api-version=[redacted]"),
    ],
)
def test_a_url_is_shown_without_what_is_secret_in_it(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_the_query_of_a_base_url_is_apart_from_it() -> None:
    assert split_base_url("http://host/v1?api-key=a%2Bb&x=#f") == ("http://host/v1", {"api-key": "a+b", "x": ""})
    with pytest.raises(ModelError, match="twice"):
        split_base_url("http://host/v1?a=1&a=2")


def test_headers_and_bodies_are_shown_without_the_values_of_secret_names() -> None:
    shown = shown_headers(
        ["X-Title=a study", "Cookie=sid=abcdef123", "X-My-Token=t0kent0ken", "authorization=Basic dTpwdw123=="]
    )
    assert shown == ["X-Title=a study", f"Cookie={HIDDEN}", f"X-My-Token={HIDDEN}", f"authorization={HIDDEN}"]
    assert redact("sid=abcdef123, t0kent0ken and dTpwdw123==") == f"{HIDDEN}, {HIDDEN} and {HIDDEN}"
    body = {"top_k": 5, "max_tokens": 7, "eos_token": "</s>", "deep": [{"password": "geheim-42x", "n": None}]}
    assert shown_body(body) == body | {"deep": [{"password": HIDDEN, "n": None}]}
    assert json.loads(shown_body(json.dumps(body))) == shown_body(body)
    assert shown_body("not JSON geheim-43x") == HIDDEN
    assert redact("geheim-42x") == HIDDEN


def test_a_command_is_shown_without_secrets() -> None:
    words = ["run", "--base-url=http://h?k=verysecret1", "--extra-header", "X-Key=verysecret2", "--trials", "5"]
    words += ["--extra-body", '{"token": "verysecret3"}', "verysecret1"]
    shown = shown_command(words)
    assert "verysecret" not in " ".join(shown)
    assert shown[-1] == HIDDEN and shown[4:6] == ["--trials", "5"]


def test_a_setting_with_a_secret_is_not_in_the_plan_and_does_not_change_it() -> None:
    plain = [
        make({"backend": "openai", "model": "m", "base_url": f"http://u:{one}@h/v1?key={one}"}).plain()
        for one in ("first-secret-1", "other-secret-2")
    ]
    assert plain[0] == plain[1]
    assert plain[0]["base_url"] == f"http://h/v1?key={HIDDEN}"


def test_the_environment_has_secrets_by_their_names_and_in_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:proxy-geheim-7@host:1")
    monkeypatch.setenv("SOME_SECRET", "another-geheim-8")
    monkeypatch.setenv("SOME_KEY_FILE", "/home/me/some-key")
    monkeypatch.setenv("HOMEPAGE", "https://host/page?language=esperanto-2#installation")
    register_environment()
    said = "proxy-geheim-7 another-geheim-8 /home/me/some-key esperanto-2 installation"
    assert redact(said) == f"{HIDDEN} {HIDDEN} /home/me/some-key esperanto-2 installation"


def test_a_stand_in_for_a_key_changes_no_answer() -> None:
    for word in ("EMPTY", "none", "1234", "off"):
        register_secret(word)
    assert redacted({"reply": "EMPTY none 1234 off"}) == {"reply": "EMPTY none 1234 off"}
    register_secret("ab12cd")
    assert redacted(["ab12cd, xab12cdx"]) == [f"{HIDDEN}, xab12cdx"]
