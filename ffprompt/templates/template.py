"""The names of this package in one place."""

from ffprompt.templates.frame import ANSWER, EVENTS, Frame
from ffprompt.templates.loading import folder, load, names
from ffprompt.templates.renderer import Renderer
from ffprompt.templates.schema import Chat, Completion, Instructions, Reply, Template

__all__ = [
    "ANSWER", "EVENTS", "Chat", "Completion", "Frame", "Instructions", "Renderer", "Reply", "Template", "folder",
    "load", "names",
]  # fmt: skip
