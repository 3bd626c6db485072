"""Where values stand in the words of every bundled template."""

from __future__ import annotations

import pytest

from ffprompt.analysis.diagnosis.places import place
from ffprompt.elicitation.wording import events
from ffprompt.tasks.flipflop import FLIP_FLOP, parse
from ffprompt.templates.loading import load, names
from ffprompt.templates.renderer import Renderer

TEMPLATES = [name for name in names() if load(name).task == FLIP_FLOP.name]


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_value_is_what_differs_from_the_opposite_string(name: str, blank: bool) -> None:
    words = Renderer(load(name), 2, FLIP_FLOP)
    one, other = (place(words, parse(text).string(0), blank) for text in ("w1i0r1w0i1r0", "w0i1r0w1i0r1"))
    assert one.text
    assert events(words, parse("w1i0r1w0i1r0").string(0), blank=blank)[0].startswith(one.text)
    values = [one.text[slice(*span)] if span else None for span in one.values]
    opposite = [other.text[slice(*span)] if span else None for span in other.values]
    assert [value is None for value in values] == [blank and read for read in (False, False, True) * 2]
    assert all(a != b for a, b in zip(values, opposite, strict=True) if a is not None)
    assert values[0] == opposite[3]
    assert values[1] == opposite[4]
    if not blank:
        assert (values[2], values[5]) == (words.surfaces[1], words.surfaces[0])

    def without(text: str, spans: object) -> str:
        for span in reversed([span for span in spans if span]):  # type: ignore[attr-defined]
            text = text[: span[0]] + text[span[1] :]
        return text

    assert without(one.text, one.values) == without(other.text, other.values)
