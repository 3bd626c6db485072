"""``ffprompt diagnose``: where the heads of a model look at reads, on the terminal and as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ffprompt._util.formatting import NO_DATA, counted
from ffprompt.cli import output_flags
from ffprompt.cli.console import line
from ffprompt.cli.output import Output
from ffprompt.cli.report import after as write_report
from ffprompt.cli.run_flags import add_settings, given_settings
from ffprompt.config.settings import BY_NAME
from ffprompt.errors import ConfigError

if TYPE_CHECKING:
    from ffprompt.analysis.diagnosis.diagnose import ConditionDiagnosis, Diagnosis
    from ffprompt.analysis.diagnosis.error_kinds import ErrorKinds
    from ffprompt.analysis.diagnosis.estimates import Estimate
    from ffprompt.analysis.diagnosis.heads import HeadSummary

EPILOG = """\
For a model, a run of forced reads is made first, or taken up where there is one. Beside the run stand
attention.parquet, a row for each read and head, tables of --patch, --layers and --probe, diagnosis.json, and the
pictures in report.html.

  ffprompt diagnose smollm2-135m --length 20 50 100 --strings 20
  ffprompt diagnose results/RUN --ablate 1 5 10 --patch
  ffprompt diagnose lstm --probe
"""
_SETTINGS = (
    "backend", "template", "shots", "form", "length", "p_ignore", "symbols", "seed", "device", "dtype", "batch_size",
    "revision",
)  # fmt: skip
_MOST_CONDITIONS, _MOST_HEADS, _MOST_LINES = 4, 4, 25
_COLUMNS = (
    "strings", "reads", "errors", "head", "on write", "95%", "on stale", "on top", "wrong – right", "95%", "margin",
)  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``diagnose``."""
    parser.add_argument("target", metavar="MODEL-or-RUN", help="a model, or a folder under results/")
    parser.add_argument("--strings", metavar="N", help="strings of each condition to look at, the first ones")
    parser.add_argument(
        "--ablate", nargs="+", metavar="K",
        help="take away the K heads with the most attention on the write, and random ones of the same layers beside",
    )  # fmt: skip
    parser.add_argument(
        "--replace", choices=("zero", "mean"), default="zero", help="what takes the place of a head (default: zero)"
    )
    parser.add_argument("--freeze", action="store_true", help="keep all attention as it is while heads are taken away")
    parser.add_argument("--lens", action="store_true", help="also read the answers off after every block")
    parser.add_argument("--patch", action="store_true", help="also patch the write's value, by block and by head")
    parser.add_argument("--layers", action="store_true", help="also compare states, and take away whole layers")
    parser.add_argument("--probe", action="store_true", help="also probe the states for the stored bit")
    parser.add_argument(
        "--course", action="store_true",
        help="diagnose every model that a training has kept (train --keep-every N)",
    )  # fmt: skip
    parser.add_argument("--out", default="results", metavar="DIR", help="results folder (default: results)")
    parser.add_argument("--no-report", action="store_true", help="do not write report.html")
    output_flags.add_flags(parser, "print only the conclusions")
    add_settings(parser, [BY_NAME[name] for name in _SETTINGS])


def execute(options: argparse.Namespace) -> int:
    """Show where the heads of a model look."""
    from ffprompt.interface.diagnose import diagnose

    output = Output.of(options)
    strings = _whole("--strings", options.strings) if options.strings is not None else None
    if options.course:
        return _course(options, output, strings)
    counts = [_whole("--ablate", text) for text in options.ablate or ()]
    with output.beside():
        found = diagnose(
            options.target,
            strings=strings,
            remove=counts,
            mode=options.replace,
            frozen=options.freeze,
            lens=options.lens,
            patch=options.patch,
            layers=options.layers,
            probe=options.probe,
            out=options.out,
            **given_settings(options),
        )
        if output.shows:
            for text in screen(found, output.verbose):
                line(text)
        page = None if options.no_report else write_report([Path(found.folder)], Path(options.out), None)
        if page and output.shows:
            line(page.replace("report:", "pictures:") + "#diagnosis" * page.startswith("report:"))
    if output.quiet:
        with output.answer():
            for text in found.conclusions:
                line(text)
    output.write(found.to_json())
    return 0


