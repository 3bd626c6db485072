"""Prompts and questions for tests, without a plan."""

from __future__ import annotations

from collections.abc import Sequence

from ffprompt.backends.base import Message
from ffprompt.elicitation.base import Form, find_elicitation
from ffprompt.elicitation.condition import Condition
from ffprompt.elicitation.question import Prompt, PromptParts, Question, Turn
from ffprompt.tasks.strings import String
from ffprompt.templates.renderer import Renderer


def prompt(
    words: Renderer,
    elicitation: str,
    form: Form,
    string: String,
    shots: Sequence[String] = (),
    next_read: int = -1,
    turn_instructions: int | None = None,
) -> Prompt:
    """Return the prompt of an elicitation by its name. ``next_read`` is the read asked, -1 the last."""
    found = find_elicitation(elicitation)
    asked = (next_read % string.read_count if next_read == -1 else next_read,) if found.asks_one_read else ()
    return found.prompt(PromptParts(words, form, string, shots, asked, turn_instructions))


def dialogue(
    turns: Sequence[Turn],
    key: str = "t",
    messages: tuple[Message, ...] = (),
    limits: Sequence[int] | None = None,
    truth: tuple[int, ...] = (),
    silence: str = "-",
) -> Question:
    """Return a question of a dialogue with these turns."""
    counts = tuple(turn.reads for turn in turns)
    return Question(
        condition=Condition(0, "game", 0, 16, find_elicitation("dialogue"), "chat", 20, None),
        key=key,
        prompt=Prompt("", messages, (), tuple(range(sum(counts))), turns=tuple(turns)),
        truth=truth,
        surfaces=("0", "1"),
        counts=counts,
        limits=tuple(limits or [64] * len(counts)),
        silence=silence,
        hints={"oracle": truth},
    )
