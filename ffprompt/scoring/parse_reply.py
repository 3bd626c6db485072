"""From a model's free-text reply to exactly ``count`` answers, or to the reason why it holds none.

::

    >>> parse_list("The reads return:\\n1. on\\n2. off\\n3. on", ["off", "on"], 3)
    Parsed(answers=(1, 0, 1), reason=None)
    >>> parse_list("1, 0, 1. Wait, actually it must be 1, 1, 1.", ["0", "1"], 3)
    Parsed(answers=None, reason='two different lists of 3 answers')

A wrong number is worse than no number, so nothing here picks for the model. Reasoning blocks go, markup turns into
spaces, every list becomes a candidate (numbered rows in ``_tables``, lines of values in ``_blocks``, lists within text
in ``_sentences``), and ``_reconcile`` refuses unless they leave one answer. A candidate that is not "sure", since the
words around it do not state it, can contradict an answer but never be one. Every step takes linear time.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from ffprompt.backends.reasoning_marks import first_said, strip_marks, strip_reasoning
from ffprompt.scoring.reply_tokens import Token, tokenizer_of
from ffprompt.scoring.spelling import LABEL, plain

_NO_LIST = "no list of {} answers"
UNENDED = "the reasoning never ends, so the answer never came"


@dataclass(frozen=True, slots=True)
class Parsed:
    """Answers as indices into the values, or None and one short line that says why."""

    answers: tuple[int, ...] | None
    reason: str | None


def parse_list(
    text: str, values: Sequence[str], count: int, *, ignore_case: bool = False, tags: Sequence[str] = ()
) -> Parsed:
    """Read exactly ``count`` answers out of a chat reply. ``tags`` are a user's own, around reasoning."""
    body = strip_reasoning(text, tags)
    if body is None:
        return Parsed(None, UNENDED)
    body = plain(strip_marks(body), values)
    if not body.strip():
        return Parsed(None, "the reply is empty")
    lines = [*_lines(body, tokenizer_of(tuple(values), count, ignore_case))]
    found = sorted([*_tables(lines), *_blocks(lines), *_sentences(lines)], key=lambda candidate: candidate.at)
    mentioned = [token.values for line in lines for token in line.tokens if token.kind == "v"]
    parsed = _reconcile(body, found, mentioned, count)
    if parsed.reason == _NO_LIST.format(count):
        return _traced(body, lines, found, count) or _negated(body, values, mentioned, count, ignore_case) or parsed
    return parsed


def parse_next(
    text: str,
    values: Sequence[str],
    *,
    ignore_case: bool = False,
    completion: bool = False,
    tags: Sequence[str] = (),
) -> Parsed:
    """Read one answer, out of a chat reply or at the very start of a base model's ``completion``."""
    if not completion:
        return parse_list(text, values, 1, ignore_case=ignore_case, tags=tags)
    said = first_said(text, tags)
    if said is None:
        return Parsed(None, UNENDED)
    # "onion" is not "on", "10" is not "1", but "1w0i1" is 1.
    edges = [r"(?!\d)" if value[-1:].isdigit() else r"(?!\w)" if value[-1:].isalpha() else "" for value in values]
    hedged = r"(?!-\w| ?/ ?\w|\s+or\b)"  # "on-going", "on/off", "on or off" are no answer either
    patterns = [
        re.escape(value) + edge + hedged if value else "(?!)" for value, edge in zip(values, edges, strict=True)
    ]
    fits = [index for index, pattern in enumerate(patterns) if re.match(pattern, said.lstrip(), re.I * ignore_case)]
    return Parsed((fits[0],), None) if len(fits) == 1 else Parsed(None, "the reply does not start with an answer")


class _Candidate(NamedTuple):
    """A list in the reply: ``items`` is None when it is one that cannot be read (a blank, a foreign value, an "or")."""

    at: int
    items: tuple[int, ...] | None
    sure: bool = True  # may be the answer
    alone: bool = True  # False: one value in a sentence, or values run together; must stand unopposed
    so: bool = False  # introduced as a conclusion, or followed by its reason