def _course(options: argparse.Namespace, output: Output, strings: int | None) -> int:
    """Diagnose a training step by step."""
    from ffprompt.interface.course import FILE, course
    from ffprompt.report.diagnosis import course_table

    others = ("ablate", "freeze", "lens", "patch", "layers", "probe")
    if wrong := [name for name in others if getattr(options, name)]:
        raise ConfigError(f"--{wrong[0]}: --course only looks; leave it out, or diagnose one of the models in steps/")
    with output.beside():
        found = course(options.target, strings=strings, **given_settings(options))
        if output.shows:
            head = ["step", "condition", "errors", "best head", "on write", "margin", "on top"]
            for text in _aligned([head, *course_table([step.to_json() for step in found.steps])]):
                line(text)
            line(f"every step: {options.target}/{FILE}; every head: {options.target}/course/*/attention.parquet")
            line(f"figures: ffprompt report {options.target}")
    output.write(found.to_json())
    return 0


def _whole(flag: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise ConfigError(f"{flag} {text}: expected a whole number of at least 1")
    return int(text)


def screen(found: Diagnosis, verbose: bool = False) -> Iterator[str]:
    """Yield the lines of a diagnosis, at most 25 unless ``verbose``."""
    lines = [*_head(found), *_conditions(found, verbose), *_errors(found, verbose), *_dilution(found, verbose)]
    lines += [*_lens(found), *_ablations(found), *_layers(found), *_probes(found)]
    ending = [*_warnings(found), *found.conclusions]
    rows = "attention.parquet: every read and head, " if found.layers else ""
    file = f"{found.folder}: {rows}diagnosis.json: all numbers"
    room = _MOST_LINES - 1
    if not verbose and len(lines) + len(ending) > room:
        ending = ending[: max(2, room - len(lines))]
        lines = lines[: room - len(ending)]
    yield from lines
    yield from ending
    yield file


def _head(found: Diagnosis) -> Iterator[str]:
    shared = f", {found.groups} heads share keys" if found.groups > 1 else ""
    size = f"{counted(len(found.layers), 'layer')} × {counted(found.heads, 'head')}"
    yield f"{found.model}: {size}{shared}, {found.seconds:.0f} s"


def _conditions(found: Diagnosis, verbose: bool) -> Iterator[str]:
    """A line for each of the best heads of each condition."""
    shown = _looked(found) if verbose else _looked(found)[:_MOST_CONDITIONS]
    if not shown:
        for one in found.conditions:
            yield f"{_short(one)}: {counted(one.reads, 'read')}, errors {_number(one.error)}"
        return
    each = 8 if verbose else max(1, min(_MOST_HEADS, 10 // len(shown)))
    rows: list[Sequence[str]] = [_COLUMNS]
    for one, heads in shown:
        for number, head in enumerate(heads.best[:each]):
            first = (_short(one), str(one.reads), _number(one.error)) if number == 0 else ("", "", "")
            rows.append(
                (
                    *first,
                    head.name,
                    _number(head.write),
                    _interval(head.write),
                    _number(head.stale),
                    _number(head.top1),
                    _number(head.write_by_outcome, sign=True),
                    _interval(head.write_by_outcome, sign=True),
                    _number(head.margin, sign=True),
                )
            )
    yield from _aligned(rows)
    if len(found.conditions) > len(shown):
        yield f"and {counted(len(found.conditions) - len(shown), 'more condition')}: --verbose"
    total = len(shown[0][1].heads)
    counts = ", ".join(f"{heads.retrieving} ({100 * heads.retrieving / total:.1f} %)" for _, heads in shown)
    yield f"heads with the write on top at a tenth of the reads: {counts} of {total}"
    sinks = ", ".join(f"{heads.mean_first:.2f} / {100 * heads.sink_heads / total:.0f} %" for _, heads in shown)
    yield f"first token, mean of all heads / heads above 0.3: {sinks}"


def _looked(found: Diagnosis) -> list[tuple[ConditionDiagnosis, HeadSummary]]:
    """The conditions whose heads were looked at."""
    return [(one, one.heads) for one in found.conditions if one.heads is not None]


def _errors(found: Diagnosis, verbose: bool) -> Iterator[str]:
    for one in found.conditions if verbose else found.conditions[:_MOST_CONDITIONS]:
        if one.errors is not None:
            yield f"{_short(one)}, on top among values (wrong / right reads): {_kinds(one.errors)}"


def _kinds(errors: ErrorKinds) -> str:
    parts = []
    for kind in errors.of_values:
        wrong, right = (0.0 if side is None else side.estimate for side in (kind.wrong, kind.right))
        if wrong or right:
            parts.append(f"{kind.kind} {_number(kind.wrong)} / {_number(kind.right)}")
    return ", ".join(parts)


def _dilution(found: Diagnosis, verbose: bool) -> Iterator[str]:
    for group in found.dilution:
        for one in group.heads if verbose else group.heads[:1]:
            yield (
                f"margin of {'the best heads' if one.head == 'best' else one.head} by log competitors: "
                f"{_with_interval(one.margin_on_competitors)}, by log gap: {_with_interval(one.margin_on_gap)} "
                "(-1: pure dilution)"
            )


def _lens(found: Diagnosis) -> Iterator[str]:
    for one in found.conditions:
        if one.lens is not None:
            yield (
                f"{_short(one)}, lens: right answers stay ahead from block {_number(one.lens.settled)} of "
                f"{len(one.lens.right) - 1} on; of the wrong ones, the right answer was ahead in the last half at "
                f"{_number(one.lens.lost)}"
            )


def _ablations(found: Diagnosis) -> Iterator[str]:
    for one in found.conditions:
        if one.ablation is None:
            continue
        whole = f"{_short(one)}, errors: whole {_number(one.ablation.whole)}"
        removed = ", ".join(
            f"less {r.count} {_number(r.error)} (random {_number(r.random_error)})" for r in one.ablation.removed
        )
        cuts = ", ".join(f"{cut.role} {_number(cut.error)}" for cut in one.ablation.cuts)
        yield f"{whole}, {removed}; reads cut off from {cuts}"


def _layers(found: Diagnosis) -> Iterator[str]:
    for one in found.conditions:
        if one.layers is None:
            continue
        last = [row for row in one.layers.geometry if row.state == one.layers.geometry[-1].state]
        ranks = ", ".join(
            f"{'all' if row.first_token else 'without the first'}{' behind the norm' if row.after_norm else ''} "
            f"{_number(row.effective_rank)} / {_number(row.residual)} / {_number(row.cosine)}"
            for row in last
        )
        yield f"{_short(one)}, last state, effective rank / residual / cosine of tokens: {ranks}"


def _probes(found: Diagnosis) -> Iterator[str]:
    for one in found.conditions:
        if one.probe is not None:
            best = one.probe.states[one.probe.best_state]
            yield (
                f"{_short(one)}, probe of {best.name}: tells the bit at {_number(best.at_right)} of right and "
                f"{_number(best.at_wrong)} of wrong reads (last symbol: {_number(one.probe.last_symbol_right)} and "
                f"{_number(one.probe.last_symbol)}, other strings' bits: {_number(best.control)})"
            )


def _warnings(found: Diagnosis) -> list[str]:
    texts: dict[str, list[str]] = {}
    for one in found.conditions:
        for warning in one.warnings:
            texts.setdefault(warning, []).append(_short(one))
    return [f"warning, {', '.join(names)}: {text}" for text, names in texts.items()]


def _short(one: ConditionDiagnosis) -> str:
    return one.condition.rsplit("/", 1)[-1]


def _number(value: Estimate | None, sign: bool = False) -> str:
    return NO_DATA if value is None else f"{value.estimate:{'+' if sign else ''}.2f}"


def _interval(value: Estimate | None, sign: bool = False) -> str:
    if value is None or value.low is None or value.high is None:
        return NO_DATA
    form = "+.2f" if sign else ".2f"
    return f"{value.low:{form}} to {value.high:{form}}"


def _with_interval(value: Estimate | None) -> str:
    return NO_DATA if value is None else f"{value.estimate:+.2f} ({_interval(value, sign=True)})"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            text.ljust(w) if n == 0 else text.rjust(w) for n, (text, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
