"""From a trace, the state written down after every event, to the answers that it gives at the reads.

A trace is numbered lines, one for each event, with an arrow before the state, and then the answers once more::

    >>> steps = Steps.of(["write 1", "read ?", "read ?"], asked=[1, 2], known=["write 0"])
    >>> parse_trace("1. write 1 -> 1\\n2. read ? -> 1\\n3. read ? -> 0\\nAnswers: 1, 1", steps, ["0", "1"])
    Trace(answers=(1, 0), reasons=(None, None), final=(1, 1), ended=False, reason=None, is_free=False)

The line about a read is its answer. Nothing here picks for the model: a trace that has not exactly one line an event,
or a line about another event than its number says, gives no answers at all, and a line with two states or none gives
none to its own read. What the answers at the end say never changes those in the lines. A chat model may also reason in
words of its own, without numbered lines; its answers are then those at the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ffprompt.backends.reasoning_marks import first_said, strip_marks, strip_reasoning
from ffprompt.scoring.parse_reply import UNENDED, parse_list
from ffprompt.scoring.spelling import unify
from ffprompt.scoring.value_forms import padded, with_signs


@dataclass(frozen=True, slots=True)
class Steps:
    """What the lines of a trace are about.

    ``items`` are the events of the string in words, reads left blank, and ``asked`` the places of the asked reads among
    them. ``known`` are the words of all events that there can be. ``solved`` is which answer a read says that is not
    left blank. All these words are ``bare``. ``closings`` are what may stand before the answers at the end.
    """

    items: tuple[str, ...]
    asked: tuple[int, ...]
    known: frozenset[str] = frozenset()
    solved: Mapping[str, int] = field(default_factory=dict)
    closings: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        items: Sequence[str],
        asked: Sequence[int],
        known: Iterable[str] = (),
        solved: Mapping[str, int] | None = None,
    ) -> Steps:
        """Return the steps of a string from its words as they stand.

        A read whose words are those of another answer, but for signs and case, says no answer.
        """
        count = Counter(map(bare, solved or ()))
        answers = {bare(text): answer for text, answer in (solved or {}).items() if count[bare(text)] == 1}
        words = frozenset(map(bare, known)) - {item for item, times in count.items() if times > 1}
        return cls(tuple(map(bare, items)), tuple(asked), words, answers)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a trace says at the asked reads.

    ``answers`` are symbols, None where a line gives none, and ``reasons`` say why. ``final`` are those at the end,
    None where there are none or they cannot be read. ``ended``: a base model has gone on with another text.
    ``reason`` says why a reply is no trace at all. ``is_free``: a chat model has reasoned in its own way, without
    numbered lines, and ``answers`` are those at its end.
    """

    answers: tuple[int | None, ...] = ()
    reasons: tuple[str | None, ...] = ()
    final: tuple[int, ...] | None = None
    ended: bool = False
    reason: str | None = None
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a trace: its number, the words before the arrow, and the symbol after it, if that is one."""

    number: int
    item: str
    state: int | None
    has_arrow: bool = True


# An arrow, also as LaTeX writes it.
_SIGN = r"(?:-+>|=+>|[→⇒⟶➔➜]|\$?\\(?:(?:long)?rightarrow|to|implies)\b\$?)"
_HEAD = re.compile(
    rf"[\s>#|+•(\[-]*(?:(?:after )?(?:step|line|item|event|input|instruction|no)\.?\s*#?\s*)?(\d{{1,5}})"
    rf"\s*(?:[.):\]|]+|(?={_SIGN}))\s*(.*)",
    re.IGNORECASE,
)
_ARROW = re.compile(rf"{_SIGN}|\|")
# "state: heads" says the state of a line without an arrow, and may stand on a line of its own below.
_LABEL = re.compile(r"\b(?:state|result|answer)\s*[:=]+", re.IGNORECASE)
_BELOW = re.compile(rf"\s*(?:[-+•]\s+)?(?:{_SIGN}|(?:(?:new|current) )?(?:state|result)\s*[:=]+)(.*)", re.IGNORECASE)
_REMARK = re.compile(r"\s*\([^()]*\)[\s.]*\Z")
_CLOSING = re.compile(r"\W*(?:(?:so|thus|therefore|the|my|final|here|are|is)\W+)*answers?\b", re.IGNORECASE)
_MINUS = re.compile(r"(?<![^\s(])-(?=[^\W_])")
_UNSURE = re.compile(r"\b(?:not|or|nor|either|neither|maybe|unless|if)\b|n't\b|\?", re.IGNORECASE)


def bare(text: str) -> str:
    """Return the words of a text alone, in lower case.

    A minus sign in front of a word is one of them, as "-i" is not "i".

    >>> bare("The light is turned ___."), bare('<img src="dark.png">'), bare("read -i")
    ('the light is turned', 'img src dark png', 'read minus i')
    """
    return re.sub(r"[\W_]+", " ", _MINUS.sub(" minus ", text.casefold())).strip()


def parse_trace(
    text: str,
    steps: Steps,
    values: Sequence[str],
    *,
    ignore_case: bool = False,
    completion: bool = False,
    tags: Sequence[str] = (),
) -> Trace:
    """Read a trace out of a reply. ``completion``: a base model wrote it, and goes on writing when it is over."""
    said = first_said(text, tags) if completion else strip_reasoning(text, tags)
    if said is None:
        return Trace(reason=UNENDED)
    said = with_signs(unify(strip_marks(said), values), values)
    written = _without_emphasis(said, values).split("\n")
    lines, rest = _numbered(written, values, ignore_case, completion)
    tail, ended = "\n".join(rest), False
    if completion:
        # A base model's answers end with their line, as in a list; what follows is another text.
        at = next((place for place, line in enumerate(rest) if line.strip()), len(rest))
        tail, ended = "".join(rest[at : at + 1]), at + 1 < len(rest)
    if not lines and not completion and (free := _free(written, steps, values, ignore_case)) is not None:
        return Trace(free, (None,) * len(free), is_free=True)
    if problem := _problem(lines, steps):
        return Trace(ended=ended, reason=problem)
    found = [_answer(lines, place, steps) for place in steps.asked]
    tail = tail.strip()
    for closing in steps.closings:
        tail = tail.removeprefix(closing)
    final = parse_list(tail, values, len(steps.asked), ignore_case=ignore_case).answers if tail.strip() else None
    return Trace(tuple(answer for answer, _ in found), tuple(reason for _, reason in found), final, ended)


def _free(written: Sequence[str], steps: Steps, values: Sequence[str], ignore_case: bool) -> tuple[int, ...] | None:
    """Return the answers on and after the one line that begins with "Answers:"; None where there is no such line."""
    headings = [place for place, line in enumerate(written) if _CLOSING.match(line)]
    if len(headings) != 1:
        return None
    tail = "\n".join(written[headings[0] :])
    return parse_list(tail, values, len(steps.asked), ignore_case=ignore_case).answers


def _without_emphasis(text: str, values: Sequence[str]) -> str:
    """Return a text without marks of emphasis and code, but for those that values are written with."""
    marks = "".join(mark for mark in "*`" if not any(mark in value for value in values))
    return text.translate({ord(mark): None for mark in marks})


def _numbered(
    written: Sequence[str], values: Sequence[str], ignore_case: bool, completion: bool
) -> tuple[list[_Line], Sequence[str]]:
    """Return the numbered lines of a reply and what stands after them.

    Lines after a heading such as "Answers:" are no part of the trace, though a list of answers may be numbered too.
    """
    lines: list[_Line] = []
    after = 0
    for place, text in enumerate(written):
        match = _HEAD.fullmatch(text)
        if match:
            lines.append(_line(int(match[1]), match[2], values, ignore_case))
            after = place + 1
        elif lines and after == place and not completion and (below := _below(lines[-1], text, values, ignore_case)):
            lines[-1] = below
            after = place + 1
        elif lines and text.strip() and (completion or _CLOSING.match(text)):
            break
    return lines, written[after:]


def _line(number: int, rest: str, values: Sequence[str], ignore_case: bool) -> _Line:
    rest = rest.rstrip(" |\t\r")
    arrows = list(_ARROW.finditer(rest))
    if arrows:
        return _Line(number, bare(rest[: arrows[0].start()]), _state(rest[arrows[-1].end() :], values, ignore_case))
    labels = list(_LABEL.finditer(rest))
    if labels and (state := _state(rest[labels[-1].end() :], values, ignore_case)) is not None:
        return _Line(number, bare(rest[: labels[0].start()]), state)
    alone = _state(rest, values, ignore_case)
    words = bare(rest)
    is_alone = alone is not None and words == bare(values[alone])
    return _Line(number, "" if is_alone else words, alone if is_alone else None, has_arrow=False)


def _below(line: _Line, text: str, values: Sequence[str], ignore_case: bool) -> _Line | None:
    """Return a line without a state with the one that the text below it gives, None where that gives none."""
    match = _BELOW.fullmatch(text) if line.state is None and not line.has_arrow else None
    return replace(line, state=_state(match[1], values, ignore_case), has_arrow=True) if match else None


def _state(text: str, values: Sequence[str], ignore_case: bool) -> int | None:
    """Return the one value that a text ends with, if it says it plainly and names no other.

    A remark in brackets may follow.
    """
    text = padded(text, tuple(values))
    pattern = _pattern(tuple(values), ignore_case)
    named = {_index(match[0], tuple(values), ignore_case) for match in pattern.finditer(text)}
    if len(named) != 1 or _UNSURE.search(_outside(text, values)):
        return None
    plain = _REMARK.sub("", text)
    ends = [match.end() for match in pattern.finditer(plain)]
    return named.pop() if ends and not bare(plain[ends[-1] :]) else None


def _outside(text: str, values: Sequence[str]) -> str:
    """Return a text without its values, which may be words such as "not"."""
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, " ")
    return text


@lru_cache(1024)
def _pattern(values: tuple[str, ...], ignore_case: bool) -> re.Pattern[str]:
    """Each value as a word of its own, the longest first."""
    pieces = [
        (r"(?<![^\W_])" if value[0].isalnum() else "")
        + re.escape(value)
        + (r"(?![^\W_])" if value[-1].isalnum() else "")
        for value in sorted(values, key=len, reverse=True)
    ]
    return re.compile("|".join(pieces), re.IGNORECASE if ignore_case else 0)


@lru_cache(1 << 14)
def _index(text: str, values: tuple[str, ...], ignore_case: bool) -> int:
    return [value.casefold() for value in values].index(text.casefold()) if ignore_case else values.index(text)


def _problem(lines: Sequence[_Line], steps: Steps) -> str | None:
    """Return why lines are no trace of the string."""
    if not lines:
        return "no numbered lines"
    events, numbers = len(steps.items), {line.number for line in lines}
    if (most := max(numbers)) > events:
        return f"a line {most} in the trace of {events} events"
    if missing := sorted(set(range(1, events + 1)) - numbers):
        return f"no line {missing[0]} in the trace of {events} events"
    for line in lines:
        if not line.number:
            continue  # "0. start -> heads" says where the string begins
        expected = steps.items[line.number - 1]
        other = line.item and line.item != expected and line.item in steps.known
        if other and not (line.number - 1 in steps.asked and line.item in steps.solved):
            return f"line {line.number} of the trace is about another event"
    return None


def _answer(lines: Sequence[_Line], place: int, steps: Steps) -> tuple[int | None, str | None]:
    """Return what the lines about one read answer, or why they do not."""
    mine = [line for line in lines if line.number == place + 1]
    given = {line.state for line in mine if line.state is not None}
    # "read 1 -> 0" answers a read that the string leaves blank, and then says something else.
    given |= {steps.solved[line.item] for line in mine if line.item in steps.solved and line.item != steps.items[place]}
    if len(given) > 1:
        return None, f"two different answers in line {place + 1} of the trace"
    if not given or any(line.state is None and line.has_arrow for line in mine):
        return None, f"no answer in line {place + 1} of the trace"
    return given.pop(), None
