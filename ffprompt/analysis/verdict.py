"""What a run says of a model in one sentence, and what its reader has to know first.

>>> verdicts([("smollm2-135m", result) for result in run.results])[0].sentence  # doctest: +SKIP
'below the best memoryless rule from T = 100 on, nowhere above it'

The floor of a condition is what the best rule without memory scores on the same reads. A condition is *above* it where
the whole interval of its accuracy is above, and *below* where the whole interval is below. It is *unclear* where the
floor lies within the interval, and where there are fewer than ten strings, on which some rule is right by luck. Where
most replies could not be read, or the model would nearly always write something other than an answer, the accuracy says
nothing about memory, and the condition has a ``problem`` instead of a verdict.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ffprompt._util.formatting import counted, plural_of, share
from ffprompt._util.plain import Plain
from ffprompt.analysis.condition_names import Rows, length, name_rows, parts
from ffprompt.scoring.condition_result import ConditionResult, Unread

Against = Literal["above", "below", "unclear"]
LOW_MASS = 0.05  # below it a choice among the answers says little about what a model would write
_RULE = "the best memoryless rule"
_FEWEST_STRINGS = 10  # on fewer, the best of several rules may be right at every read by luck
_MOST_PLACES = 3  # series of conditions that a sentence names, beyond which it counts conditions
# A warning of the statistics that explains an interval and changes nothing about how to read it.
_EXPLAINS = ("every read was right", "every read was wrong", "no read was right", "no read has an answer")


@dataclass(frozen=True)
class ConditionVerdict(Plain):
    """What one condition says.

    Attributes:
        condition: Its whole name.
        name: Its short name among the rows that were judged together.
        against_floor: Where its interval lies, or None where there is no interval, no floor, or a problem.
        all_right: Whether every answered read was right.
        below_chance: Whether answers were read and are right less often than a coin would be.
        problem: Why its accuracy says nothing about memory, with a reply and the flag that helps, or None.
    """

    condition: str
    name: str
    against_floor: Against | None
    all_right: bool
    below_chance: bool
    problem: str | None

    @property
    def word(self) -> str:
        """The verdict in a word or two, for a column of a table."""
        if self.problem is not None:
            return "no result"
        if self.below_chance:
            return "below chance"
        return self.against_floor or "no floor"


@dataclass(frozen=True)
class Verdict(Plain):
    """What a run says of one model.

    Attributes:
        model: The model, as it was given.
        answer: ``perfect`` where every read was right, ``above`` where every condition is above its floor, ``below``
            where none is above and some are below, ``mixed`` where some are above, ``unclear`` where none is told
            apart, ``no result`` where no condition says anything.
        sentence: The answer in words, without the model's name.
        conditions: Each condition's verdict, in the order of the rows.
    """

    model: str
    answer: Literal["perfect", "above", "mixed", "unclear", "below", "no result"]
    sentence: str
    conditions: tuple[ConditionVerdict, ...]

    def __str__(self) -> str:
        return f"{self.model}: {self.sentence}"


def verdicts(rows: Rows) -> list[Verdict]:
    """Return the verdict on each model, in the order in which models first appear.

    Args:
        rows: (model, condition) of every row of a table. Give all rows that are shown together, as short names depend
            on what else is there.
    """
    names = name_rows(rows).rows
    models: dict[str, list[tuple[ConditionResult, str]]] = {}
    for (model, condition), name in zip(rows, names, strict=True):
        models.setdefault(model, []).append((condition, name))
    return [_verdict(model, own) for model, own in models.items()]


def judge(condition: ConditionResult, name: str = "") -> ConditionVerdict:
    """Return the verdict on one condition. ``name``: what to call it, by default its whole name."""
    problem = no_result(condition)
    against: Against | None = None
    low, high, floor = condition.interval_low, condition.interval_high, condition.floor
    if problem is None and low is not None and high is not None and floor is not None:
        against = "above" if low > floor else "below" if high < floor else "unclear"
        against = against if condition.strings >= _FEWEST_STRINGS else "unclear"
    right, wrong, chance = condition.count("correct"), condition.count("wrong"), chance_level(condition)
    return ConditionVerdict(
        condition.condition,
        name or condition.condition,
        against,
        condition.accuracy == 1,
        problem is None and chance is not None and high is not None and high < chance and wrong > right,
        problem,
    )


def chance_level(condition: ConditionResult) -> float | None:
    """Return how often a guess among all symbols would be right, or None where the floors do not tell.

    That is the mean over the rules that always give one symbol.
    """
    constant = [value for name, value in condition.floors.items() if name.startswith("constant-")]
    return sum(constant) / len(constant) if constant else None


def no_result(condition: ConditionResult) -> str | None:
    """Return why the accuracy of a condition says nothing about memory, or None where it does say something."""
    answered = condition.reads - condition.count("error")
    if not answered:
        return "no read was answered"
    if condition.unread is not None:
        return unread(condition.unread)
    if 2 * condition.count("refused") > answered:
        return f"{condition.count('refused'):,} of {counted(answered, 'read')} were refused"
    mass = condition.mean_answer_mass
    if mass is not None and mass < LOW_MASS:
        return (
            f"answer mass {mass:.2g}: the model would nearly always write something other than an answer. Try another "
            "--template, or --shots 1"
        )
    return None


def unread(found: Unread, more: str = "see invalid.md in the run's folder") -> str:
    """Return why most trials of a condition have no answer, with one reply and the flag that helps.

    ``more`` says where further invalid replies are.
    """
    trials = f"{found.trials:,} of {counted(found.of, 'trial')}"
    quote = f' ("{found.quote}")' if found.quote else ""
    if found.outcome == "invalid":
        return f"{trials} {plural_of(found.trials, 'is', 'are')} invalid for one reason: {found.reason}{quote}; {more}"
    cure = "raise --max-tokens"
    if found.reasoning:
        cure = "the replies have reasoning: raise --reasoning-room or --max-tokens, or give --thinking off"
    were = plural_of(found.trials, "was", "were")
    return f"{trials} {were} cut off at the limit of {found.limit:,} tokens a reply{quote}; {cure}"


def warnings(rows: Rows) -> list[str]:
    """Return what changes how a table is to be read, one line each, with equal warnings of several rows in one.

    The most serious come first: results that mean nothing, accuracies below chance, then doubts about intervals.
    """
    names = name_rows(rows).rows
    several = len({model for model, _ in rows}) > 1
    places = [f"{model} {name}" if several else name for (model, _), name in zip(rows, names, strict=True)]
    found: dict[str, list[tuple[str, str]]] = {}  # by kind: (text, place)
    judged = [judge(condition, name) for (_, condition), name in zip(rows, names, strict=True)]
    for one, place in zip(judged, places, strict=True):
        if one.problem is not None:
            found.setdefault(f"0{_kind(one.problem)}", []).append((f"no result: {one.problem}", place))
    for one, (_, condition), place in zip(judged, rows, places, strict=True):
        if one.below_chance:
            found.setdefault("1", []).append((_below_chance(condition), place))
    for (_, condition), one, place in zip(rows, judged, places, strict=True):
        for text in condition.warnings if one.problem is None else ():
            if not text.startswith(_EXPLAINS):
                found.setdefault(f"2{_kind(text)}", []).append((text, place))
    return [_grouped(group, len(rows)) for group in found.values()]


def _kind(text: str) -> str:
    """A text without its numbers and quotations, which is the same for warnings of one kind."""
    return re.sub(r"[\d.,]+", "#", re.sub(r'\(".*"\)', "", text))


def _grouped(group: Sequence[tuple[str, str]], rows: int) -> str:
    """One line for warnings of one kind: the first text, and the rows that it is about."""
    text, place = group[0]
    if rows == 1:
        return text
    if len(group) == rows:
        return f"{text} ({'both' if rows == 2 else f'all {rows}'} rows{_range(group)})"
    if len(group) == 1:
        return f"{text} ({place})"
    return f"{text} ({place} and {len(group) - 1} more{_range(group)})"


def _range(group: Sequence[tuple[str, str]]) -> str:
    """Say that numbers differ from row to row, where they do."""
    return "" if len({text for text, _ in group}) == 1 else ", with other numbers"


def _below_chance(condition: ConditionResult) -> str:
    scored, chance = condition.reads - condition.count("error"), chance_level(condition)
    assert chance is not None
    return (
        f"below chance: {condition.count('correct'):,} of {counted(scored, 'read')} right, where guessing gets "
        f"about {chance * scored:,.0f}. The answers are mostly the opposite: look at a prompt and at replies"
    )


def _verdict(model: str, own: Sequence[tuple[ConditionResult, str]]) -> Verdict:
    judged = tuple(judge(condition, name) for condition, name in own)
    telling = [(c, j) for (c, _), j in zip(own, judged, strict=True) if j.problem is None]
    if not telling:
        same = {_kind(one.problem or "") for one in judged}
        why = judged[0].problem if len(same) == 1 else f"{judged[0].problem} ({judged[0].name})"
        return Verdict(model, "no result", f"no result: {why}", judged)
    lost = len(judged) - len(telling)
    rest = f". {lost} of {counted(len(judged), 'condition')} {'has' if lost == 1 else 'have'} no result" if lost else ""
    by = {kind: [(c, j) for c, j in telling if j.against_floor == kind] for kind in ("above", "below", "unclear")}
    if all(j.all_right for _, j in telling):
        return Verdict(model, "perfect", _perfect(telling) + rest, judged)
    if len(telling) == 1 and telling[0][1].against_floor is not None:
        return _single(model, telling[0], rest, judged)
    where = {kind: _places([c for c, _ in members], [c for c, _ in telling]) for kind, members in by.items() if members}
    if len(by["above"]) == len(telling):
        return Verdict(model, "above", _above(telling) + rest, judged)
    if by["above"]:
        text = f"above {_RULE} {where['above']}"
        if by["below"]:
            text += f", below it {where['below']}"
        if by["unclear"]:
            text += f", not told apart from it {where['unclear']}"
        return Verdict(model, "mixed", text + rest, judged)
    if by["below"]:
        nowhere = ", nowhere above it" if len(by["below"]) < len(telling) else ""
        return Verdict(model, "below", f"below {_RULE} {where['below']}{nowhere}{rest}", judged)
    if by["unclear"]:
        return Verdict(model, "unclear", f"nowhere told apart from {_RULE}{rest}", judged)
    accuracies = [c.accuracy for c, _ in telling if c.accuracy is not None]
    return Verdict(model, "unclear", f"accuracy {share(min(accuracies))} and up, without a floor{rest}", judged)


def _perfect(telling: Sequence[tuple[ConditionResult, ConditionVerdict]]) -> str:
    reads = sum(c.count("correct") for c, _ in telling)
    bounds = [c.zero_error_bounds.strings.high for c, _ in telling if c.zero_error_bounds is not None]
    conditions = f" in {len(telling)} conditions" if len(telling) > 1 else ""
    text = f"all {counted(reads, 'read')} right{conditions}"
    if bounds:
        each = " in each" if len(bounds) > 1 else ""
        text += f", error rate at most {share(max(bounds))}{each} (95% confidence, one-sided)"
    few = [c for c, j in telling if j.against_floor == "unclear"]
    if few:
        place = f" {_places(few, [c for c, _ in telling])}" if len(few) < len(telling) else ""
        if all(c.floor == 1 for c in few):
            text += f". {_RULE[0].upper()}{_RULE[1:]} is always right, too{place}, so memory cannot show"
        else:
            text += f". Too few strings to tell it from {_RULE}{place}"
    return text


def _single(
    model: str, one: tuple[ConditionResult, ConditionVerdict], rest: str, judged: tuple[ConditionVerdict, ...]
) -> Verdict:
    """The verdict on a model of which one condition says something: both numbers, and where."""
    condition, its = one
    place = f" at {its.name}" if len(judged) > 1 else ""
    numbers = f"{_RULE}{place} ({share(condition.accuracy)} against {share(condition.floor)}){rest}"
    match its.against_floor:
        case "above":
            return Verdict(model, "above", f"with errors, but above {numbers}", judged)
        case "below":
            return Verdict(model, "below", f"below {numbers}", judged)
        case _:
            return Verdict(model, "unclear", f"not told apart from {numbers}", judged)


def _above(telling: Sequence[tuple[ConditionResult, ConditionVerdict]]) -> str:
    worst, its = min(telling, key=lambda one: one[0].accuracy or 0.0)
    least = f"least accuracy {share(worst.accuracy)} at {its.name}"
    return f"above {_RULE} in all {len(telling)} conditions, with errors ({least})"


def _places(members: Sequence[ConditionResult], among: Sequence[ConditionResult]) -> str:
    """Where something holds: ``from T = 100 on``, ``everywhere``, ``at T = 50 (1-shot)``, ``in 3 of 8 conditions``."""
    if len(members) == len(among):
        return "everywhere"
    count = f"in {len(members)} of {len(among)} conditions"
    series: dict[str, list[ConditionResult]] = {}
    labels = _series_labels(among)
    for condition, label in zip(among, labels, strict=True):
        series.setdefault(label, []).append(condition)
    chosen = {id(condition) for condition in members}
    spans: dict[str, list[str]] = {}  # by where in a series: the series
    for label, conditions in series.items():
        if any(length(condition) is None for condition in conditions):
            return count
        lengths = sorted({length(condition) or 0 for condition in conditions})
        held = sorted({length(condition) or 0 for condition in conditions if id(condition) in chosen})
        if held:
            spans.setdefault(_span(held, lengths), []).append(label)
    if sum(len(owners) for owners in spans.values() if len(owners) < len(series)) > _MOST_PLACES:
        return count
    if len(series) == 1:
        return next(iter(spans))
    said = []
    for span, owners in spans.items():
        whose = "" if len(owners) == len(series) else f"({_and(owners)})"
        said.append(" ".join(text for text in (span, whose) if text) if span else f"for {_and(owners)}")
    return " and ".join(said)


def _span(held: Sequence[int], lengths: Sequence[int]) -> str:
    """Which of the lengths hold, in words; nothing where all do."""
    if list(held) == list(lengths):
        return "" if len(lengths) == 1 else "at every T"
    if list(held) == list(lengths[-len(held) :]):
        return f"from T = {held[0]} on"
    if list(held) == list(lengths[: len(held)]) and len(held) > 1:
        return f"up to T = {held[-1]}"
    return f"at T = {_and([str(one) for one in held])}"


def _and(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _series_labels(conditions: Sequence[ConditionResult]) -> list[str]:
    """What tells the series of a model apart, each of which is one setting at several lengths."""
    every: list[Mapping[str, str]] = [parts(condition) for condition in conditions]
    kinds = [kind for kind in every[0] if kind != "T" and len({made[kind] for made in every}) > 1]
    if "elicitation" in kinds:
        kinds = [kind for kind in kinds if kind != "form"]
    return [", ".join(made[kind] for kind in kinds if made[kind]) for made in every]


def sentences(found: Iterable[Verdict]) -> list[str]:
    """Return one line for each model: its name and what the run says of it."""
    return [str(one) for one in found]
