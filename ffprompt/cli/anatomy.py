"""``ffprompt anatomy``: what the errors of a run have in common, on the terminal and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ffprompt._util.files import json_bytes
from ffprompt._util.formatting import NO_DATA, counted, plural_of, share, signed, span
from ffprompt.analysis.accuracy import Accuracy, AccuracyBin, Drift
from ffprompt.analysis.calibration import Calibration
from ffprompt.analysis.error_analysis import ConditionErrors, ErrorAnalysis, anatomy
from ffprompt.analysis.rule_fits import RuleFit, RuleFits
from ffprompt.analysis.rule_meanings import meaning
from ffprompt.analysis.self_knowledge import OWN, SHOWN, Predictor
from ffprompt.analysis.template_sensitivity import TemplateDifference, TemplateSensitivity
from ffprompt.cli.console import line
from ffprompt.errors import ConfigError, did_you_mean
from ffprompt.report.labels import apart, parts_of
from ffprompt.runs.folder import replace_file

_MOST_ROWS = 12  # conditions of the short table
_MOST_RULES = 6  # rules that are defined below it


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``anatomy``."""
    parser.add_argument("run", metavar="RUN", help="a folder under results/")
    parser.add_argument(
        "--condition", action="append", default=[], metavar="TEXT",
        help="only conditions with TEXT in their name, such as list or T=100; repeatable, and all must be there",
    )  # fmt: skip
    parser.add_argument("--verbose", action="store_true", help="print every bin, rule and calibration")
    parser.add_argument("--json", metavar="FILE", help="also write every number to a file")


def execute(options: argparse.Namespace) -> int:
    """Show the anatomy of a run's errors."""
    json_file = Path(options.json) if options.json else None
    return show(Path(options.run), json_file, options.condition, options.verbose)


def show(path: Path, json_file: Path | None, chosen: Sequence[str] = (), verbose: bool = False) -> int:
    """Print the anatomy of a run, and write it to a file if one is given.

    One condition is shown with its rules and its bins, several with a line each. ``verbose`` shows everything.

    Returns:
        3 when the run is not complete, else 0.

    Raises:
        ConfigError: No condition has the texts of ``chosen`` in its name.
    """
    found = anatomy(path)
    if json_file is not None:
        replace_file(json_file, json_bytes(found.to_json(), indent=2) + b"\n")
    names, shared = apart([_parts(one) for one in found.conditions])
    named = [
        (one, name)
        for one, name in zip(found.conditions, names, strict=True)
        if all(_has(one, text) for text in chosen)
    ]
    if not named:
        known = [part for one in found.conditions for part in _parts(one) if part]
        raise ConfigError(
            f"--condition {' '.join(chosen)}: no condition of {path} has that in its name"
            f"{did_you_mean(chosen[-1] if chosen else '', known)}"
        )
    line(f"{found.model}: {found.run_id}")
    if verbose:
        for text in _everything(found, [one for one, _ in named]):
            line(text)
    elif len(named) == 1:
        for text in _one(named[0][0]):
            line(text)
    else:
        for text in _several(named, shared):
            line(text)
    if not found.complete:
        line(f"the run is {found.status}, not complete: these are the reads that it has so far")
    return 0 if found.complete else 3


def _parts(one: ConditionErrors) -> tuple[str, ...]:
    """What tells a condition from others."""
    turns = f" by {one.turn_instructions}" if one.turn_instructions else ""
    shots = f"{one.shots}-shot"
    *_, task, length, p = ["", "", "", *parts_of(one.language)]
    return one.template, shots, f"{one.elicitation}{turns}", one.form, task, length, p


def _has(one: ConditionErrors, text: str) -> bool:
    return text in one.condition or text in _parts(one)