_SAID = {
    "states": "is are were be it's that's return returns returned give gives yields equals contains holds reads",
    "answers": "answer answers read reads result results missing blanks return returns output outputs",
    "hedges": "not never no either neither whether between if cannot could might may can possible wrong incorrect",
    "asked": "write writes written wrote writing ignore ignores ignored ignoring",
    "example": "example instance format e.g suppose many count total length",
    "opens": "so ok okay sure yes thus therefore hence finally in order",
    "so": "so thus therefore hence means finally",
}
_SAYS = {word: {name for name in _SAID if word in _SAID[name].split()} for word in " ".join(_SAID.values()).split()}


@dataclass(slots=True)
class _Sentence:
    """The kind of what stands right before the next value (p: nothing), and the classes of the words so far."""

    before: str = "p"
    said: set[str] = field(default_factory=set)
    clause: set[str] = field(default_factory=set)  # since the last comma

    def hear(self, kind: str, text: str) -> None:
        """Go on by one token."""
        if kind == "p":
            self.before, self.said, self.clause = ("s" if self.before == "v" else "p"), set(), set()  # "Here: 1. 0, 1"
        elif kind == "s":
            self.before, self.clause = ("p" if self.before == "p" else "s"), set()
        elif kind == "w":
            says = _SAYS.get("not" if text.endswith("n't") else text, set())
            self.said, self.clause = self.said | says, self.clause | says
            self.before = "p" if self.before == "p" and "opens" in says else "w"
        elif kind in "iqd":  # nothing introduces after a value, a dash only after a word
            self.before = "s" if self.before == "v" or (kind == "d" and self.before != "w") else kind.replace("d", "i")
        elif kind != "g" and text.isascii():
            self.before = {"o": "o", "x": "s"}.get(kind, "v")


def _sentences(lines: Sequence[_Line]) -> Iterator[_Candidate]:
    """Values within text that have nothing but separators between them."""
    for line in lines:
        if line.kind in "piw" or (line.kind == "r" and line.value is None):
            sentence, heard = _Sentence("v" if line.kind == "r" else "p"), 0
            for run in re.finditer(r"[vcne](?:[sg]*[vcne])*", "".join(token.kind for token in line.tokens)):
                for token in line.tokens[heard : run.start()]:
                    sentence.hear(token.kind, token.text)
                heard = run.end()
                if candidate := _judge(
                    line.tokens[run.start() : heard], sentence, _after(line.tokens, heard, run.start())
                ):
                    yield candidate
                sentence.hear("v", "")


# Words of a remark that leave the answer open, and the most tokens of a remark.
_OPEN = re.compile(
    "maybe|perhaps|probably|possibly|guess|guessing|unsure|sure|certain|uncertain|think|believe|likely|might|could|if|"
    "unless|assuming|depending|either|neither|wait|actually|correction|oops|sorry|wrong|incorrect|mistake|should|"
    "example|format|alternatively"
)
_REMARK = 80


def _remark(tokens: Sequence[Token], start: int, at: int) -> bool:
    """Whether a list is followed by a remark on it, in brackets or after a dash, which leaves it as it is."""
    opening = tokens[at] if at < len(tokens) else None
    if opening is None or not (opening.kind == "d" or opening.text == "("):
        return False
    rest = tokens[at + 1 : at + 2 + _REMARK]
    end = next((here for here, token in enumerate(rest) if ")" in token.text), len(rest))
    inside, beyond = (rest, []) if opening.kind == "d" else (rest[:end], rest[end + 1 :])
    own = {value for token in tokens[start:at] if token.kind in "vc" for value in token.values}
    values = {value for token in inside if token.kind in "vc" for value in token.values}
    if (
        len(rest) > _REMARK
        or values - own
        or any(token.kind in "eo" or _OPEN.fullmatch(token.text) for token in inside)
    ):
        return False
    if values and (len(own) > 1 or _denies(inside)):
        return False
    ends = all(token.kind == "p" for token in beyond[:1]) and not any(token.kind in "vcn" for token in beyond)
    return ends and any(token.kind == "w" for token in inside)


def _denies(tokens: Sequence[Token]) -> bool:
    return any("hedges" in _SAYS.get("not" if token.text.endswith("n't") else token.text, ()) for token in tokens)


