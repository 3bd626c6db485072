"""Imports point one way, and what is heavy is loaded late."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# Each module may import those of the rows above its own, and its own row.
LAYERS = [
    {"errors", "files", "terminal", "usage", "compare_parser", "train_parser", "sweep_parser"},
    {"crash"},
    {"stats", "price_package"},
    {"prices", "repeats"},
    {"language", "requests", "marks", "parsing", "spelling", "structured", "templates"},
    {"floors", "history", "dataset", "prompting", "config", "dialogue", "studies"},
    {"trials"},
    {"scoring", "estimates", "facets", "shown"},
    {"stopping", "store", "unread"},
    {"parts"},
    {"spending"},
    {"table"},
    {"dissection"},
    {"asking"},
    {"runner"},
    {"comparison"},
    {"batches"},
    {"wording"},
    {"display"},
    {"compare_display", "sweep_display"},
    {"report"},
    {"compare_commands"},
    {"anatomy_command", "batch_commands", "export_command", "report_commands", "sweep_command", "train_command"},
    {"commands"},
    {"cli", "__main__"},
]
# Backends see requests and settings; strings, scores and runs are nothing to them.
BACKENDS_MAY_SEE = {
    "crash", "errors", "files", "usage", "prices", "requests", "config", "marks", "structured", "backends", "reference",
}  # fmt: skip
SDKS = {"torch", "transformers", "openai", "anthropic", "vllm", "ray"}
HEAVY = SDKS | {"pandas", "pyarrow", "numpy", "scipy", "jinja2", "pydantic", "rich"}


def imported(path: str) -> set[str]:
    """The ffprompt modules (first component) that a file imports anywhere but under TYPE_CHECKING."""
    tree = ast.parse((ROOT / path).read_text())
    guarded = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ffprompt":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
    return found


def test_every_module_has_a_layer_and_imports_only_from_its_own_or_below() -> None:
    order = {name: level for level, row in enumerate(LAYERS) for name in row}
    for path in sorted((ROOT / "ffprompt").glob("*.py")):
        if path.stem == "__init__":
            continue
        assert path.stem in order, f"{path.name} has no layer"
        for name in imported(f"ffprompt/{path.name}") & order.keys():
            assert order[name] <= order[path.stem], f"{path.name} imports {name} from above"


def test_backends_know_requests_and_not_strings() -> None:
    for path in sorted((ROOT / "ffprompt" / "backends").glob("*.py")):
        if path.stem == "reference":  # the reference models read raw symbols, through the reference package
            continue
        assert imported(f"ffprompt/backends/{path.name}") <= BACKENDS_MAY_SEE, path.name


def test_comparisons_read_runs_and_start_none() -> None:
    order = [name for row in LAYERS for name in sorted(row)]
    below = set(order[: order.index("asking")])
    for path in sorted((ROOT / "ffprompt" / "comparison").glob("*.py")):
        assert imported(f"ffprompt/comparison/{path.name}") <= below | {"comparison"}, path.name


def test_statistics_know_counts_and_nothing_else() -> None:
    for path in sorted((ROOT / "ffprompt" / "stats").glob("*.py")):
        assert imported(f"ffprompt/stats/{path.name}") <= {"errors", "stats"}, path.name


def test_a_report_is_made_from_runs_and_knows_no_backend() -> None:
    below = {name for row in LAYERS[: LAYERS.index({"report"}) + 1] for name in row}
    for path in sorted((ROOT / "ffprompt" / "report").glob("*.py")):
        assert imported(f"ffprompt/report/{path.name}") <= below | {"__version__"}, path.name


def test_importing_the_statistics_does_not_load_scipy() -> None:
    names = [f"ffprompt.stats.{path.stem}" for path in (ROOT / "ffprompt" / "stats").glob("[!_]*.py")]
    script = f"import sys, {', '.join(names)}; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "code",
    ["import ffprompt", "from ffprompt.cli import main; main(['run', '--help'])", "import ffprompt.cli"],
)
def test_importing_and_help_load_nothing_heavy(code: str) -> None:
    script = f"{code}\nimport sys; print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
