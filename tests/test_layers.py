"""Imports point one way by package, there is no import cycle, and heavy libraries load late."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "ffprompt"
# From the bottom up. A package may import those above it in this list. `backends.base` holds only types,
# and `backends.entry_points` and `elicitation.base` only names and what stands behind them, so they stand below the
# settings, which use all three.
# The top level may import anything.
LAYERS = (
    "errors",
    "_util",
    "stats",
    "tasks",
    "cost",
    "backends.base",
    "elicitation.base",
    "backends.entry_points",
    "reference",
    "config",
    "templates",
    "backends",
    "backends.local",
    "backends.api",
    "backends.registry",
    "scoring",
    "runs",
    "elicitation",
    "evaluation",
    "comparison",
    "analysis",
    "report",
    "interface",
    "integrations",
    "cli",
)
# Arrows within a layer's reach that are still not allowed: a backend sees requests and settings, never strings or runs.
FORBIDDEN = {
    "backends.local": {"templates", "stats"},
    "backends.api": {"tasks", "templates", "reference", "stats", "backends.local"},
    "report": {"backends", "backends.local", "backends.api", "backends.registry"},
    "comparison": {"backends", "backends.local", "backends.api", "backends.registry"},
}
SDKS = {"torch", "transformers", "openai", "anthropic", "vllm", "ray"}
HEAVY = SDKS | {"pandas", "pyarrow", "numpy", "scipy", "jinja2", "pydantic", "rich"}


@functools.cache
def modules() -> frozenset[str]:
    """The modules of the package without its name: ``tasks.flipflop``."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.stem not in ("__init__", "__main__")]
    return frozenset(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in paths)


def imports(module: str, at_import: bool = False) -> set[str]:
    """The modules of the package that a module imports, but for annotations; only those of its top level if asked."""
    tree = ast.parse((PACKAGE / (module.replace(".", "/") + ".py")).read_text())
    names = modules()
    found = set()
    for node in tree.body if at_import else _running(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ffprompt":
            base = (node.module or "").removeprefix("ffprompt").lstrip(".")
            for alias in node.names:
                member = f"{base}.{alias.name}".lstrip(".")
                found |= {member} & names or {base} & names
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def layer(module: str) -> str:
    """The longest name of a layer that a module begins with."""
    parts = module.split(".")
    candidates = [".".join(parts[:length]) for length in (2, 1)]
    return next(name for name in candidates if name in LAYERS)


@pytest.mark.parametrize("module", sorted(modules()))
def test_a_module_imports_only_from_its_own_layer_and_those_below(module: str) -> None:
    own = layer(module)
    for other in imports(module):
        below = layer(other)
        assert LAYERS.index(below) <= LAYERS.index(own), f"{module} imports {other} from above"
        assert below not in FORBIDDEN.get(own, ()), f"{module} imports {other}, which a module of {own} must not see"


def test_there_is_no_import_cycle() -> None:
    graph = {module: imports(module, at_import=True) for module in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import cycle: {' -> '.join(error.args[1])}")


def test_the_top_level_is_a_glossary() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "__main__", "errors"}


def test_importing_the_statistics_does_not_load_scipy() -> None:
    names = [f"ffprompt.stats.{path.stem}" for path in (PACKAGE / "stats").glob("[!_]*.py")]
    script = f"import sys, {', '.join(names)}; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "code",
    ["import ffprompt", "from ffprompt.cli.main import main; main(['run', '--help'])", "import ffprompt.cli.main"],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    script = f"{code}\nimport sys; print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
