"""The bundled templates by what they word."""

from __future__ import annotations

from ffprompt.tasks import registry
from ffprompt.templates.loading import load, names


def flip_flop_templates() -> list[str]:
    """The names of those that word the flip-flop."""
    return [name for name in names() if load(name).task == registry.DEFAULT]
