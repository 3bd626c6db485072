"""Shared fixtures. Tests never load anything from a hub."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run ``python run_eval.py …`` (or another entry) as a user would; results go to ``tmp_path/results``."""

    def call(*arguments: object, entry: tuple[str, ...] = ("run_eval.py",), **options: Any) -> Any:
        if entry == ("run_eval.py",) and "--out" not in arguments and "--help" not in arguments:
            arguments = (*arguments, "--out", tmp_path / "results")
        words = [sys.executable, *entry, *map(str, arguments)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False, **options)

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
