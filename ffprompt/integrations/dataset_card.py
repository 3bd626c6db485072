"""The cards of dataset folders: a YAML header that ``datasets`` reads, then what the data are and what columns hold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ffprompt import __version__
from ffprompt._util.formatting import share, span
from ffprompt.tasks.base import Spec

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
_NAMES = ("1K", "10K", "100K", "1M", "10M", "100M")
_WORDS = {"string": "text", "list": "list of numbers", "bool_": "true or false", "float64": "number"}
_MOST_ROWS = 200  # of the table in a card


@dataclass(frozen=True, slots=True)
class Described:
    """A column: its name, its Arrow type by name and what it holds."""

    name: str
    kind: str
    about: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where strings come from.

    Attributes:
        command: The command that gives the same strings.
        flags: Those of a run that say what the strings are of.
    """

    command: str
    flags: str


def of_runs(
    reads: Sequence[Described], conditions: Sequence[Described], rows: Sequence[Mapping[str, Any]], count: int
) -> str:
    """Return the card of exported runs.

    Args:
        reads: Columns of the reads.
        conditions: Columns of the conditions.
        rows: The conditions.
        count: The number of reads.
    """
    header = _header(
        "Reads of ffprompt runs",
        count,
        [("reads", "data/reads/*.parquet", "test"), ("conditions", "data/conditions.parquet", "test")],
    )
    more = f"\nand {len(rows) - _MOST_ROWS:,} more in `conditions`\n" if len(rows) > _MOST_ROWS else ""
    lacking = sum(row["status"] != "done" for row in rows)
    warning = f"{lacking} of the {len(rows)} conditions are of runs that lack answers.\n\n" if lacking else ""
    return f"""{header}
# Reads of ffprompt runs

Language models were shown strings of a small automaton and asked for its state. A *read* is one such question. This
dataset holds {count:,} reads in {len(rows):,} conditions, written by ffprompt {__version__}.

{warning}{_results(rows[:_MOST_ROWS])}{more}
`floor` is what the best rule without memory scores on the same reads. Reads of one string depend on each other, so the
interval takes strings as clusters. An interval that takes reads as independent is too narrow.

## Load it

```python
from datasets import load_dataset

reads = load_dataset("DIR", "reads", split="test")
conditions = load_dataset("DIR", "conditions", split="test")
```

`DIR` is this folder, or the name of the dataset on a hub. `run` and `condition` join the two tables.

## Columns of `reads`

One row for each read.

{_columns(reads)}
## Columns of `conditions`

One row for each condition of a run.

{_columns(conditions)}"""


def _results(rows: Sequence[Mapping[str, Any]]) -> str:
    """The accuracy of each condition, as a table."""
    shown = [
        (
            _cell(row["model"]),
            _cell(row["name"]),
            share(row["accuracy"]),
            span(row["interval_low"], row["interval_high"]),
            share(row["floor"]),
            f"{row['reads']:,}",
            f"{row['strings']:,}",
        )
        for row in rows
    ]
    return _table(("model", "condition", "accuracy", "95% interval", "floor", "reads", "strings"), shown)


def of_strings(spec: Spec, seed: int, count: int, split: str, source: Source) -> str:
    """Return the card of sampled strings.

    Args:
        spec: The language that they were drawn from.
        seed: Seed of the strings.
        count: How many there are.
        split: Name of the split.
        source: The commands of the card.
    """
    task = spec.task
    letters = ", ".join(f"`{event.letter}` {event.name}" for event in task.events)
    return f"""{_header(f"Strings of {spec}", count, [("default", f"data/{split}.parquet", split)])}
# Strings of {spec}

{count:,} strings of the task {task.name}, drawn from {spec} with seed {seed} by ffprompt {__version__}.

The column `text` holds one string a row, in the notation of the task: {letters}. A read is followed by its true answer.

## Load it

```python
from datasets import load_dataset

strings = load_dataset("DIR", split="{split}")
```

```text
python run_eval.py --backend BACKEND --model MODEL{source.flags} --data DIR/data/{split}.parquet
```

`DIR` is this folder. From a hub, `--data OWNER/NAME:{split}` reads them.

## Make it again

```text
{source.command}
```

String i depends on the task, the language, the seed and i alone. The first strings are the same in a dataset of more.
"""


def _header(title: str, count: int, configs: Sequence[tuple[str, str, str]]) -> str:
    """The YAML between two lines of dashes. The first of the configurations is the default."""
    lines = [
        "---",
        f"pretty_name: {_quoted(title)}",
        "language: [en]",
        "tags: [ffprompt, flip-flop, state-tracking, evaluation]",
        f"size_categories: [{_size(count)}]",
        "configs:",
    ]
    for number, (name, files, split) in enumerate(configs):
        lines += [f"- config_name: {name}", "  data_files:", f"  - split: {split}", f"    path: {_quoted(files)}"]
        lines += ["  default: true"] if number == 0 and len(configs) > 1 else []
    return "\n".join([*lines, "---\n"])


def _quoted(text: str) -> str:
    """A text of YAML in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _size(count: int) -> str:
    """The hub's word for a number of rows.

    >>> _size(999), _size(1_000), _size(2_000_000)
    ('n<1K', '1K<n<10K', '1M<n<10M')
    """
    for number, bound in enumerate(_SIZES):
        if count < bound:
            return f"{_NAMES[number - 1]}<n<{_NAMES[number]}" if number else "n<1K"
    return "n>100M"


def _columns(columns: Sequence[Described]) -> str:
    rows = [(f"`{one.name}`", _WORDS.get(one.kind, "whole number"), _cell(one.about)) for one in columns]
    return _table(("column", "type", "holds"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    """A text in a cell: without links, which lead nowhere outside the documentation, and with bars escaped."""
    return re.sub(r"\s*\((?:see )?\[[^\]]*\]\([^)]*\)\)|\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("|", r"\|")
