"""Backends are found by name: those of this package, and those that another package brings by an entry point."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ffprompt.backends.entry_points import BACKENDS, backend_names
from ffprompt.backends.registry import backend_spec, needs_batches, open_backend, open_batcher
from ffprompt.cli.main import main
from ffprompt.config.run_config import make
from ffprompt.errors import ConfigError, ModelError
from tests.conftest import ROOT

MODULE = """
from dataclasses import dataclass

from ffprompt.backends.base import Capabilities, Reply
from ffprompt.backends.identity import Identity
from ffprompt.backends.spec import BackendSpec


@dataclass(frozen=True, kw_only=True)
class ParrotIdentity(Identity):
    device: str | None


class Parrot:
    chunk = 4
    capabilities = Capabilities(scores=False, completes=True, chats=True)

    def __init__(self, model, device):
        self.identity = ParrotIdentity(backend="parrot", model=model, device=device)

    def check(self, requests):
        return {"audited": len(requests)}

    async def score(self, requests):
        raise NotImplementedError

    async def complete(self, requests):
        return [Reply(", ".join(["0"] * 100), "stop") for _ in requests]

    def close(self):
        pass


def open_parrot(config, weights):
    return Parrot(config.model, config.device)


SPEC = BackendSpec("parrot", open_parrot, settings=frozenset({"device"}))
NOT_A_SPEC = Parrot
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str = "parrot", value: str = "parrot:SPEC") -> None:
    """Put a package with one entry point on the path."""
    (folder / "parrot.py").write_text(MODULE)
    info = folder / "parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ffprompt.backends]\n{name} = {value}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "parrot", raising=False)


def test_the_backend_of_another_package_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"--backend parrot: unknown backend"):
        make({"backend": "parrot", "model": "polly"})
    install(tmp_path, monkeypatch)
    assert backend_names() == (*BACKENDS, "parrot")
    command = ["run", "--backend", "parrot", "--model", "polly", "--device", "perch", "--trials", "3"]
    out = tmp_path / "run"
    assert main([*command, "--length", "20", "--out", str(out)]) == 0
    (record,) = out.glob("*/run.json")
    assert '"device": "perch"' in record.read_text()


def test_it_refuses_a_setting_that_it_does_not_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch)
    with pytest.raises(ModelError, match=r"--dtype float32: the parrot backend has no such setting"):
        open_backend(make({"backend": "parrot", "model": "polly", "dtype": "float32"}))
    with pytest.raises(ModelError, match="--temperature default: the parrot backend"):
        open_backend(make({"backend": "parrot", "model": "polly", "temperature": "default"}))


@pytest.mark.parametrize("value", ["parrot:MISSING", "no_such_module:SPEC", "parrot:NOT_A_SPEC"])
def test_a_broken_entry_point_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    install(tmp_path, monkeypatch, value=value)
    with pytest.raises(ModelError, match=f"backend 'parrot': {value}"):
        open_backend(make({"backend": "parrot", "model": "polly"}))


def test_no_package_can_take_the_name_of_a_backend_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, name="scripted")
    backend = open_backend(make({"backend": "scripted", "model": "oracle"}))
    assert backend.identity.note == "follows a script"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_says_its_name_and_has_a_page(name: str) -> None:
    spec = backend_spec(name)
    assert spec.name == name
    assert (ROOT / "docs" / "backends" / spec.docs).is_file()


def test_an_extra_that_a_backend_names_exists() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for name in BACKENDS if (extra := backend_spec(name).extra)} <= set(extras)


def test_a_backend_without_batches_is_refused_before_it_is_opened() -> None:
    with pytest.raises(ModelError, match="the transformers backend has no batches; openai and anthropic have"):
        needs_batches(make({"backend": "transformers", "model": "no-such-model"}))
    with pytest.raises(ModelError, match="the scripted backend has no batches"):
        open_batcher(open_backend(make({"backend": "scripted", "model": "oracle"})))


def test_naming_the_backends_imports_none_of_them() -> None:
    script = "from ffprompt.backends.entry_points import backend_names; backend_names()\n"
    script += "import sys; print([name for name in sys.modules if name.startswith('ffprompt.backends.')])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ffprompt.backends.entry_points']"
