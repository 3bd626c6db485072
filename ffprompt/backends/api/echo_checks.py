"""What an echoed prompt's log-probabilities say against each other, or against the text they are of.

In ``forced`` the text that is written is the truth, so that most faults of a server favour the model. Every check
here compares two things that the server itself said, and is silent where both can be true.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from ffprompt.backends.api.echo import LEAST, ROUNDING, Token

# A text that any model copies, with four words in it that no model expects there. Its sentence is seven tokens long, so
# that numbers which stand a few places off do not meet the same word again, as they would in A B A B A B.
_SENTENCE = "The cat sat on the mat."
PROBE = " ".join([_SENTENCE] * 4 + ["The cat ran on the moon.", "The dog sat by the mat.", _SENTENCE])
PLANTED = ("ran", "moon", "dog", "by")
# Where a model that knows nothing but flip-flop strings is served, the sentence has no tokens.
PLAIN_PROBE = "1 0 1 1 0 1 0 0 1 0"

# A token's value is a log-probability up to this.
_HIGHEST = 1e-3
# Fewer places than these do not tell a constant from a coincidence.
_FEW = 8
# Planted words must be less probable than copied ones by this much, unless both are as improbable as to any model that
# cannot copy.
_GAP, _UNLIKELY = 1.0, -7.0
# Shares of places: more than the first is no accident of two tokens that are written alike.
_ALIKE, _CHANCE = 0.25, 0.1


def contradiction(tokens: Sequence[Token], asked: int) -> tuple[str, bool]:
    """Return what contradicts what in one echo, empty for nothing, and whether only this one answer may be damaged.

    ``asked`` is how many of the most probable tokens the server was asked for.
    """
    later = [token for token in tokens[1:] if token.logprob is not None and token.top]
    if why := _everywhere(later):
        return why, False
    found = [(token, why) for token in later if (why := _at(token, asked))]
    if found:
        token, why = found[0]
        return f"{why} (token {token.text!r} at character {token.start})", len(found) <= _CHANCE * len(later)
    alike = [token for token in later if _differs(token)]
    if len(alike) > max(1, _ALIKE * len(later)):
        token = alike[0]
        return (
            f"{token.text!r} at character {token.start} has {token.logprob:.4g} as its own log-probability and "
            f"{token.top[token.text]:.4g} in the list of its place, and so have {len(alike)} of {len(later)} tokens",
            False,
        )
    return "", False


def _at(token: Token, asked: int) -> str:
    """What is contradictory in one place."""
    own = token.logprob
    assert own is not None
    for name, value in [(token.text, own), *token.top.items()]:
        if math.isnan(value) or value > _HIGHEST:
            return f"{name!r} has {value:g}, which is no log-probability"
    shown = {token.text: own} | {name: value for name, value in token.top.items() if value > LEAST}
    mass = math.fsum(math.exp(value) for value in shown.values())
    if mass > 1 + ROUNDING:
        return f"the probabilities of one place sum to {mass:.3g}"
    if token.bound is None or own <= token.bound + ROUNDING:
        return ""
    if token.text not in token.top:
        return (
            f"its own log-probability {own:.4g} is above the least of the most probable tokens, {token.bound:.4g}, and "
            "it is not among them"
        )
    if len(token.top) > asked:
        return f"{asked} tokens were asked for and it is shown beyond them, though {own:.4g} is not the least"
    return ""


def _differs(token: Token) -> bool:
    """Whether a token's own log-probability is not that of the list in its place."""
    own = token.logprob
    return own is not None and token.text in token.top and abs(own - token.top[token.text]) > ROUNDING


def _everywhere(later: Sequence[Token]) -> str:
    """What is the same at every place and cannot be."""
    if len(later) < _FEW:
        return ""
    if len({round(token.logprob or 0.0, 6) for token in later}) == 1:
        return f"the server makes its log-probabilities up: every token has {later[0].logprob:g}"
    # The written token may be in a list for being written; the others are what the server found probable.
    lists = [{name: value for name, value in token.top.items() if name != token.text} for token in later]
    whole = {name: value for each in lists for name, value in each.items()}
    if whole and all(
        each == {name: value for name, value in whole.items() if name != token.text}
        for each, token in zip(lists, later, strict=True)
    ):
        return "the most probable tokens and their values are the same at every place, whatever stands before"
    return ""


