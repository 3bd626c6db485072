"""``ffprompt power``: how many strings a question needs, from a pilot run."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from rich.markup import escape

from ffprompt._util.formatting import NO_DATA, counted
from ffprompt.analysis.condition_names import without_shared
from ffprompt.cli import output_flags
from ffprompt.cli.comparison_flags import add_allow, add_incomplete, add_level
from ffprompt.cli.console import line, new_table, show
from ffprompt.cli.notes import MARK, MARKED, grouped
from ffprompt.cli.output import Output
from ffprompt.comparison.power import Needed, strings_needed


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``power``."""
    parser.add_argument("run", metavar="RUN", help="the pilot: a folder under results/")
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--half-width", type=float, metavar="X", help="half the width of the interval of the accuracy")
    asked.add_argument("--difference", type=float, metavar="X", help="difference between two models to be shown")
    asked.add_argument("--margin", type=float, metavar="X", help="margin of a gate that an equal model is to pass")
    parser.add_argument("--against", metavar="RUN", help="the pilot of the second model, on the same strings")
    parser.add_argument("--power", type=float, default=0.8, metavar="X", help="chance to succeed (default: 0.8)")
    add_level(parser)
    add_allow(parser)
    add_incomplete(parser)
    output_flags.add_flags(parser, "print only the number of strings")


def execute(options: Namespace) -> int:
    """Show how many strings a question needs. Returns 0."""
    output = Output.of(options)
    found = strings_needed(
        options.run, options.half_width, options.difference, options.margin, options.against, options.power,
        options.level, options.allow, options.incomplete,
    )  # fmt: skip
    question = _question(options)
    if not output.is_json:
        line(_answer(found, question))
    if output.shows:
        _show(found, output.verbose)
    output.write({"question": f"strings {question}", "conditions": [one.to_json() for one in found]})
    return 0


def _question(options: Namespace) -> str:
    chance = f", with probability {options.power:g}"
    if options.half_width is not None:
        return f"for an interval of mean half width {options.half_width:g} at level {options.level:g}"
    if options.difference is not None:
        return f"to tell a difference of {options.difference:g} from none at level {options.level:g}{chance}"
    return f"for an equal model to pass a gate of margin {options.margin:g} at level {options.level:g}{chance}"


def _answer(found: Sequence[Needed], question: str) -> str:
    """The number of strings that is enough for every condition, which is what ``--trials`` takes."""
    plans = [one.plan.strings for one in found if one.plan is not None]
    if not plans:
        return f"no number of strings is known {question}: {found[0].reason}"
    each = " in every condition" if len(plans) > 1 else ""
    unknown = f"; unknown for {len(found) - len(plans)} of {len(found)} conditions" if len(plans) < len(found) else ""
    return f"--trials {max(plans)} ({counted(max(plans), 'string')}) {question}{each}{unknown}"


def _show(found: Sequence[Needed], verbose: bool) -> None:
    """Print strings for each condition, and what that rests on."""
    names, shared = without_shared([one.condition for one in found])
    if verbose or len(found) == 1:
        names, shared = [one.condition for one in found], ""
    numbers = ("pilot reads", "pilot strings", "strings", "reads")
    table = new_table("condition", *numbers, *(["assumed"] if verbose else []), right=numbers)
    for one, name in zip(found, names, strict=True):
        mark = MARK if one.incomplete else ""
        counts = [
            one.pilot_reads,
            one.pilot_strings,
            *((one.plan.strings, one.plan.reads) if one.plan else (None, None)),
        ]
        cells = [NO_DATA if count is None else f"{count:,}{mark}" for count in counts]
        notes = ["; ".join(one.plan.notes) if one.plan else one.reason or ""] if verbose else []
        table.add_row(*map(escape, (name, *cells, *notes)))
    show(table)
    if shared:
        line(f"all: {shared}")
    if not verbose:
        told = [
            (name, one.plan.notes[1:] if one.plan else [one.reason or ""])
            for name, one in zip(names, found, strict=True)
        ]
        for text in grouped(told):
            line(text)
        line("what this rests on, condition by condition: --verbose")
    if any(one.incomplete for one in found):
        line(MARKED)
