"""The golden cases: which commands each runs, and what is kept of what they leave.

A case gets ``ffprompt``, a function that runs one command line, so that the same case can be recorded with another
checkout (in a process of its own) and made again by the tests (in theirs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.golden.record import of_page, of_run, plain
from tests.support.faulty_server import FaultyServer
from tests.support.flags import replaced

FFPrompt = Callable[..., None]
FORCED_NEXT = ("forced", "next")
ALL = ("forced", "next", "list", "dialogue")


@dataclass(frozen=True)
class Case:
    """``make(ffprompt, folder)`` runs commands that write into ``folder`` and returns what is kept, as plain JSON."""

    make: Callable[[FFPrompt, Path], Any]
    tolerance: float = 2e-6  # of numbers; everything else must be equal
    weights: bool = False  # whether it needs the SmolLM2 weights


def _run(ffprompt: FFPrompt, folder: Path, *flags: object, code: int = 0) -> Path:
    """Make one run and return its folder."""
    before = set(folder.glob("*/run.json"))
    ffprompt("run", *flags, "--out", folder, "--no-report", code=code)
    (made,) = set(folder.glob("*/run.json")) - before
    return made.parent


def _scripted(ffprompt: FFPrompt, folder: Path, model: str, *flags: object, code: int = 0) -> Path:
    return _run(ffprompt, folder, "--backend", "scripted", "--model", model, *flags, code=code)


def scripted(ffprompt: FFPrompt, folder: Path) -> Any:
    """Every elicitation in both forms that it has, three templates, zero and one shot."""
    words = ("--template", "game", "light-switch", "raw-spaced", "--elicitation", *ALL, "--shots", 0, 1)
    return of_run(_scripted(ffprompt, folder, "glitch-0.2", *words, "--length", 20, "--trials", 3))


def scripted_forms(ffprompt: FFPrompt, folder: Path) -> Any:
    """What is not the default: chat forms, other reads, turns of a fixed length, repeats, symbols, shared shots."""
    common = ("--template", "door", "--length", 16, "--trials", 3, "--seed", 5)
    found = {
        "forced-chat": ("--elicitation", "forced", "next", "--form", "chat", "--next-read", "random"),
        "turns": ("--elicitation", "dialogue", "--turn-instructions", 3, "--shots", 2, "--shared-shots"),
        "repeats": ("--elicitation", "list", "--repeats", 2, "--temperature", 1),
        "schema": ("--elicitation", "list", "next", "dialogue", "--form", "chat", "--answers", "schema"),
        "symbols": ("--template", "raw-spaced", "--elicitation", *ALL, "--symbols", 5),
        "first-read": ("--elicitation", "next", "--next-read", "first", "--p-write", 0.3, "--p-read", 0.3),
        "stopped": ("--elicitation", "next", "--certify", 0.4, "--trials", 300),
    }
    return {
        name: of_run(_scripted(ffprompt, folder / name, "glitch-0.2", *replaced(*common, *more)))
        for name, more in found.items()
    }


def scripted_faults(ffprompt: FFPrompt, folder: Path) -> Any:
    """Replies and calls that are no answers."""
    words = ("--template", "game", "--elicitation", "next", "list", "dialogue", "--length", 12, "--trials", 3)
    models = {"malformed": 0, "refusing": 0, "truncating": 0, "failing": 3, "coin": 0}
    return {name: of_run(_scripted(ffprompt, folder / name, name, *words, code=code)) for name, code in models.items()}


def strings_from_a_file(ffprompt: FFPrompt, folder: Path) -> Any:
    """Strings that were sampled to a file and are read from it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "strings.jsonl"
    ffprompt("sample", "--spec", "FFL(24, 0.2, 0.3, 0.5)", "--strings", 6, "--seed", 3, "--out", data)
    words = ("--data", data, "--trials", 6, "--template", "code", "--elicitation", "forced", "next")
    return {"strings": data.read_text(), "run": of_run(_scripted(ffprompt, folder / "runs", "majority", *words))}


