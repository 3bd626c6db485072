"""What ``doctor`` looks at: backends, devices, caches, models, keys and servers. It loads no model and shows no key."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from ffprompt._util.crash import named
from ffprompt._util.extras import extras, install_command, listed, missing
from ffprompt._util.formatting import counted
from ffprompt._util.secrets import read_key
from ffprompt.backends.api.providers import providers
from ffprompt.backends.entry_points import BACKENDS
from ffprompt.backends.from_name import reference_names
from ffprompt.backends.local.weights import OFFLINE, SHIPPED, cache_folder, installed, offline
from ffprompt.backends.registry import backend_spec
from ffprompt.errors import FFPromptError

CLEAR = "none answers; a server of your own needs no key: --backend openai --base-url http://localhost:8000/v1"
_WAIT = 0.5  # seconds for a port of this machine
_LARGEST_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a backend can run here, with what, and what to do where it cannot."""

    name: str
    runs: bool
    detail: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A model server that answers on this machine."""

    address: str
    models: Sequence[str]


def health(name: str, found: Sequence[Server], thorough: bool = False) -> Health:
    """Return whether a backend can run here.

    Args:
        name: The backend.
        found: The servers that answer on this machine.
        thorough: Whether to import its libraries, which takes seconds and shows one that is broken.
    """
    try:
        spec = backend_spec(name)
    except FFPromptError as error:
        return Health(name, False, str(error))
    extra = spec.extra or (name if name in extras() and name in BACKENDS else "")
    if lacking := missing(extra):
        return Health(name, False, f"needs {listed(lacking)}", install_command(extra))
    versions = ", ".join(f"{one.name} {one.installed}" for one in extras().get(extra, ()))
    if thorough and (problem := _import_problem(name)):
        return Health(name, False, problem, f"{install_command(extra)} (or mend what is named)")
    if name in ("openai", "anthropic"):
        return _api(name, versions, found)
    if name == "vllm":
        return _vllm(versions, thorough)
    return Health(name, True, versions or "nothing to install")


_LIBRARIES = {
    "transformers": ("torch", "transformers"),
    "reference": ("torch", "safetensors.torch"),
    "vllm": ("torch", "vllm"),
    "openai": ("openai",),
    "anthropic": ("anthropic",),
}


def _import_problem(name: str) -> str:
    """Why a backend's libraries do not import; an empty text where they do."""
    for library in _LIBRARIES.get(name, ()):
        try:
            importlib.import_module(library)
        except BaseException as error:  # a broken library may raise anything
            return f"{library} does not import: {named(error)}"
    return ""


def _api(name: str, versions: str, found: Sequence[Server]) -> Health:
    """An API can be called with a key, or without one where a server of one's own answers."""
    given = [variable for variable, state in keys().items() if state == "set" and _is_of(name, variable)]
    address = f"{name.upper()}_BASE_URL"
    if given or os.environ.get(address):
        return Health(name, True, f"{versions}; {listed(given or [address])} set")
    local = name == "openai"
    if local and found:
        return Health(name, True, f"{versions}; no key, but {found[0].address} answers and needs none")
    cure = f"set {name.upper()}_API_KEY"
    if local:
        cure += "; a server of your own needs no key: --base-url http://localhost:8000/v1"
    return Health(name, False, f"{versions}; no key", cure)


def _is_of(backend: str, variable: str) -> bool:
    return (variable == "ANTHROPIC_API_KEY") == (backend == "anthropic") and variable != "HF_TOKEN"


def _vllm(versions: str, thorough: bool) -> Health:
    """Return whether vLLM finds a device it was built for."""
    if not thorough:
        return Health("vllm", True, versions)
    try:
        platform = importlib.import_module("vllm.platforms").current_platform
        device = str(platform.device_type)
    except Exception as error:
        return Health("vllm", False, f"{versions}; {named(error)}")
    if not device:
        cure = "it needs a GPU, or vLLM's build for the CPU"
        return Health("vllm", False, f"{versions}; vLLM finds no device that it was built for", cure)
    return Health("vllm", True, f"{versions}; on {device}")


def devices() -> dict[str, str]:
    """Return the devices that models can run on."""
    entries = {"cpu": f"{counted(os.cpu_count() or 1, 'core')}{_memory()}"}
    if find_spec("torch") is None:
        return entries | {"gpu": f"unknown without torch: {install_command('transformers')}"}
    try:
        import torch
    except Exception as error:
        return entries | {"gpu": f"unknown, torch does not import: {named(error)}"}
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        entries[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if torch.backends.mps.is_available():
        entries["mps"] = "Apple GPU"
    return entries if len(entries) > 1 else entries | {"gpu": "none that torch can use"}


def _memory() -> str:
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    return ""


def models() -> dict[str, str]:
    """Return the models that need no download, and how to get those that are not here."""
    entries = {"bundled reference models": ", ".join(reference_names())}
    return entries | {
        name: "installed" if installed(name) else f"not installed: {one.install}" for name, one in SHIPPED.items()
    }


def caches() -> dict[str, str]:
    """Return the folders that downloads and conversions go to, with their sizes."""
    try:
        own = _size(cache_folder())
    except FFPromptError as error:
        own = str(error)
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "hub"
    note = f", no downloads: {OFFLINE} is set" if offline() else ""
    return {
        "converted models (FFPROMPT_CACHE)": own,
        "models of the hub (HF_HOME)": f"{_size(Path(hub).expanduser())}{note}",
    }


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}, empty"
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size if path.is_file() and not path.is_symlink() else 0
    return f"{folder}, {total / 1e6:,.0f} MB"


def keys() -> dict[str, str]:
    """Return the variables that may hold keys, and whether they do. Never what is in one."""
    variables = [row.key for row in providers().values() if row.key]
    return {name: _state(name) for name in dict.fromkeys([*variables, "ANTHROPIC_API_KEY", "HF_TOKEN"])}


def _state(variable: str) -> str:
    if not (value := os.environ.get(variable)):
        return "not set" if value is None else "empty"
    try:
        read_key(variable)
    except FFPromptError:
        return "malformed: a key has no spaces, line breaks or non-ASCII characters"
    return "set"


def servers() -> list[Server]:
    """Return the model servers that answer on this machine, at the addresses that are usual."""
    rows = [row.base_url for row in providers().values() if row.key is None and row.base_url]
    with ThreadPoolExecutor(len(rows)) as pool:
        return [server for server in pool.map(_ask, rows) if server is not None]


def _ask(address: str) -> Server | None:
    """Ask one address for its models. Returns None where no model server answers."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "localhost", parts.port, timeout=_WAIT)
    try:
        connection.request("GET", f"{parts.path}/models")
        content = json.loads(connection.getresponse().read(_LARGEST_ANSWER))
        listed_models = [str(one["id"]) for one in content["data"]]
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
    return Server(address, listed_models)