def _after(tokens: Sequence[Token], at: int, start: int = 0) -> str:
    """How the text goes on after a list. One that runs into other words may be only part of a longer one."""
    if _remark(tokens, start, at):
        return "remark"
    end = next((here for here in range(at, len(tokens)) if tokens[here].kind not in "sg"), len(tokens))
    separators = [token.kind == "s" for token in tokens[at:end]]
    if end == len(tokens):
        return "linked" if separators and separators[-1] else "end"  # cut off after a comma
    kind, text, following = tokens[end].kind, tokens[end].text, tokens[end + 1] if end + 1 < len(tokens) else None
    if kind == "o" or text in ("because", "since", "as"):
        return "or" if kind == "o" else "why"
    # An emoji ends a list as well as a full stop does.
    if text == "respectively" or (kind == "p" and not any(separators)) or (kind == "x" and not text.isascii()):
        return "linked" if following and following.kind in "vcne" else "end"
    return "linked" if any(separators) or kind in "vcne" else "word"


def _judge(run: Sequence[Token], sentence: _Sentence, after: str) -> _Candidate | None:
    """What values amount to where they stand."""
    at, before, said = run[0].at, sentence.before, sentence.said
    kinds, one = {token.kind for token in run}, len(run) == 1
    if "example" in said or ("asked" in said and "answers" not in said) or (one and kinds <= {"n", "e"}):
        return None
    if before == "o" or after == "or":
        return _Candidate(at, None, alone=not one)
    stated = before in "pi" or (before in "wv" and "states" in sentence.clause)
    stated = stated or (before == "q" and ("answers" in said or not one))
    sure = stated and "hedges" not in sentence.clause
    items = tuple(value for token in run for value in token.values)
    if one:
        sure = sure and after in ("end", "why", "remark") and (kinds == {"v"} or before != "w" or "answers" in said)
        return _Candidate(at, items, alone=False, so=after in ("why", "remark") or "so" in said) if sure else None
    if not kinds <= {*"vsg"} or (stated and after == "linked"):
        return _Candidate(at, None) if stated or "e" in kinds else None
    if len(run) == 3 and run[1].text == "and" and before != "i" and "answers" not in said:
        return None  # "turns the light on and off" lists nothing
    return _Candidate(at, items, sure=sure and after in ("end", "remark"))


_ROW = re.compile(
    rf"{LABEL}(?: ?(?:[:=→⇒]+|->|=>|\.(?= )|[-–—](?= )|\bis\b) ?|(?<=[\])]) ?)(?=\S)|\| ?{LABEL} ?\|", re.IGNORECASE
)


class _Line(NamedTuple):
    kind: str  # " " empty, f brackets or the rule of a table, v a value, V several, r row, i item, w no prose, p prose
    tokens: Sequence[Token]
    label: int = -1  # of a row, with its value unless that is not one answer
    value: int | None = None


def _lines(body: str, tokenizer: Callable[[str, int], list[Token]]) -> Iterator[_Line]:
    """What each line of the reply is."""
    ruled = False
    for match in re.finditer(r"^.*$", body, re.MULTILINE):
        line = match[0].removeprefix("- ")
        head = match.end() - len(line)
        ruled = line.startswith("|") and (ruled or "--" in line)
        tokens = tokenizer(re.sub(r"^\||\|$", " ", line).replace("|", ",") if line.startswith("|") else line, head)
        kinds = "".join(token.kind for token in tokens)
        if not kinds.strip("gsdip") and line != "-":
            yield _Line("f" if tokens else " ", ())
        elif row := _row(line, head, tokens, ruled):
            yield _Line("r", tokens, *row)
        elif not kinds.removesuffix("p").strip("vcnesg"):
            yield _Line("V" if len(kinds) - sum(map(kinds.count, "sgp")) > 1 else "v", tokens)
        else:
            lone = "w" not in kinds or (kinds == "w" and line.lower() not in _SAYS)  # "Answers" may be a heading
            yield _Line("i" if line != match[0] else "w" if lone else "p", tokens)


def _row(line: str, at: int, tokens: Sequence[Token], ruled: bool) -> tuple[int, int | None] | None:
    """The number at the head of a line and the one answer after it, if it is one. A remark may follow."""
    match = _ROW.match(line)
    start = match.end() if match else 0
    if match and line.startswith("|"):
        start = line.rstrip("| ").rfind("|") + 1
        before = [token.at for token in tokens if token.kind in "vc" and token.at < at + start]
        # Without a header "| 1 | 0 |" may be two answers; and a cell between number and answer must hold no value.
        if start < match.end() or (before and (not ruled or before[-1] >= at + match.end())):
            return None
    rest = [token for token in tokens if token.at >= at + start and token.text.strip("[{")]
    clean = len({(token.kind, token.values) for token in rest if token.kind in "ve"}) == 1 and rest[0].kind == "v"
    clean = clean and (_after(rest, 1) in ("end", "why", "remark") or rest[1].text[0] in "(-–—")
    return (int(re.sub(r"[^0-9]", "", match[0])), rest[0].values[0] if clean else None) if match else None


