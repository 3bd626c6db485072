"""What a gate or a comparison writes into files: JSON, JUnit's XML, Markdown, CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from ffprompt._util.files import json_bytes, printable
from ffprompt._util.formatting import NO_DATA, counted
from ffprompt.comparison.gate import GateCheck, GateReport
from ffprompt.errors import StoreError
from ffprompt.runs.folder import replace_file


def to_json(path: Path, value: Any) -> None:
    """Write plain values. What is not a finite number is null. Raises StoreError."""
    _write(path, json_bytes(finite(value), indent=2) + b"\n")


def to_csv(path: Path, rows: Sequence[Sequence[Any]]) -> None:
    """Write rows, the first of them the header. Raises StoreError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(path, printable(text.getvalue()).encode())


def to_junit(path: Path, report: GateReport) -> None:
    """Write one test case for each condition: a regression is a failure, an inconclusive verdict an error.

    Raises:
        StoreError: The file cannot be written.
    """
    count = {name: sum(check.verdict == name for check in report.checks) for name in ("regression", "inconclusive")}
    suite = ET.Element(
        "testsuite",
        name="ffprompt gate",
        tests=str(len(report.checks)),
        failures=str(count["regression"]),
        errors=str(count["inconclusive"]),
        skipped="0",
    )
    for check in report.checks:
        case = ET.SubElement(suite, "testcase", classname="ffprompt.gate", name=check.condition)
        if check.verdict != "pass":
            tag = "failure" if check.verdict == "regression" else "error"
            problem = ET.SubElement(case, tag, type=check.verdict, message=check.reason)
            problem.text = numbers(check)
        else:
            ET.SubElement(case, "system-out").text = f"{check.reason}; {numbers(check)}"
    root = ET.Element("testsuites")
    root.append(suite)
    ET.indent(root)
    text = '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
    _write(path, printable(text).encode())


def numbers(check: GateCheck) -> str:
    """The numbers of a condition in one line."""
    if check.estimate is None:
        return "no read in common"
    return (
        f"accuracy {check.accuracy_baseline:.4f} before, {check.accuracy_candidate:.4f} now, difference "
        f"{check.estimate:+.4f} ({check.low:+.4f} to {check.high:+.4f}), {counted(check.n_reads, 'read')} of "
        f"{counted(check.n_strings, 'string')}{f', {check.consists}' if check.consists else ''}"
    )


def to_markdown(path: Path, report: GateReport) -> None:
    """A summary for a pull request. Raises StoreError."""
    _write(path, printable(markdown(report)).encode())


def markdown(report: GateReport) -> str:
    """The verdict and a table of all conditions."""
    lines = [
        f"### ffprompt gate: {report.verdict}",
        "",
        f"{report.sentence[0].upper()}{report.sentence[1:]}.",
        "",
        f"Margin {report.margin:g}. It passes only if every condition passes. Bounds of the difference are one-sided: "
        f"the lower at level {report.level:g}, the upper at {report.regression_level:.6g}.",
        "",
        "| condition | verdict | baseline | candidate | difference | bounds | reads | strings | lost | why |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for check in report.checks:
        shown = [NO_DATA] * 4
        if check.estimate is not None:
            shown = [
                f"{check.accuracy_baseline:.4f}",
                f"{check.accuracy_candidate:.4f}",
                f"{check.estimate:+.4f}",
                f"{check.low:+.4f} to {check.high:+.4f}",
            ]
        counts = [f"{check.n_reads:,}", f"{check.n_strings:,}"]
        cells = [check.condition, f"**{check.verdict}**", *shown, *counts, check.consists, check.reason]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    if report.not_gated:
        lines += ["", f"Not in the baseline, so not gated: {', '.join(report.not_gated)}."]
    return "\n".join(lines) + "\n"


def finite(value: Any) -> Any:
    """Return plain values in which what is not a finite number is None."""
    if isinstance(value, dict):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _write(path: Path, content: bytes) -> None:
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the folder {path.parent} is not there")
    replace_file(path, content)