def reference(ffprompt: FFPrompt, folder: Path) -> Any:
    """The bundled LSTM and the bundled transformer, which does err."""
    words = ("--template", "raw-compact", "--elicitation", *FORCED_NEXT, "--length", 64, "--p-ignore", 0.8)
    made = {}
    for model in ("lstm", "transformer-4x256"):
        flags = ("--backend", "reference", "--model", model, *words, "--trials", 4)
        made[model] = of_run(_run(ffprompt, folder / model, *flags))
    return made


def smollm2(ffprompt: FFPrompt, folder: Path) -> Any:
    """A small real language model, asked in every way."""
    words = ("--template", "light-switch", "--elicitation", *ALL, "--shots", 0, 1, "--length", 12, "--trials", 3)
    return of_run(_run(ffprompt, folder, "--backend", "transformers", "--model", "smollm2-135m", *words))


def _behind_an_api(elicitations: tuple[str, ...], reply: str, *flags: object) -> Callable[[FFPrompt, Path], Any]:
    """A run behind the local server, which refuses one call, cuts one off and filters one; with what was sent."""

    def make(ffprompt: FFPrompt, folder: Path) -> Any:
        faults = {2: "refusal", 4: "length", 6: "400 filter"} if "completions" not in flags else {}
        with FaultyServer(faults.get, reply=reply) as server:
            anthropic = "anthropic" in flags
            where = server.url if anthropic else server.v1
            words = ("--model", "m", "--base-url", where, "--template", "game", "--length", 12, "--trials", 3)
            more = ("--elicitation", *elicitations, "--max-concurrency", 1)
            run = of_run(_run(ffprompt, folder, *flags, *words, *more), server=where)
            return {"run": run, "posted": [plain(body) for body in server.posted]}

    return make


def compared(ffprompt: FFPrompt, folder: Path) -> Any:
    """Two models and the numbers that come of them: compare, gate, trend, power, anatomy and a report."""
    words = ("--template", "game", "light-switch", "--elicitation", "forced", "list", "--shots", 0, 1)
    sizes = ("--length", 16, "--trials", 40)
    a = _scripted(ffprompt, folder / "a", "glitch-0.1", *words, *sizes)
    b = _scripted(ffprompt, folder / "b", "glitch-0.15", *words, *sizes)

    def numbers(*command: object, code: int = 0) -> Any:
        file = folder / "numbers.json"
        ffprompt(*command, "--json", file, code=code)
        return plain(json.loads(file.read_text()))

    page, table = folder / "page.html", folder / "table.md"
    ffprompt("report", a, b, "--output", page, "--table", table)
    gate = ("gate", "--baseline", a, "--candidate", b, "--margin")
    return {
        "compare": numbers("compare", a, b, "--tests"),
        "compare by shots": numbers("compare", a, "--by", "shots"),
        "compare by template": numbers("compare", a, "--by", "template"),
        "gate passes": numbers(*gate, 0.5),
        "gate does not know": numbers(*gate, 0.01, code=3),
        "trend": numbers("trend", folder / "a"),
        "power": numbers("power", a, "--half-width", 0.02),
        "anatomy": numbers("anatomy", a),
        "report": of_page(page.read_text()),
        "table": [row for row in table.read_text().splitlines() if re.match(r"\|", row)],
    }


CASES = {
    "scripted": Case(scripted),
    "scripted-forms": Case(scripted_forms),
    "scripted-faults": Case(scripted_faults),
    "strings-from-a-file": Case(strings_from_a_file),
    "reference": Case(reference, tolerance=1e-5),
    "openai-chat": Case(_behind_an_api(ALL[1:], "1, 0", "--backend", "openai", "--api", "chat")),
    "openai-responses": Case(_behind_an_api(ALL[1:], "1", "--backend", "openai", "--api", "responses")),
    "openai-completions": Case(_behind_an_api(FORCED_NEXT, " 1", "--backend", "openai", "--api", "completions")),
    "openai-schema": Case(
        _behind_an_api(("list", "next"), '{"answers": [1, 0]}', "--backend", "openai", "--answers", "schema")
    ),
    "anthropic": Case(_behind_an_api(ALL[1:], "1", "--backend", "anthropic")),
    "compared": Case(compared),
    "smollm2": Case(smollm2, tolerance=1e-4, weights=True),
}