def _tables(lines: Sequence[_Line]) -> Iterator[_Candidate]:
    """Numbered rows, also with explanations between them: a table goes on for as long as its numbers do."""
    tables: list[list[_Line]] = [[]]
    for line, above in zip(lines, " " + "".join(line.kind for line in lines), strict=False):
        if tables[-1] and line.label in (0, 1) and line.label != tables[-1][-1].label + 1 and above != "r":
            tables.append([])
        tables[-1] += [line] if line.kind == "r" else []
    for table in tables:
        items = tuple(row.value for row in table if row.value is not None)
        whole = [row.label for row in table] in ([*range(len(items))], [*range(1, len(items) + 1)])
        if items:
            yield _Candidate(table[0].tokens[0].at, items if whole else None)


def _blocks(lines: Sequence[_Line]) -> Iterator[_Candidate]:
    """Lines of nothing but values. A blank line parts two lists, but not answers that stand one a line."""
    kinds = "".join(line.kind for line in lines)
    for match in re.finditer(r"v(?:[ f]*v)*(?!f*[vV])|[vV](?:f*[vV])*", kinds):
        tokens = [token for line in lines[match.start() : match.end()] for token in line.tokens]
        held = [token for token in tokens if token.kind in "vcne"]
        # Spoiled by an item that is no value, "unlit" above or below "on" and "off", or by a comma at either end.
        edges = {kinds[match.start() - 1 : match.start() + 1], kinds[match.end() - 1 : match.end() + 1]}
        after = "linked" if edges & {"iv", "wv", "vi", "vw"} or "s" in (tokens[0].kind, tokens[-1].kind) else "end"
        if candidate := _judge(held, _Sentence("i"), after):
            yield candidate._replace(alone=held[0].kind == "v")


_MARK = re.compile(
    r"(?im)\b(?:final (?:answer|list|result)s?|answers?)\b(?: ?\([^()\n]{0,60}\))?"
    r"(?:(?: [^\W\d_]+){0,6}? ?(?:[:=→]|->|\bis\b|\bare\b)|$)"
)
_CORRECTION = re.compile(
    r"(?i)\b(?:wait|actually|correction|oops|sorry|scratch that|hold on|second thought|let me re-?\w+|should (be|have)"
    r"|(is|was|are|were) (wrong|incorrect)|(not|isn't) (right|correct|sure)|(a|my) mistake|or maybe|alternatively)\b"
)
_REFUSAL = re.compile(r"(?i)\b(?:don't know|do not know|cannot|can't|unable|unclear|unknown|not sure)\b")


def _marked(body: str, found: Sequence[_Candidate]) -> tuple[list[_Candidate], bool]:
    """The first list after each "answer:" and before the next, and whether the last "answer:" has none."""
    starts, marks, picks, empty = [one.at for one in found], [*_MARK.finditer(body)], [], False
    for mark, until in zip(marks, [*(mark.start() for mark in marks[1:]), len(body)], strict=False):
        at = bisect_left(starts, mark.end())
        pick = found[at] if at < len(found) and found[at].at < until else None
        refused = _REFUSAL.search(body, mark.end(), pick.at if pick else min(until, mark.end() + 80))
        if pick and not refused:
            picks.append(pick)
        empty = bool(refused) or (not (pick and pick.sure) and mark[0].endswith((":", "=")))
    return picks, empty


