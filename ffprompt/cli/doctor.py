"""``ffprompt doctor``: which backends can run here, and what to install or set where one cannot."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from ffprompt import __version__
from ffprompt._util.extras import clone, extras, install_command, listed, missing
from ffprompt.backends.entry_points import backend_names
from ffprompt.cli.console import line
from ffprompt.cli.doctor_checks import (
    CLEAR,
    Health,
    Server,
    caches,
    devices,
    health,
    keys,
    models,
    servers,
)
from ffprompt.errors import ConfigError, did_you_mean

EPILOG = """\
With --backend the exit code is 0 if that backend can run here, and 2 if not. No key is ever shown, and only this
machine's own ports are asked whether a model server answers.

  ffprompt doctor
  ffprompt doctor --backend vllm
"""
# What the extras that are no backends are for.
_FOR = {
    "report": "reports and figures",
    "prices": "prices of more models and providers",
    "ray": "sweeps on a Ray cluster",
    "reference": "training and running reference models",
    "docs": "the documentation",
    "inspect": "runs in Inspect",
    "lm-eval": "runs in lm-evaluation-harness",
    "dev": "the tests",
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``doctor``."""
    parser.add_argument("--backend", metavar="NAME", help="look at one backend; the exit code says whether it can run")
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def execute(options: argparse.Namespace) -> int:
    """Print what is here. Returns 2 where the asked backend cannot run."""
    names = backend_names()
    if options.backend is not None and options.backend not in names:
        raise ConfigError(f"--backend {options.backend}: unknown backend{did_you_mean(options.backend, names)}")
    found = servers()
    asked = names if options.backend is None else (options.backend,)
    healths = [health(name, found, thorough=options.backend is not None) for name in asked]
    if options.json:
        document = {
            "version": __version__,
            "backends": [asdict(one) for one in healths],
            "extras": {name: missing(name) for name in extras()},
            "devices": devices(),
            "caches": caches(),
            "models": models(),
            "keys": keys(),
            "servers": [{"address": one.address, "models": list(one.models)} for one in found],
        }
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    elif options.backend is not None:
        _one(healths[0])
    else:
        _all(healths, found)
    return 0 if options.backend is None or healths[0].runs else 2


def _one(found: Health) -> None:
    """Print what is known of one backend."""
    line(f"{found.name}: {'can run' if found.runs else 'cannot run'}; {found.detail}")
    if found.cure:
        line(f"  {found.cure}")


def _all(healths: list[Health], found: list[Server]) -> None:
    """Print everything, section by section."""
    where = clone()
    line(f"ffprompt {__version__}, Python {sys.version.split()[0]}, {f'from {where}' if where else 'installed'}")
    _section("backends")
    width = max(len(one.name) for one in healths)
    for one in healths:
        state = "can run:   " if one.runs else "cannot run:"
        line(f"  {one.name:{width}}  {state} {one.detail}{f'; {one.cure}' if one.cure else ''}")
    _section("extras")
    for name in sorted(extras().keys() - {one.name for one in healths} - {"all"}):
        lacking = missing(name)
        state = f"needs {listed(lacking)}: {install_command(name)}" if lacking else "installed"
        line(f"  {name} ({_FOR.get(name, 'others')}): {state}")
    for title, entries in (("devices", devices()), ("models", models()), ("caches", caches()), ("keys", _keys())):
        _section(title)
        for name, state in entries.items():
            line(f"  {name}: {state}")
    _section("servers on this machine")
    for server in found:
        line(f"  {server.address}: {', '.join(server.models) or 'no model'}")
    line(f"  {CLEAR}" if not found else "  a run reaches one with --backend openai --base-url ADDRESS, without a key")


def _keys() -> dict[str, str]:
    """Every variable that holds a key, and in one line those that are not set."""
    states = keys()
    unset = [name for name, state in states.items() if state == "not set"]
    given = {name: state for name, state in states.items() if name not in unset}
    return given | ({"not set": ", ".join(unset)} if unset else {})


def _section(title: str) -> None:
    line("")
    line(title)
