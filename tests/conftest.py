"""Shared fixtures. Tests never load anything from a hub."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.servers import Server

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# What starts in the background of a script does not hear Ctrl-C, and neither would what the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent


Done = subprocess.CompletedProcess[str]
Command = Callable[..., Done]


# What makes a test module slow to answer: processes, the command line, networks, servers. All other tests are ``fast``.
_SLOW_IMPORTS = re.compile(
    r"^(from|import) (subprocess|torch|transformers|ffprompt\.cli|tests\.support(?!\.hypothesis_profile)"
    r"|tests\.golden|ffprompt\.reference|ffprompt\.backends\.local)|\bCommand\b|import_module|ffprompt\.compare",
    re.MULTILINE,
)
_LANES = {"slow", "thorough", "weights", "vllm", "servers", "ray", "browser", "harness", "transformer_lens", "trackers"}


@functools.cache
def _is_slow(module: Path) -> bool:
    return bool(_SLOW_IMPORTS.search(module.read_text(encoding="utf-8")))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that writes what commands say now into tests/cli/snapshots."""
    parser.addoption("--update-snapshots", action="store_true", help="write tests/cli/snapshots anew")


def pytest_configure(config: pytest.Config) -> None:
    """Give properties all the time they need on a busy machine. With ``-m fast``, try fewer examples of each."""
    if importlib.util.find_spec("hypothesis") is None:  # the environment of vLLM has none
        return
    from hypothesis import settings

    from tests.support.hypothesis_profile import FEW

    settings.register_profile("whole", deadline=None)
    settings.register_profile("fast", deadline=None, max_examples=FEW)
    settings.load_profile("fast" if config.option.markexpr == "fast" else "whole")


@pytest.fixture(scope="session", autouse=True)
def one_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let every client load one certificate, and not the hundred and more that the usual file has.

    A client takes 20 ms for them, a run makes three clients, and no test speaks to a server over TLS.
    """
    if importlib.util.find_spec("certifi") is None:
        yield
        return
    import certifi

    whole, end = Path(certifi.where()).read_text("utf-8"), "-----END CERTIFICATE-----"
    path = tmp_path_factory.mktemp("certificates") / "one.pem"
    path.write_text(whole[whole.index("-----BEGIN") : whole.index(end) + len(end)] + "\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture(autouse=True)
def no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without the secrets that commands of other tests have named, which would be hidden in what is shown."""
    from ffprompt._util import secrets

    monkeypatch.setattr(secrets, "_secrets", set())


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``-m fast``, do not even import the modules that hold no fast test."""
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    return True if is_test and config.option.markexpr == "fast" and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as ``fast`` every test of a module that imports nothing slow, unless it is in a lane of its own."""
    for item in items:
        if not _is_slow(item.path) and not _LANES.intersection(mark.name for mark in item.iter_markers()):
            item.add_marker(pytest.mark.fast)


@pytest.fixture(autouse=True)
def no_report_after_a_run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the report at the end of a run, which takes longer than the run, but for tests marked ``reports``."""
    if _is_slow(request.node.path) and request.node.get_closest_marker("reports") is None:
        for command in ("run", "diagnose"):
            monkeypatch.setattr(f"ffprompt.cli.{command}.write_report", lambda *_: None)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait 50 ms and not a second before the first retry, in runs that the command line starts in this process."""
    from ffprompt.backends.api import common_settings

    whole = common_settings.policy_of

    def hurried(*arguments: Any) -> Any:
        return dataclasses.replace(whole(*arguments), first_wait=0.05)

    monkeypatch.setattr(common_settings, "policy_of", hurried)


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``python run_eval.py …`` in this process; results go to ``tmp_path/results``.

    With ``prog="ffprompt"`` the first word is the command. ``env`` is the whole environment while it runs. Where a
    process of its own matters (it is killed, or what it imports is looked at), a test starts one itself.
    """

    def call(*arguments: object, prog: str = "run_eval.py", env: Mapping[str, str] | None = None) -> Done:
        from ffprompt.cli.main import main

        words = [str(word) for word in arguments]
        if prog == "run_eval.py":
            words = ["run", *words, *([] if "--out" in words else ["--out", str(tmp_path / "results")])]
        capsys.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            for name in set(os.environ) - set(env or os.environ):
                patch.delenv(name)
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = main(words, prog=prog)
        shown = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, shown.out, shown.err)

    return call


@pytest.fixture(scope="session")
def vllm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real vLLM server on the CPU, one for all tests that ask it."""
    from ffprompt.backends.local.weights import locate
    from tests.support.servers import MODEL, running

    with running("vllm", tmp_path_factory.mktemp("vllm"), WEIGHTS=locate(MODEL).source) as server:
        yield server


def only_run(folder: Path) -> Path:
    """The one run under a results folder."""
    runs = [path for path in folder.iterdir() if path.is_dir()]
    assert len(runs) == 1, runs
    return runs[0]