def _reconcile(body: str, found: Sequence[_Candidate], mentioned: Sequence[tuple[int, ...]], count: int) -> Parsed:
    """The one list that the reply states, if it states one and takes nothing back."""
    if count > 1:  # then one value in a sentence is part of an explanation
        found = [one for one in found if one.alone or (one.items and len(one.items) == count)]
    firm, (picks, empty) = [one for one in found if one.sure], _marked(body, found)
    if empty or not firm:
        return Parsed(None, "no answer stands where one is announced" if empty else _NO_LIST.format(count))
    chosen = ((marked := [pick for pick in picks if pick.sure]) or firm)[-1]
    rivals = [one for one in found if not marked or one.at >= chosen.at] + picks
    right = {(one.items, one.at) for one in rivals if one.items and len(one.items) == count}
    weak, reason = not (marked or chosen.alone), None
    if len({items for items, _ in right}) > 1:
        reason = f"two different lists of {count} answers"
    elif chosen.items is None:
        reason = "a list has a blank, an unknown value or an alternative in it"
    elif len(chosen.items) != count:
        reason = f"found {len(chosen.items)} answers, wanted {count}"
    elif _CORRECTION.search(body, max(one.at for one in firm if one.items == chosen.items)):
        reason = "the answer is followed by a correction"
    elif weak and count == 1 and (len({*mentioned}) > 1 or (len(mentioned) != len(right) and not chosen.so)):
        reason = "values are mentioned, but none as the answer"
    elif weak and count > 1 and len(firm) > len(right):
        reason = "values run together are not the only list"
    return Parsed(None if reason else chosen.items, reason)


_STEP = {"step", "line", "instruction", "row", "the", "no", "op", "operation"}


def _traced(body: str, lines: Sequence[_Line], found: Sequence[_Candidate], count: int) -> Parsed | None:
    """The answers of a trace, "3. read → 1": of its steps those that read, where no list is given besides."""
    steps = [step for line in lines if (step := _step(line)) is not None]
    answers = tuple(answer for _, _, answer in steps if answer is not None)
    numbers = [number for _, number, _ in steps if number >= 0]
    in_order = all(before < after for before, after in pairwise(numbers))
    if len(answers) != count or len(steps) != count or len(numbers) not in (0, count) or not in_order:
        return None
    opposed = any(one.items is None or (len(one.items) == count and one.items != answers) for one in found if one.alone)
    at = steps[0][0]
    if opposed or _CORRECTION.search(body, at) or _REFUSAL.search(body, at):
        return None
    return Parsed(answers, None)


def _step(line: _Line) -> tuple[int, int, int | None] | None:
    """Of a step that reads: where it stands, its number or -1, and its answer, if it is one. None for other lines."""
    tokens = [token for token in line.tokens if token.kind != "g"]
    head = next((here for here, token in enumerate(tokens[:5]) if token.text in ("read", "r")), None)
    if head is None or any(token.kind not in "vnip" and token.text not in _STEP for token in tokens[:head]):
        return None
    labels = [token.text for token in tokens[:head] if token.kind in "vn"]
    number = int(labels[0]) if len(labels) == 1 and labels[0].isascii() and labels[0].isdigit() else -1
    at = head + 1
    while at < len(tokens) and (tokens[at].kind == "e" or tokens[at].text in ("it", "value", "bit", "memory")):
        at += 1
    says = at < len(tokens) and (tokens[at].kind in "iq" or "states" in _SAYS.get(tokens[at].text, ()))
    answer = tokens[at + 1] if says and at + 1 < len(tokens) else None
    clean = answer is not None and answer.kind == "v" and _after(tokens, at + 2, at + 1) in ("end", "why", "remark")
    return tokens[0].at, number, answer.values[0] if clean and answer else None


_DENIAL = (
    r"(?i)\s*(?:(?:so|thus|therefore|hence|now|currently),? )?(?:the (?!answer|value|word|output|result|reply)"
    r"[a-z]+(?: [a-z]+)?|it|they) (?:(?:is|are) (?:now |currently )?(?:not|no longer)|isn't|aren't) "
    r"(?:(?:turned|switched|set|in|on|at)(?: the)? )?({})(?: any ?more| any longer| now| at this point)?[.!]?\s*"
)


def _negated(
    body: str, values: Sequence[str], mentioned: Sequence[tuple[int, ...]], count: int, ignore_case: bool
) -> Parsed | None:
    """The answer of "the light is not on": of two states the other one, where a reply says that and nothing else."""
    if count != 1 or len(values) != 2 or len(mentioned) != 1 or not all(value.isalpha() for value in values):
        return None
    word = "|".join(map(re.escape, values))
    said = re.fullmatch(_DENIAL.format(word if ignore_case else f"(?-i:{word})"), body)
    return Parsed((1 - mentioned[0][0],), None) if said else None
