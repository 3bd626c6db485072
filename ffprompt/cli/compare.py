"""``ffprompt compare``: differences between runs, or between conditions of one, on the same reads."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from ffprompt._util.formatting import NO_DATA, counted, probability, share, signed
from ffprompt.analysis.condition_names import without_shared
from ffprompt.cli import output_flags
from ffprompt.cli.comparison_flags import add_allow, add_incomplete, add_level
from ffprompt.cli.console import line, new_table, show, width
from ffprompt.cli.notes import MARK, MARKED, grouped
from ffprompt.cli.output import Output, writable
from ffprompt.comparison.compare import Comparison, ComparisonRow, compare_conditions
from ffprompt.comparison.compare import compare as compared
from ffprompt.comparison.conditions import conditions_of
from ffprompt.comparison.sentences import sentences, word
from ffprompt.errors import FFPromptError
from ffprompt.runs.folder import RunFolder

EPILOG = """\
The first run is compared with each of the others, condition by condition, on the reads that both answered. --by names
what may differ. Anything else that differs is refused.

  ffprompt compare results/RUN-A results/RUN-B
  ffprompt compare --by shots results/RUN          # few-shot against zero-shot
  ffprompt compare --by backend results/RUN-HF results/RUN-VLLM
"""
_WIDE = 95  # columns that hold the numbers of reads and strings as well
_STYLES = {"better": "green", "worse": "red", "unclear": "yellow"}


def add_flags(parser: ArgumentParser) -> None:
    """Add the flags of ``compare``."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders under results/")
    what = "model (default), shots, template, elicitation, backend, quantization …; repeatable"
    parser.add_argument("--by", action="append", default=[], metavar="NAME", help=what)
    add_allow(parser)
    add_incomplete(parser)
    add_level(parser)
    parser.add_argument("--tests", action="store_true", help="also show p-values of sign flips and clustered McNemar")
    parser.add_argument("--table", metavar="FILE", help="write the table as .tex (one tabular) or .md")
    parser.add_argument(
        "--figures", metavar="DIR", help="write the differences as PDF, PNG and SVG; or as one file, such as FILE.pdf"
    )
    output_flags.add_flags(parser, "print only the answer, one line for each pair")


def execute(options: Namespace) -> int:
    """Compare runs, or the conditions of one. Returns 0."""
    output = Output.of(options)
    table = Path(options.table) if options.table else None
    figures = Path(options.figures) if options.figures else None
    _check_files(table, figures)
    made = compared(options.runs, options.by, options.allow, options.incomplete, options.level)
    if not output.is_json:
        for text in sentences(made):
            line(text)
    if output.shows:
        show_comparison(made, options.tests, output.verbose)
    output.write({**made.to_json(), "sentences": sentences(made)})
    with output.beside():
        _write_files(made, table, figures)
    return 0


def _check_files(table: Path | None, figures: Path | None) -> None:
    """Say that a table or a figure cannot be written before anything is computed."""
    if table is not None:
        from ffprompt.report import tables

        tables.writable(table)
        writable(str(table))
    if figures is not None:
        from ffprompt.report.figures import printed

        printed.writable(figures, 1)


def _write_files(made: Comparison, table: Path | None, figures: Path | None) -> None:
    """Write the table and the figure that were asked for, and say where they are."""
    if table is None and figures is None:
        return
    from ffprompt.report import comparisons

    if table is not None:
        from ffprompt.report import tables

        tables.write([comparisons.comparison_table(made)], table)
        line(f"table: {table}")
    if figures is not None:
        from ffprompt.report.figures import printed

        files = printed.save([comparisons.comparison_figure(made)], figures)
        line(f"figure: {', '.join(map(str, files))}")


