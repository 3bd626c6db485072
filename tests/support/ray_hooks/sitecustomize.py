"""Loaded by every Python process that has this folder on PYTHONPATH: faults in a scripted model, for tests on Ray.

``FFPROMPT_FAULTS`` is a folder. Every request that a model is asked leaves a line in ``asked`` there. A file ``poison``
holds the end of the name of a trial that ends the process. A file ``slow`` makes every chunk take a while. The first
process that finds ``hang`` takes it away and hangs, and the first that finds ``other`` says that it is another model.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

_FOLDER = os.environ.get("FFPROMPT_FAULTS")


def _taken(name: str) -> bool:
    """Whether this process is the first to find a file, which it takes away."""
    try:
        (Path(str(_FOLDER)) / name).unlink()
    except FileNotFoundError:
        return False
    return True


def _install() -> None:
    from ffprompt.backends import scripted

    folder, score, init = Path(str(_FOLDER)), scripted.ScriptedBackend.score, scripted.ScriptedBackend.__init__

    async def faulty(self: Any, requests: Any) -> Any:
        with (folder / "asked").open("a") as file:
            file.write("".join(f"{request.key}\n" for request in requests))
        if (folder / "poison").exists():
            poison = (folder / "poison").read_text()
            if any(request.key.endswith(poison) for request in requests):
                os._exit(1)
        if _taken("hang"):
            time.sleep(1000)
        if (folder / "slow").exists():
            time.sleep(0.3)
        return await score(self, requests)

    def opened(self: Any, model: str) -> None:
        init(self, model)
        self.chunk = 8
        if _taken("other"):
            self.identity = self.identity.changed(note="another model")

    scripted.ScriptedBackend.score = faulty  # type: ignore[method-assign]
    scripted.ScriptedBackend.__init__ = opened  # type: ignore[method-assign]


class _Finder:
    """Waits until the model is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "ffprompt.evaluation.replica":
            sys.meta_path.remove(self)  # type: ignore[arg-type]
            _install()


if _FOLDER:
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]
