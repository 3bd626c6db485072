"""What may be said of causes, in sentences. Attention alone is never called one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ffprompt.analysis.diagnosis.ablation import Cut, Removed
from ffprompt.analysis.diagnosis.estimates import Estimate
from ffprompt.analysis.diagnosis.patching import Patching
from ffprompt.analysis.diagnosis.probe import LOST, NONE, THERE, Probed

if TYPE_CHECKING:
    from ffprompt.analysis.diagnosis.diagnose import ConditionDiagnosis

_SMALL = 0.05  # share of sets that do as much harm, up to which the chosen heads stand out
_NO_WIDTH = 1e-9
_SAME_SIGN = 6  # strings
_CARRIES = 0.1  # effect of a head from which it is named
_NAMED = 3  # heads that are named


def conclusions(found: Sequence[ConditionDiagnosis]) -> list[str]:
    """Return what may be said of causes, in sentences."""
    said = []
    if not any(one.ablation is not None or one.patching is not None for one in found):
        said.append(
            "Attention says where heads look, not what they do: this is no evidence of a cause. "
            "To test it: --ablate 1 5 10, --patch"
        )
    for one in found:
        own = [*_ablated(one), *_patched(one.patching), *_probed(one.probe)]
        said += [f"{short(one)}: {text}" for text in own]
        if (one.ablation is not None or one.patching is not None) and one.against_floor != "above":
            said.append(f"{short(one)}: nothing follows for its memory, since it is not above its floor")
    return said


def short(one: ConditionDiagnosis) -> str:
    """Return the last part of a condition's name."""
    return one.condition.rsplit("/", 1)[-1]


def _ablated(one: ConditionDiagnosis) -> list[str]:
    if one.ablation is None:
        return []
    said = [_sentence(removed) for removed in one.ablation.removed]
    if cuts := [_cut(cut) for cut in one.ablation.cuts if told(cut.difference)]:
        said.append(f"errors change when reads do not see {', '.join(cuts)}")
    return said


def _patched(patching: Patching | None) -> list[str]:
    if patching is None:
        return []
    total = _numbers(patching.total)
    if not patching.has_effect:
        return [f"flipping the write does not change the answer for certain ({total} logits): patching says nothing"]
    heads = sorted(
        (head for head in patching.heads if head.effect and head.effect.low is not None and head.effect.low > 0),
        key=lambda head: -(head.effect.estimate if head.effect else 0),
    )
    named = [f"{one.name} {_numbers(one.effect)}" for one in heads if one.effect and one.effect.estimate >= _CARRIES]
    carried = f"heads that carry it: {', '.join(named[:_NAMED])}" if named else "no single head carries a tenth of it"
    return [f"flipping the write changes the answer by {total} logits; {_moves(patching)}{carried}"]


def _moves(patching: Patching) -> str:
    """From which block on the read holds more of the write's value than the write."""
    effects: dict[int, dict[str, float]] = {}
    for one in patching.groups:
        if one.effect is not None:
            effects.setdefault(one.layer, {})[one.group] = one.effect.estimate
    layers = sorted(effects)
    ahead = [effects[layer].get("read", 0.0) > effects[layer].get("write", 0.0) for layer in layers]
    behind = [layer for layer, is_ahead in zip(layers, ahead, strict=True) if not is_ahead]
    if not behind or behind[-1] == layers[-1]:
        return ""
    return f"before layer {behind[-1] + 1} it has reached the read; "


def _probed(probed: Probed | None) -> list[str]:
    if probed is None or probed.verdict == NONE:
        return []
    best = probed.states[probed.best_state]
    numbers = f"a probe of {best.name} tells it at {_numbers(probed.at_wrong)} of the wrong reads"
    if probed.verdict == THERE:
        return [f"the bit is there and not read: {numbers}, chance {probed.chance:.2f}"]
    right = "" if probed.at_right is None else f" and at {_numbers(probed.at_right)} of the right ones"
    if probed.verdict == LOST:
        return [f"the bit is lost where the answer is wrong, or held in a form that is not linear: {numbers}{right}"]
    return [f"whether the bit is there at wrong reads is not told apart: {numbers}{right}"]


def told(difference: Estimate | None) -> bool:
    """Return whether a difference is told apart from none.

    Strings that all show the same difference give an interval without width, however few they are. Then a sign test
    decides: 2 * 0.5**6 is below 0.05.
    """
    if difference is None or difference.low is None or difference.high is None:
        return False
    if difference.high - difference.low < _NO_WIDTH and difference.strings < _SAME_SIGN:
        return False
    return difference.low > 0 or difference.high < 0


def _numbers(value: Estimate | None) -> str:
    if value is None:
        return "None"
    if value.low is None or value.high is None:
        return f"{value.estimate:.2f}"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def _cut(cut: Cut) -> str:
    assert cut.difference is not None
    words = {"write": "the write", "stale": "earlier writes", "ignored": "ignored values", "first": "the first token"}
    return (
        f"{words[cut.role]} ({cut.difference.estimate:+.3f}, {cut.difference.low:+.3f} to {cut.difference.high:+.3f})"
    )


def _sentence(removed: Removed) -> str:
    one = removed.count == 1
    heads = "the head that attends" if one else f"the {removed.count} heads that attend"
    difference, sets = removed.difference, len(removed.random)
    if difference is None or difference.low is None or difference.high is None:
        return f"too few strings to say what {heads} most to the write does"
    harm = round(removed.p * (1 + sets)) - 1
    interval = f"{difference.low:+.3f} to {difference.high:+.3f}"
    numbers = f"{difference.estimate:+.3f} ({interval}); {harm} of {sets} random sets do as much harm"
    if difference.low > 0 and removed.p <= _SMALL:
        return f"without {heads} most to the write, errors rise more than without random ones: {numbers}"
    if difference.low > 0:
        return f"without {heads} most to the write, errors rise more than on average without random ones: {numbers}"
    if difference.high < 0:
        return f"without {heads} most to the write, errors rise less than without random ones: {numbers}"
    return f"taking away {heads} most to the write is not told apart from random ones: {numbers}"