def show_comparison(made: Comparison, tests: bool = False, verbose: bool = False) -> None:
    """Print a row for each condition: accuracies, their difference with its interval, and whether B is better.

    Args:
        tests: Show other tests' p-values as well.
        verbose: Show whole names and every column.
    """
    several = len({(row.a, row.b) for row in made.rows}) > 1
    if not several:
        first = made.rows[0]
        line(f"A: {first.a} ({first.run_a})")
        line(f"B: {first.b} ({first.run_b})")
    names, shared = without_shared([row.condition for row in made.rows], ", ")
    if verbose or (len(made.rows) == 1 and not several):
        names, shared = [row.condition for row in made.rows], ""
    interval = f"{100 * made.level:.12g}% interval"
    more = ("lost", "gained") if verbose else ()
    probabilities = ("p", "p Holm") if verbose else ("p Holm",)
    counts = ("reads", "strings") if verbose or width() >= _WIDE else ()
    numbers = (*counts, "A right", "B right", "B - A", interval, *probabilities, *more)
    extra = ("sign flips", "McNemar") if tests else ()
    left_out = [_left_out(row) for row in made.rows]
    last = ["left out"] if any(left_out) else []
    sides = ["A", "B"] if several else []
    table = new_table("condition", *sides, *numbers, *extra, "B is", *last, right=(*numbers, *extra))
    for row, name, left in zip(made.rows, names, left_out, strict=True):
        its = word(row, made.level)
        style = _STYLES.get(its)
        cells = [name, *([row.a, row.b] if several else []), *_numbers(row, tests, verbose)[0 if counts else 2 :]]
        said = f"[{style}]{its}[/]" if style else its
        table.add_row(*map(escape, cells), said, *([escape(left)] if last else []))
    show(table)
    places = [f"{name}, {row.b}" if several else name for row, name in zip(made.rows, names, strict=True)]
    said = f"{shared}. " if shared else ""
    tested = sum(row.p_holm is not None for row in made.rows)
    line(
        f"{said}right: share of these reads. interval and p: one score test with strings as clusters. B is better or "
        f"worse where p Holm, adjusted for {counted(tested, 'row')}, is below "
        f"{1 - made.level:.12g}" + (". lost, gained: reads that only A, only B has right" if verbose else "")
        + (". McNemar: clustered (Yang)" if tests else "")
    )  # fmt: skip
    for place, row in zip(places, made.rows, strict=True):
        if (verbose or row.blanked) and row.bias_a is not None and row.bias_b is not None:
            line(f"{place}: bias towards answer 1: A {row.bias_a:+.2f}, B {row.bias_b:+.2f}")
    for text in grouped([(place, row.warnings) for place, row in zip(places, made.rows, strict=True)]):
        line(text)
    if made.incomplete:
        line(MARKED)
    for name in made.left_out:
        line(f"not compared, as there is nothing to compare it with: {name}")


def _numbers(row: ComparisonRow, tests: bool, verbose: bool) -> list[str]:
    found = row.difference
    numbers = [
        f"{row.n_reads:,}",
        f"{row.n_strings:,}",
        share(row.accuracy_a),
        share(row.accuracy_b),
        signed(found.estimate) if found else NO_DATA,
        f"{signed(found.low)} to {signed(found.high)}" if found else NO_DATA,
        *([probability(found.p if found else None)] if verbose else []),
        probability(row.p_holm),
    ]
    if verbose:
        numbers += [f"{found.lost:,}" if found else NO_DATA, f"{found.gained:,}" if found else NO_DATA]
    if tests:
        numbers += [probability(test.p if test else None) for test in (row.flips, row.yang)]
    return [number + MARK * row.incomplete for number in numbers]


def _left_out(row: ComparisonRow) -> str:
    counts = {"call failed": row.errors, "only in A": row.only_a, "only in B": row.only_b}
    return ", ".join(f"{count:,} {why}" for why, count in counts.items() if count)


def few_shot(folders: Sequence[Path]) -> list[str]:
    """Return one line for each run with several numbers of shots: each against the fewest, on the same reads."""
    said = []
    for folder in folders:
        try:
            if len(RunFolder.open(folder).info.config["shots"]) < 2:
                continue
            made = compare_conditions([conditions_of(folder)], ["shots"])
        except (FFPromptError, KeyError, TypeError):  # the run is done, and its table is shown
            continue
        said.append(f"{'; '.join(sentences(made))} (ffprompt compare --by shots {folder})")
    return said
