"""Real model servers on this machine, started with the commands that ``docs/backends/servers.md`` shows.

``FFPROMPT_SERVERS`` is a folder with a virtual environment for each server, named as in the page. What is not there is
looked for beside the Python that runs the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGE = ROOT / "docs" / "backends" / "servers.md"
MODEL = "smollm2-135m"
START_SECONDS = 300
VLLM = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_OFFLINE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
_HEALTH = {"litellm": "/health/liveliness", "llama-cpp-python": "/v1/models"}


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers: its name in the page, and the variables of the page's commands."""

    name: str
    url: str
    environment: dict[str, str]


def block(kind: str, name: str) -> str:
    """The commands under ``<!-- kind: name -->`` in the page."""
    found = re.search(rf"<!-- {kind}: {re.escape(name)} -->\s*```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found, f"{PAGE} has no block '{kind}: {name}'"
    return found[1]


def binaries(name: str) -> Path:
    """Where the programs of a server are."""
    own = Path(os.environ.get("FFPROMPT_SERVERS", "")) / name / "bin"
    return own if "FFPROMPT_SERVERS" in os.environ and own.is_dir() else Path(sys.executable).parent


@contextlib.contextmanager
def running(name: str, folder: Path, **variables: str) -> Iterator[Server]:
    """Start a server in a folder, wait until it is healthy, and stop it with all that it started."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    known = {
        "PORT": str(port),
        "URL": url,
        "MODEL": MODEL,
        "THREADS": "1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_API_KEY": "none",
    }
    environment = os.environ | VLLM | _OFFLINE | known | variables
    path = {"PATH": f"{binaries(name)}{os.pathsep}{os.environ['PATH']}"}
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["bash", "-euc", block("start", name)],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment | path,
            start_new_session=True,
        )
    try:
        began = time.monotonic()
        while not _healthy(url + _HEALTH.get(name, "/health")):
            waited = time.monotonic() - began
            if process.poll() is not None or waited > START_SECONDS:
                raise RuntimeError(f"{name} is not healthy after {waited:.0f} s:\n{log.read_text()[-4000:]}")
            time.sleep(0.25)
        print(f"{name} is healthy after {time.monotonic() - began:.0f} s")
        yield Server(name, url, known | variables)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for by in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, by)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
