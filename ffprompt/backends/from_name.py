"""Which backend a model is meant for, told from its name where none is given.

Nothing is downloaded, and no backend is imported.
"""

from __future__ import annotations

import re
from pathlib import Path

from ffprompt._util.storage import existing
from ffprompt.backends.entry_points import backend_names
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.tasks import registry

FAULTS = ("coin", "malformed", "refusing", "truncating", "failing", "slow")
"""The scripted models that show what a fault does to the table."""

SHIPPED_NAMES = ("smollm2-135m", "gemma3-270m")
"""Short names of weights that a Python package brings."""

OLD_HUB_NAMES = frozenset({"gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2"})
"""Ids without an owner that the hub still knows and that people use for this task."""

_CHECKPOINTS = Path(__file__).parents[1] / "reference" / "checkpoints"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SCRIPTED = re.compile(r"constant-\d+|glitch-[\d.eE+-]+")


def reference_names() -> tuple[str, ...]:
    """Return the names of the bundled reference models."""
    return tuple(sorted(path.stem for path in _CHECKPOINTS.glob("*.safetensors")))


def scripted_names() -> tuple[str, ...]:
    """Return the names of the scripted models, but for those with a number of their own such as ``glitch-0.01``."""
    return ("oracle", *registry.rule_names(), *FAULTS)


def model_names() -> tuple[str, ...]:
    """Return every model name that ffprompt knows by itself."""
    return (*SHIPPED_NAMES, *reference_names(), *scripted_names())


def backend_for(model: str) -> str:
    """Return the name of the backend that a model is meant for.

    >>> backend_for("smollm2-135m"), backend_for("EleutherAI/pythia-1b"), backend_for("claude-haiku-4-5")
    ('transformers', 'transformers', 'anthropic')

    Raises:
        ConfigError: The name could mean anything.
    """
    if model in scripted_names() or _SCRIPTED.fullmatch(model):
        return "scripted"
    if model in reference_names():
        return "reference"
    if (path := existing(model)) is not None:
        return "reference" if _is_training(path) else "transformers"
    if model in SHIPPED_NAMES or model.lower() in OLD_HUB_NAMES or _HUB_ID.fullmatch(model):
        return "transformers"
    if model.startswith("claude-"):
        return "anthropic"
    if re.match(r"gpt-|chatgpt-|o\d", model):
        return "openai"
    raise ConfigError(
        f"model {model!r}: no backend follows from this name; give one of {', '.join(backend_names())}"
        f"{did_you_mean(model, model_names())}"
    )


def _is_training(path: Path) -> bool:
    """Whether a path is a reference model: a checkpoint, or the folder of a training."""
    if path.is_dir():
        return (path / "training.json").is_file()
    return path.suffix == ".safetensors"
