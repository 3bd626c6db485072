"""The name under which a run records a model that was handed to ``ffprompt.evaluate`` as an object.

The object lives in one Python process alone, so a run of it can be looked at, compared and scored again, and it can be
continued by handing over the object once more. No command can open it.
"""

from __future__ import annotations

from typing import NoReturn

from ffprompt.backends.spec import BackendSpec
from ffprompt.config.run_config import RunConfig
from ffprompt.errors import ModelError


def _refuse(config: RunConfig, weights: bool) -> NoReturn:
    raise ModelError(
        f"--backend object: {config.model} is an object of a Python program; hand it to ffprompt.evaluate there"
    )


SPEC = BackendSpec("object", _refuse, own_temperature=True)
