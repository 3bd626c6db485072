"""Shared fixtures. Tests never load anything from a hub."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
