"""Which backends there are: those of this package, and those that other packages bring by an entry point.

A package adds a backend with one line of its ``pyproject.toml``::

    [project.entry-points."ffprompt.backends"]
    my-server = "my_package.backend:SPEC"

The value names a ``BackendSpec``. Nothing is imported before a backend is opened, so that names can be checked early.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

GROUP = "ffprompt.backends"
BACKENDS = {
    "transformers": "ffprompt.backends.local.transformers:SPEC",
    "vllm": "ffprompt.backends.local.vllm:SPEC",
    "openai": "ffprompt.backends.api.openai:SPEC",
    "anthropic": "ffprompt.backends.api.anthropic:SPEC",
    "reference": "ffprompt.backends.local.reference:SPEC",
    "scripted": "ffprompt.backends.scripted:SPEC",
}
# A backend that was handed over as an object.
OBJECT = "object"
# Names in records that nobody can ask for on the command line: that one, and harnesses whose logs become runs.
RECORDED = {
    OBJECT: "ffprompt.backends.own_object:SPEC",
    "lm-eval": "ffprompt.integrations.recorded:LM_EVAL",
    "inspect": "ffprompt.integrations.recorded:INSPECT",
}


def find_backend(name: str) -> EntryPoint | None:
    """Return where a backend's ``BackendSpec`` is, or None for an unknown name. Those of this package come first."""
    if known := BACKENDS.get(name) or RECORDED.get(name):
        return EntryPoint(name, known, GROUP)
    return next(iter(entry_points(group=GROUP, name=name)), None)


def backend_names() -> tuple[str, ...]:
    """Return the names of all backends, those of this package first."""
    return tuple(dict.fromkeys([*BACKENDS, *sorted(entry_points(group=GROUP).names)]))
