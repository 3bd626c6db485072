"""Whether two runs that say they asked the same model the same question also showed it the same text."""

from __future__ import annotations

import numpy as np

from ffprompt._util.formatting import counted, plural_of
from ffprompt.comparison.conditions import RunCondition


def other_prompts(a: RunCondition, b: RunCondition) -> list[str]:
    """Return a warning if all settings are the same and what the model was shown is not, and otherwise nothing.

    A chat template that writes the date does that. Runs whose settings, weights or chat template differ are expected to
    show other prompts. Of runs of earlier versions it is not known.
    """
    templates = [cell.source.info["model"].get("chat_template") for cell in (a, b)]
    if a.prompt is None or b.prompt is None or a.settings != b.settings or templates[0] != templates[1]:
        return []
    shown, other = _by_string(a), _by_string(b)
    both = [key for key in shown.keys() & other.keys() if None not in (shown[key], other[key])]
    differing = sum(shown[key] != other[key] for key in both)
    if not differing:
        return []
    return [
        f"the settings are the same and {differing:,} of {counted(len(both), 'prompt')} "
        f"{plural_of(differing, 'is', 'are')} not: the model was shown another text (does its chat template write the "
        "date? run.json has a sample of each condition)"
    ]


def _by_string(cell: RunCondition) -> dict[int, str | None]:
    """The digest of each string's prompt, where the strings of a file are known by their own digest."""
    assert cell.prompt is not None
    names = cell.string if cell.sampled or cell.digest is None else cell.digest
    strings, first = np.unique(names, return_index=True)
    return dict(zip(strings.tolist(), cell.prompt[first].tolist(), strict=True))