def _several(named: Sequence[tuple[ConditionErrors, str]], shared: str) -> Iterator[str]:
    """A line a condition: its accuracy, what explains its wrong answers, and where they are."""
    shown = named[:_MOST_ROWS]
    if shared:
        yield shared
    rows: list[Sequence[str]] = [
        ("condition", "accuracy", "95% interval", "missed", "explained by", "its share", "along the string")
    ]
    for one, name in shown:
        rows.append((name, *_in_a_line(one)))
    yield from _aligned(rows, "", left=(0, 4))
    missing = [(one, name) for one, name in shown if one.missing_trials or one.outcomes.get("error")]
    if missing:
        trials = sum(one.missing_trials for one, _ in missing)
        reads = sum(one.outcomes.get("error", 0) for one, _ in missing)
        parts = [f"{counted(trials, 'trial')} missing"] if trials else []
        parts += [f"{counted(reads, 'read')} whose call failed"] if reads else []
        yield f"{' and '.join(parts)}, in {len(missing)} of these conditions"
    if len(named) > len(shown):
        yield f"and {counted(len(named) - len(shown), 'more condition')}: --verbose, or --condition TEXT"
    best = list(dict.fromkeys(rule for one, _ in named for rule in one.rules.best))
    for rule in best[:_MOST_RULES]:
        count = sum(rule in one.rules.best for one, _ in named)
        yield f"{rule} (in {count} of {len(named)}): {meaning(rule)}"
    for one, name in shown:
        if any(known.of == SHOWN for known in one.self_knowledge):
            yield from (f"{name}: {text}" for text in _knows(one.self_knowledge))
        yield from (f"{name}: {text}" for text in _priors(one))
    if not best:
        yield "no rule without memory explains wrong answers here"
    yield _EXPLAINED
    yield "its share: wrong answers that are the rule's own; along the string: change of accuracy from start to end"
    yield f"one condition with its rules and bins: --condition {_parts(named[0][0])[2]}; everything: --verbose"


def _in_a_line(one: ConditionErrors) -> tuple[str, ...]:
    if one.all is None:
        return NO_DATA, NO_DATA, NO_DATA, "no reads to count", "", ""
    best = [fit for fit in one.rules.rules if fit.rule in one.rules.best]
    rule = " and ".join(one.rules.best) + " *" if best else "none is wrong" if not one.rules.wrong else "no rule"
    drift = signed(one.drift.change) if one.drift else "–"
    missed = f"{one.all.misses:,} of {one.all.reads:,}"
    return share(one.all.accuracy), span(one.all.low, one.all.high), missed, rule, _own(best[0]) if best else "–", drift


_EXPLAINED = (
    "*: explains. Wrong more often where the rule is wrong, on reads where chance decides that (p < 0.05 / rules tried)"
)
_BINS = "bins: 0, 1, 2, 3–4, 5–8 and so on; tenths of the string for positions; intervals have strings as clusters"


def _one(one: ConditionErrors) -> Iterator[str]:
    """One condition on a screen: its rules with counts, and its accuracy by gap, position and so on in a line each."""
    yield one.condition
    missing = _missing(one)
    if one.all is None:
        yield f"no reads to count{_failed(one)}{missing}"
        return
    yield f"{_numbers(one.all)}{_failed(one)}{missing}"
    yield from _rules(one.rules, "")
    for title, bins in _bins_of(one):
        parts = [f"{bin_.label}: {share(bin_.accuracy)} ({bin_.reads:,})" for bin_ in bins]
        yield f"by {title} (reads): {', '.join(parts)}"
    yield from (text.strip() for text in _drift(one.drift))
    yield from (*_knows(one.self_knowledge), *_priors(one))
    yield _BINS
    yield "intervals of every bin, and calibration: --verbose"


def _everything(found: ErrorAnalysis, chosen: Sequence[ConditionErrors]) -> Iterator[str]:
    for one in chosen:
        yield ""
        yield from _condition(one)
    for group in found.templates:
        yield ""
        yield from _templates(group)
    yield ""
    yield "accuracy and intervals (95%) as in the result table: the read is the unit, the string the cluster"
    yield _EXPLAINED
    yield _BINS
    for rule in dict.fromkeys(fit.rule for one in chosen for fit in one.rules.rules):
        yield f"{rule}: {meaning(rule)}"


