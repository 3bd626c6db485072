"""Where a run comes from: versions, commit, hardware and command, as ``run.json`` records them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypedDict

from ffprompt._util.secrets import shown_command

# Whose versions a run records, where they are installed.
_PACKAGES = (
    "numpy", "pandas", "pyarrow", "torch", "transformers", "tokenizers", "safetensors", "openai", "anthropic",
    "tenacity",
)  # fmt: skip


class Source(TypedDict):
    """The commit that the running code comes from, None where it is no checkout, and whether it has been changed."""

    commit: str | None
    dirty: bool | None


class Hardware(TypedDict, total=False):
    """The machine. ``gpus`` is there only where the backend has loaded torch and torch sees some."""

    machine: str
    system: str
    cores: int | None
    gpus: list[str]


class Provenance(TypedDict):
    """The keys that a run's record takes over."""

    versions: dict[str, str]
    source: Source
    hardware: Hardware
    command: list[str]


def provenance() -> Provenance:
    """Return the versions of what is installed, the code's commit, the hardware and the command line."""
    import importlib.metadata
    import platform

    from ffprompt import __version__

    versions = {"ffprompt": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "source": _source(), "hardware": _hardware(), "command": shown_command(sys.argv[1:])}


def _source() -> Source:
    import subprocess

    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root.resolve():
            return {"commit": None, "dirty": None}
        return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.TimeoutExpired):
        return {"commit": None, "dirty": None}


def _hardware() -> Hardware:
    import platform

    found: Hardware = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")  # only where the backend has loaded it
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return found