def shifts(tokens: Sequence[Token]) -> Counter[int]:
    """Count, by distance, where the token stands that is ranked first: 0 is in its own place, 1 is one place on.

    Only the nearest counts. Places of which nothing is known do not.
    """
    found: Counter[int] = Counter()
    for place, token in enumerate(tokens):
        if place and token.top:
            first = max(token.top, key=lambda name: token.top[name])
            near = [step for step in (0, 1, -1, 2, -2) if 0 <= place + step < len(tokens)]
            found.update([step for step in near if tokens[place + step].text == first][:1])
    return found


def doubt(tokens: Sequence[Token], asked: int, given: int | None) -> str:
    """Return why the log-probabilities of the echoed probe are of no use. Empty where they are.

    ``given`` is how many of the most probable tokens a user insists on.
    """
    later = tokens[1:]  # nothing stands before the first
    if not later or any(token.logprob is None for token in later):
        return "the server leaves log-probabilities of the prompt out"
    shown = min(len(token.top) for token in later)
    if shown < 2:
        return f"the server shows {shown} of the most probable tokens; at least 2 are needed"
    if given is not None and shown < given:
        return f"--top-logprobs {given}: the server shows {shown}"
    why, _ = contradiction(tokens, asked)
    return next((each for each in (why, *_of_text(tokens)) if each), "")


def _of_text(tokens: Sequence[Token]) -> Iterator[str]:
    """What the log-probabilities of the probe say against its text."""
    counted = shifts(tokens)
    yield misplaced(counted)
    later = tokens[1:]
    likely = max(math.fsum(math.exp(value) for value in token.top.values()) for token in later)
    if counted[0] > len(later) / 3:
        if likely < 0.1:
            yield f"the server ranks tokens, but its numbers are no log-probabilities: they sum to at most {likely:.2g}"
        if max(math.fsum(2**value for value in token.top.values()) for token in later) < 1 + 2 * ROUNDING:
            yield "the server's logarithms are to base 2: as natural ones, no place has more than one probable token"
    yield _planted(tokens)


def misplaced(counted: Counter[int]) -> str:
    """Say so where the first-ranked token is, more often than in its own place, another one of the text."""
    step = max((each for each in counted if each), key=lambda each: counted[each], default=0)
    if not step or counted[step] < 4 or counted[step] <= counted[0]:
        return ""
    return (
        f"the server's log-probabilities stand {abs(step)} place{'s' * (abs(step) > 1)} off: the token ranked first is "
        f"{counted[0]} times the one that stands there and {counted[step]} times the one {abs(step)} "
        f"{'further on' if step > 0 else 'before'}"
    )


def _planted(tokens: Sequence[Token]) -> str:
    """Why the numbers do not follow the text: words that no model expects are as probable as copied ones."""
    text = PROBE
    fourth = (3 * (len(_SENTENCE) + 1), 4 * (len(_SENTENCE) + 1))
    wrong = [_value_at(tokens, text.index(word, fourth[1])) for word in PLANTED]
    right = [token.logprob for token in tokens if token.logprob is not None and fourth[0] < token.start < fourth[1]]
    known = [value for value in wrong if value is not None]
    if not known or not right or tokens[-1].start + len(tokens[-1].text) < len(text):
        return ""  # the plain probe
    if len(known) > 2 and len({round(value, 6) for value in known}) == 1:
        return f"the server makes its log-probabilities up: {len(known)} different unexpected words have {known[0]:.4g}"
    copied, planted = math.fsum(right) / len(right), math.fsum(known) / len(known)
    if copied - planted >= _GAP or planted < _UNLIKELY:
        return ""
    return (
        "the server's log-probabilities do not follow the text: words that do not belong into a sentence have "
        f"{planted:.2f} on average, those that were copied {copied:.2f}"
    )


def _value_at(tokens: Sequence[Token], character: int) -> float | None:
    """The log-probability of the token that begins a word."""
    covering = (token for token in tokens if token.start <= character < token.start + len(token.text))
    return next((token.logprob for token in covering), None)