def _bins_of(one: ConditionErrors) -> Iterator[tuple[str, Sequence[AccuracyBin]]]:
    """Each way of putting the reads of a condition into bins, but for those that have one bin."""
    for title, bins in (
        (f"gap: {one.gap_counts}", one.by_gap),
        ("steps since the state was set", one.by_steps),
        ("distractors that contradict", one.by_contradictions),
        ("position in the string", one.by_position),
        ("what is read", one.by_kind),
        ("whether the same was read before", one.by_earlier_read),
        ("true answer", one.by_truth),
    ):
        if len(bins) > 1:  # a single one says what the line above says
            yield title, bins


def _condition(one: ConditionErrors) -> Iterator[str]:
    yield f"{one.condition}"
    missing = _missing(one)
    if one.all is None:
        yield f"  no reads to count{_failed(one)}{missing}"
        return
    yield f"  {_numbers(one.all)}{_failed(one)}{missing}"
    for title, bins in _bins_of(one):
        yield from _bins(title, bins)
    yield from _drift(one.drift)
    yield from _rules(one.rules, "  ")
    yield from _calibration(one.calibration)
    yield from (f"  {text}" for text in (*_knows(one.self_knowledge), *_priors(one)))


def _missing(one: ConditionErrors) -> str:
    missing = one.missing_trials
    return f", {counted(missing, 'trial')} {plural_of(missing, 'is', 'are')} missing" if missing else ""


def _failed(one: ConditionErrors) -> str:
    failed = one.outcomes.get("error", 0)
    their = plural_of(failed, "its", "their")
    return f", {counted(failed, 'read')} had no answer because {their} call failed" if failed else ""


def _numbers(all_reads: Accuracy) -> str:
    return (
        f"{share(all_reads.accuracy)} ({span(all_reads.low, all_reads.high)}), "
        f"{all_reads.misses:,} missed of {counted(all_reads.reads, 'read')} in {counted(all_reads.strings, 'string')}"
    )


def _aligned(rows: Sequence[Sequence[str]], indent: str, left: Collection[int] = ()) -> Iterator[str]:
    """Rows as lines whose columns stand below each other, aligned to the right but for those in ``left``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            text.ljust(width) if n in left else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield (indent + "  ".join(cells)).rstrip()


def _bins(title: str, bins: Sequence[AccuracyBin]) -> Iterator[str]:
    yield f"  {title}"
    yield from _aligned(
        [
            (
                one.label,
                share(one.accuracy),
                span(one.low, one.high),
                counted(one.reads, "read"),
                counted(one.strings, "string"),
            )
            for one in bins
        ],
        "    ",
    )


def _drift(drift: Drift | None) -> Iterator[str]:
    if drift is not None:
        yield (
            f"  along the string the accuracy changes by {drift.change:+.4f} "
            f"({drift.low:+.4f} to {drift.high:+.4f}){_beware(drift)}"
        )


def _rules(rules: RuleFits, indent: str) -> Iterator[str]:
    """Every rule with its counts, a mark on those that explain, and what the rule does."""
    if not rules.wrong:
        yield f"{indent}no wrong answer among {rules.answered:,}: nothing for a rule to explain"
        return
    best = " and ".join(rules.best)
    yield f"{indent}{rules.wrong:,} wrong answers: {f'explained best by {best}' if best else 'no rule explains them'}"
    rows = [
        ("rule", "wrong where it is", "where it is not", "difference", "95% interval", "its answer", "by chance", "")
    ]
    for fit in rules.rules:
        name = f"{fit.rule} *" if fit.explains else fit.rule
        rows.append((name, *_compared(fit), _own(fit), share(fit.by_chance), meaning(fit.rule)))
    yield from _aligned(rows, f"{indent}  ", left=(0, 7))
    level = f", here {rules.largest_p:.2g}" if rules.largest_p is not None else ""
    yield f"{indent}{_EXPLAINED.removesuffix(')')}{level})"


def _own(fit: RuleFit) -> str:
    """How many of the wrong answers are the rule's own."""
    return f"{fit.same_answer.same:,} of {fit.same_answer.wrong:,}" if fit.same_answer else NO_DATA


