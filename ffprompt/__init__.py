"""Measure how reliably a language model remembers one bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Run", "Spec", "Strings", "__version__", "anatomy", "compare", "diagnose", "evaluate", "gate", "load", "parse",
    "sample", "trend",
]  # fmt: skip

if TYPE_CHECKING:
    from ffprompt.analysis.error_analysis import anatomy
    from ffprompt.comparison.compare import compare
    from ffprompt.comparison.gate import gate
    from ffprompt.comparison.trend import trend
    from ffprompt.interface.diagnose import diagnose
    from ffprompt.interface.evaluate import evaluate
    from ffprompt.interface.run import Run, load
    from ffprompt.tasks.flipflop import Spec, parse, sample
    from ffprompt.tasks.strings import Strings

_HOME = {
    "Spec": "tasks.flipflop", "Strings": "tasks.strings", "parse": "tasks.flipflop", "sample": "tasks.flipflop",
    "evaluate": "interface.evaluate", "Run": "interface.run", "load": "interface.run",
    "anatomy": "analysis.error_analysis", "compare": "comparison.compare", "gate": "comparison.gate",
    "trend": "comparison.trend", "diagnose": "interface.diagnose",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import public names when they are first used, so that ``import ffprompt`` and ``--help`` stay light."""
    if name not in _HOME:
        raise AttributeError(f"module 'ffprompt' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"ffprompt.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
