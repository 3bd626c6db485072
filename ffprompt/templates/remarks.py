"""What is allowed in a template and still worth a second look: it may measure something else than was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ffprompt.tasks import registry
from ffprompt.tasks.events import Event
from ffprompt.templates.schema import Template

# A text is called longer than another where it has this many times its characters.
_LONGER = 2.0


def remarks(template: Template) -> list[str]:
    """Return what is worth a second look, each in one line that begins with the key."""
    events = registry.example(template.task).events
    found = list(_after_the_answer(template))
    for event in events:
        texts = [] if event.is_read else template.instructions.of(event)
        if isinstance(texts, list) and texts:
            found += _one_by_one(template, event, texts)
    return found


def _after_the_answer(template: Template) -> Iterator[str]:
    """A read that goes on after its answer."""
    reads = {"instructions.read": template.instructions.read}
    reads |= {f"functions.{name}.read": one.read for name, one in template.functions.items()}
    for key, text in reads.items():
        after = re.sub(r"<[^>]*>", "", re.split(r"\{\{\s*answer\s*\}\}", text, maxsplit=1)[-1])
        if any(letter.isalnum() for letter in after):
            yield (
                f"{key}: {after.strip()!r} follows the answer, so a base model has to answer before it has read the "
                "question; let the read end with {{ answer }}"
            )


def _one_by_one(template: Template, event: Event, texts: Sequence[str]) -> Iterator[str]:
    """Texts that stand for one argument each."""
    key = f"instructions.{event.name}"
    values = template.values if event.arguments is None and isinstance(template.values, list) else None
    if event.effect != "idle":
        return
    if values is not None and not any("{{" in text for text in texts):
        pairs = ", ".join(f"{text!r} for {value!r}" for text, value in zip(texts, values, strict=False))
        yield (
            f"{key}: one text for each symbol ({pairs}), no free alternatives; a rule that copies the last symbol "
            "reads them as such"
        )
    answers = values or ()
    naming = [text for text in texts if any(_names(text, answer) for answer in answers)]
    if naming and len(naming) < len(texts):
        other = next(text for text in texts if text not in naming)
        yield f"{key}: {naming[0]!r} names an answer and {other!r} does not; name each answer once, or none"
    shortest, longest = min(texts, key=len), max(texts, key=len)
    if len(longest) > _LONGER * len(shortest):
        yield (
            f"{key}: {longest!r} is {len(longest) / max(len(shortest), 1):.1f} times as long as {shortest!r}; texts of "
            "one length make strings of one length"
        )


def _names(text: str, answer: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, re.IGNORECASE) is not None