def _compared(fit: RuleFit) -> tuple[str, str, str, str]:
    """How often answers are wrong where a rule is wrong and where it is right, and the difference with its interval."""
    found = fit.difference
    if found is None:
        return NO_DATA, NO_DATA, NO_DATA, NO_DATA
    sides = (
        (found.wrong_where_rule_is_wrong, found.reads_where_rule_is_wrong),
        (found.wrong_where_rule_is_right, found.reads_where_rule_is_right),
    )
    there, elsewhere = (f"{round(rate * reads):,} of {reads:,}" for rate, reads in sides)
    return there, elsewhere, signed(found.estimate), f"{signed(found.low)} to {signed(found.high)}"


def _calibration(found: Calibration | None) -> Iterator[str]:
    if found is None:
        return
    left = f", {found.left_out:,} without all log-probabilities left out" if found.left_out else ""
    yield (
        f"  calibration of {counted(found.reads, 'read')}{left}: Brier score {share(found.brier)} "
        f"({span(found.brier_low, found.brier_high)}), calibration error {share(found.ece)} "
        f"({span(found.ece_low, found.ece_high)}; {share(found.ece_if_calibrated)} by chance alone), "
        f"answer mass {share(found.mass)} ({span(found.mass_low, found.mass_high)}){_beware(found)}"
    )
    rows = [
        (
            f"says {share(one.probability)}",
            f"is right {share(one.accuracy)}",
            span(one.low, one.high),
            counted(one.reads, "read"),
            counted(one.strings, "string"),
        )
        for one in found.bins
    ]
    yield from _aligned(rows, "    ")


def _knows(found: Sequence[Predictor]) -> Iterator[str]:
    """What tells right answers from wrong ones, a line for the answers that are shown and one for the model's own."""
    for of in (SHOWN, OWN):
        if mine := [one for one in found if one.of == of]:
            parts = ", ".join(f"{one.name} {_area(one)}" for one in mine)
            yield f"AUROC for whether {of} is right ({mine[0].right:,} right, {mine[0].wrong:,} wrong): {parts}"


def _priors(one: ConditionErrors) -> Iterator[str]:
    """What the prompt suggests without content, and how the accuracy differs by the true answer."""
    if one.priors:
        parts = ", ".join(f"{prior.word!r} {_hundredths(prior.share, prior.low, prior.high)}" for prior in one.priors)
        yield f"without content the prompt suggests {parts}"


def _area(one: Predictor) -> str:
    return _hundredths(one.auroc, one.low, one.high)


def _hundredths(estimate: float, low: float | None, high: float | None) -> str:
    """An estimate and its interval, where there is one, both with two decimals."""
    bounds = "" if low is None or high is None else f" ({low:.2f}–{high:.2f})"
    return f"{estimate:.2f}{bounds}"


def _templates(group: TemplateSensitivity) -> Iterator[str]:
    yield f"templates, {group.language}, {counted(group.shots, 'shot')}, {group.elicitation} ({group.form})"
    yield from _aligned(
        [
            (one.template, share(one.accuracy), span(one.low, one.high), counted(one.reads, 'read'),
             counted(one.strings, 'string'))
            for one in group.templates
        ],
        "  ",
    )  # fmt: skip
    yield (
        f"  best less worst {share(group.spread)}, standard deviation {share(group.sd)}; "
        f"the widest interval of one template is {share(group.widest_interval)} long"
    )
    if (apart := group.difference) is not None:
        yield (
            f"  {apart.best} less {apart.worst} on the same {counted(apart.reads, 'read')}: {apart.estimate:+.4f} "
            f"({apart.low:+.4f} to {apart.high:+.4f}), chosen as best and worst on these reads{_beware(apart)}"
        )


def _beware(found: Drift | Calibration | TemplateDifference) -> str:
    return "".join(f"; beware, {warning}" for warning in found.warnings)
