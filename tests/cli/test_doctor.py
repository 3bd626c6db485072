"""``ffprompt doctor`` and the hints of what to install: what is here, what is missing, and never a key."""

from __future__ import annotations

import importlib.metadata
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ffprompt._util import extras
from ffprompt.backends.api.openai import OpenAIBackend
from ffprompt.backends.spec import not_installed
from ffprompt.cli import doctor_checks
from ffprompt.cli.main import main
from ffprompt.errors import ModelError
from tests.conftest import ROOT

KEY = "sk-a-secret-that-nobody-should-see"


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*doctor_checks.keys(), "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor_checks, "providers", dict)  # no port of this machine is asked
    monkeypatch.setattr(doctor_checks, "servers", list)
    monkeypatch.setattr("ffprompt.cli.doctor.servers", list)


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take packages away."""

    def hide(*names: str) -> None:
        version, find = importlib.metadata.version, extras.importlib.util.find_spec

        def hidden(name: str) -> str:
            if name in names:
                raise importlib.metadata.PackageNotFoundError(name)
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", hidden)
        monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None if name in names else find(name))

    return hide


# ------------------------------------------------------------------------------------------------------------ extras


def test_extras_are_those_of_the_project() -> None:
    assert {"transformers", "vllm", "openai", "anthropic", "reference", "report", "ray"} <= set(extras.extras())
    assert [one.name for one in extras.extras()["openai"]] == ["openai", "tenacity"]
    assert extras.extras()["transformers"][0] == extras.Requirement("torch", "2.6")


def test_extras_of_an_installed_package_come_from_its_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        "numpy>=1.26",
        'openai>=3.0; extra == "openai"',
        "tenacity>=9.0; extra == 'openai'",
        'ray ; extra == "ray"',
    ]
    monkeypatch.setattr(extras, "clone", lambda: None)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: there)
    found = extras.extras.__wrapped__()
    assert found == {
        "openai": (extras.Requirement("openai", "3.0"), extras.Requirement("tenacity", "9.0")),
        "ray": (extras.Requirement("ray"),),
    }


def test_all_missing_packages_are_named_at_once(absent: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    absent("torch", "gguf", "huggingface-hub", "huggingface_hub")
    monkeypatch.chdir(ROOT)
    assert str(not_installed("transformers", ImportError(name="torch"))) == (
        "the transformers backend needs torch, gguf and huggingface-hub, which are not installed; "
        'run: pip install -e ".[transformers]"'
    )
    monkeypatch.chdir(tmp_path)
    assert f'pip install -e "{ROOT}[transformers]"' in str(not_installed("transformers", ImportError(name="torch")))
    monkeypatch.setattr(extras, "clone", lambda: None)
    assert 'pip install "ffprompt[transformers]"' in str(not_installed("transformers", ImportError(name="torch")))


def test_a_package_that_is_too_old_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "8.9.1" if name == "tenacity" else "3.57.0")
    assert extras.missing("openai") == ["tenacity 9.0 or later (8.9.1 is installed)"]
    assert str(extras.needs("this", "openai")).startswith(
        "this needs tenacity 9.0 or later (8.9.1 is installed); run: pip install"
    )


def test_a_library_that_is_there_and_does_not_import_is_told_apart() -> None:
    error = extras.needs("a report", "report", ImportError("cannot import name 'x' from 'plotly'", name="plotly"))
    assert str(error).startswith("a report: a library does not import (cannot import name 'x' from 'plotly'); install")


def test_a_missing_key_says_what_to_do_and_that_a_server_of_ones_own_needs_none() -> None:
    with pytest.raises(ModelError, match=r"OPENAI_API_KEY is not set; set OPENAI_API_KEY, or give a file with --key-f"):
        OpenAIBackend("gpt-5-mini")
    with pytest.raises(ModelError, match="a server of your own needs no key: give its address with --base-url"):
        OpenAIBackend("gpt-5-mini")


# ------------------------------------------------------------------------------------------------------------ doctor


def test_everything_is_looked_at(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for heading in ("backends", "extras", "devices", "models", "caches", "keys", "servers on this machine"):
        assert f"\n{heading}\n" in said
    assert "ANTHROPIC_API_KEY: set\n" in said
    assert KEY not in said
    assert "scripted      can run:" in said
    assert "a server of your own needs no key" in said


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    assert main(["doctor", "--json"]) == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    assert KEY not in text
    assert found["keys"]["ANTHROPIC_API_KEY"] == "set"
    by_name = {one["name"]: one for one in found["backends"]}
    assert by_name["scripted"]["runs"]
    assert by_name["anthropic"]["runs"]


def test_the_exit_code_says_whether_the_asked_backend_can_run(capsys: pytest.CaptureFixture[str], absent: Any) -> None:
    assert main(["doctor", "--backend", "scripted"]) == 0
    absent("vllm", "anthropic")
    assert main(["doctor", "--backend", "vllm"]) == 2
    assert main(["doctor", "--backend", "anthropic"]) == 2
    said = capsys.readouterr().out
    assert "vllm: cannot run; needs vllm\n" in said
    assert "[vllm]" in said
    assert "anthropic: cannot run; needs anthropic\n" in said


def test_an_api_without_a_key_cannot_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["doctor", "--backend", "openai"]) == 2
    said = capsys.readouterr().out
    assert "no key" in said
    assert "a server of your own needs no key: --base-url" in said
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    assert main(["doctor", "--backend", "openai"]) == 0


def test_a_malformed_key_is_no_key(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", f"{KEY} {KEY}")
    assert main(["doctor", "--backend", "anthropic"]) == 2
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "ANTHROPIC_API_KEY: malformed" in said
    assert KEY not in said


def test_an_unknown_backend_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--backend", "oepnai"]) == 2
    assert "did you mean 'openai'?" in capsys.readouterr().err


def test_a_library_that_breaks_on_import_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise OSError(f"{name}: undefined symbol")

    monkeypatch.setattr(doctor_checks.importlib, "import_module", broken)
    found = doctor_checks.health("openai", [], thorough=True)
    assert (found.runs, found.detail) == (False, "openai does not import: OSError: openai: undefined symbol")


# ----------------------------------------------------------------------------------------------------------- servers


class Models(BaseHTTPRequestHandler):
    """A server that lists one model, or whatever its path says."""

    def do_GET(self) -> None:
        body = b'{"data": [{"id": "tiny"}]}' if self.path == "/v1/models" else b"<html>"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_a_server_is_found_with_its_models(server: str) -> None:
    assert doctor_checks._ask(f"{server}/v1") == doctor_checks.Server(f"{server}/v1", ["tiny"])
    assert doctor_checks._ask(f"{server}/other") is None
    assert doctor_checks._ask("http://127.0.0.1:9/v1") is None


def test_a_server_without_a_key_is_enough(server: str) -> None:
    found = doctor_checks.health("openai", [doctor_checks.Server(f"{server}/v1", ["tiny"])])
    assert found.runs
    assert f"{server}/v1 answers and needs none" in found.detail
